"""Series of non-Cartesian files: from readouts to items, ranges and refusals."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from common.data import CineDataset, DataError, find_cine, open_slices
from common.data.series_reader import open_cine
from common.operators import NonuniformFourier, radial_trajectory, series_angles, simulated_sensitivity_maps
from tests.io.mrd import header, write_mrd

pytest.importorskip("ismrmrd")
pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")

SIZE, N_FRAMES, N_COILS = 24, 4, 3
BRIGHT = 3.0


def still(n_slices: int = 1) -> torch.Tensor:
    """Square objects of one brightness, a row lower in each slice, ``(slices, 1, height, width)``."""
    images = torch.zeros(n_slices, 1, SIZE, SIZE, dtype=torch.complex64)
    for z in range(n_slices):
        images[z, 0, 6 + z : 16 + z, 8:14] = BRIGHT
    return images


def measured(path: Path, n_slices: int = 1, n_spokes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Write a scan; return its samples ``(slices, frames, coils, spokes, samples)`` and places, row and column."""
    places = radial_trajectory(series_angles("golden", N_FRAMES, n_spokes), 2 * SIZE).float()
    transform = NonuniformFourier(places, (SIZE, SIZE), simulated_sensitivity_maps(N_COILS, SIZE, SIZE))
    samples = torch.stack([transform(image.expand(N_FRAMES, 1, -1, -1)) for image in still(n_slices)])
    lines = [
        {"data": samples[z, t, :, n].numpy(), "trajectory": places[t, n].numpy(), "slice": z, "phase": t}
        for z in range(n_slices)
        for t in range(N_FRAMES)
        for n in range(n_spokes)
    ]
    wide, narrow = (2 * SIZE, 2 * SIZE, 1), (SIZE, SIZE, 1)
    write_mrd(path, header(wide, (96, 96, 5), narrow, (48, 48, 5), None, "radial"), lines)
    return samples, places


def test_an_item_has_samples_and_places_in_image_units(tmp_path: Path) -> None:
    samples, places = measured(tmp_path / "scan.h5", 2)
    data = find_cine(tmp_path)
    size = {"n_slices": 2, "height": SIZE, "width": SIZE, "n_frames": N_FRAMES}
    assert data == [{"path": str(tmp_path / "scan.h5"), "slice": n, **size} for n in range(2)]
    for n, item in enumerate(CineDataset(data)):
        low, high = item["intensity_range"].tolist()
        assert low == 0
        assert high == pytest.approx(BRIGHT, rel=0.2)
        torch.testing.assert_close(item["samples"], samples[n] / high, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(item["trajectory"], places)
    given = open_cine(tmp_path / "scan.h5", intensity_range=2.0).read(0)
    torch.testing.assert_close(given["samples"], samples[0] / 2, atol=1e-6, rtol=1e-6)


def test_results_have_the_place_of_the_image(tmp_path: Path) -> None:
    measured(tmp_path / "scan.h5")
    spec = open_cine(tmp_path / "scan.h5").image_spec
    assert spec.kind == "image"
    assert spec.dtype == np.float32
    assert spec.shape == (N_FRAMES, 1, SIZE, SIZE)
    assert spec.geometry.spacing_mm == pytest.approx((5, 2, 2))


def test_the_truth_of_a_simulated_scan_lies_beside_it(tmp_path: Path) -> None:
    samples, _ = measured(tmp_path / "scan.h5", 2)
    truth = (still(2).abs() / BRIGHT)[:, 0, ..., None].expand(-1, -1, -1, N_FRAMES).numpy()
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        file["imagesTrue"], file["phaseTrue"] = truth, np.ones_like(truth)
    item = open_cine(tmp_path / "scan.h5").read(1)
    torch.testing.assert_close(item["samples"], samples[1], atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(item["truth"][0], truth[1] * np.exp(1j), atol=1e-6)
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        del file["imagesTrue"]
        file["imagesTrue"] = truth[:1]
    with pytest.raises(DataError, match=r"scan\.h5.*expected the size"):
        open_cine(tmp_path / "scan.h5")


def test_what_takes_slices_refuses_them(tmp_path: Path) -> None:
    measured(tmp_path / "scan.h5")
    for options in ({}, {"source_options": {"frame": 0}}):
        with pytest.raises(DataError, match=r"scan\.h5.*non-Cartesian.*series"):
            open_slices(tmp_path / "scan.h5", **options)


def test_series_of_other_readouts_do_not_fit_in_a_batch(tmp_path: Path) -> None:
    measured(tmp_path / "a.h5")
    measured(tmp_path / "b.h5", n_spokes=9)
    with pytest.raises(DataError, match=r"b\.h5.*samples.*batch_size 1"):
        CineDataset(find_cine(tmp_path)).__getitems__([0, 1])
