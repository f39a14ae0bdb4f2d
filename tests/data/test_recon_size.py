"""Sizes of k-space and of its image: what the header asks for, and readout oversampling."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c

from common.data import DataError, SliceDataset, find_slices, open_slices

KNEE_DIR = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "knee_mridata"

LIMITS = "<encodingLimits><kspace_encoding_step_1><minimum>{}</minimum><maximum>{}</maximum><center>{}</center>"
LIMITS += "</kspace_encoding_step_1></encodingLimits>"


def header(encoded: tuple[int, int], recon: tuple[int, int], limits: tuple[int, int, int] | None = None) -> bytes:
    def space(name: str, size: tuple[int, int]) -> str:
        return f"<{name}><matrixSize><x>{size[0]}</x><y>{size[1]}</y><z>1</z></matrixSize></{name}>"

    inside = space("encodedSpace", encoded) + space("reconSpace", recon) + "<trajectory>cartesian</trajectory>"
    inside += LIMITS.format(*limits) if limits else ""
    return (
        '<?xml version="1.0" encoding="utf-8"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"<encoding>{inside}</encoding></ismrmrdHeader>"
    ).encode()


def knee_file(path: Path, shape: tuple[int, ...], xml: bytes | None = None, **datasets: np.ndarray) -> np.ndarray:
    """Writes k-space of random images, whose scale is 2, and returns the images."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    with h5py.File(path, "w") as file:
        file["kspace"] = numpy_fft2c(image).astype(np.complex64)
        file.attrs.update({"max": 2.0, "acquisition": "knee"})
        if xml is not None:
            file["ismrmrd_header"] = xml
        for key, values in datasets.items():
            file[key] = values
    return image


def test_recon_size_is_on_entries_and_items(tmp_path: Path) -> None:
    knee_file(tmp_path / "a.h5", (2, 16, 10), header((16, 10), (8, 8)))
    knee_file(tmp_path / "b.h5", (1, 16, 6), header((16, 6), (8, 8)))  # narrower than the recon matrix, as some brains
    knee_file(tmp_path / "c.h5", (1, 12, 6))
    entries = find_slices(str(tmp_path))
    assert [(entry["recon_height"], entry["recon_width"]) for entry in entries] == [(8, 8), (8, 8), (8, 6), (12, 6)]
    item = SliceDataset(entries)[2]
    assert (item["recon_height"], item["recon_width"], item["image"].shape) == (8, 6, (1, 16, 6))


@pytest.mark.parametrize(
    ("shape", "encoded", "limits"),
    [((10, 16), (16, 10), None), ((16, 12), (16, 10), None), ((16, 8), (16, 10), None), ((16, 8), (16, 10), (0, 8, 5))],
)
def test_header_whose_matrix_does_not_fit_is_refused(
    tmp_path: Path, shape: tuple[int, int], encoded: tuple[int, int], limits: tuple[int, int, int] | None
) -> None:
    path = tmp_path / "a.h5"
    knee_file(path, (2, *shape), header(encoded, (8, 8), limits))
    reason = rf"a\.h5:kspace: expected k-space of 16 x 10 .*header says, got {shape[0]} x {shape[1]}"
    with pytest.raises(DataError, match=reason) as caught:
        find_slices(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_header_without_recon_space_has_the_encoded_one(tmp_path: Path) -> None:
    xml = header((6, 5), (4, 4))
    start, end = xml.index(b"<reconSpace>"), xml.index(b"<trajectory>")
    knee_file(tmp_path / "a.h5", (1, 6, 5), xml[:start] + xml[end:])
    reader = open_slices(tmp_path / "a.h5")
    assert (reader.recon_height, reader.recon_width) == (6, 5)


def test_oversampling_is_removed_from_all_of_an_item(tmp_path: Path) -> None:
    reference = np.random.default_rng(1).random((2, 16, 10)).astype(np.float32)
    mask = np.arange(10) % 3 < 2
    image = knee_file(tmp_path / "full.h5", (2, 16, 10), header((16, 10), (8, 8)))
    knee_file(
        tmp_path / "measured.h5",
        (2, 16, 10),
        header((16, 10), (8, 8)),
        mask=mask,
        reconstruction_esc=reference[:, 4:12],
    )
    options = {"remove_oversampling": True}
    entries = find_slices(str(tmp_path), **options)
    assert [(entry["height"], entry["width"], entry["recon_height"]) for entry in entries] == [(8, 10, 8)] * 4
    full, _, _, measured = SliceDataset(entries, **options)
    np.testing.assert_allclose(full["image"][0].numpy(), image[0, 4:12] / 2, atol=1e-6)
    wanted = numpy_ifft2c(numpy_fft2c(image[1]) * mask)[4:12] / 2
    np.testing.assert_allclose(numpy_ifft2c(measured["kspace"][0].numpy()), wanted, atol=1e-6)
    assert torch.equal(measured["mask"], torch.from_numpy(np.tile(mask, (1, 8, 1))).float())
    np.testing.assert_allclose(measured["image"][0].numpy(), reference[1, 4:12] / 2, rtol=1e-6)


def test_oversampling_stays_where_the_mask_changes_along_the_readout(tmp_path: Path) -> None:
    mask = np.ones((16, 10), bool)
    mask[3, 4] = False
    knee_file(tmp_path / "a.h5", (1, 16, 10), header((16, 10), (8, 8)), mask=mask)
    open_slices(tmp_path / "a.h5").mask(0)
    with pytest.raises(DataError, match=r"a\.h5:mask, slice 0: expected a mask of whole columns .*remove_oversampling"):
        open_slices(tmp_path / "a.h5", remove_oversampling=True).mask(0)


@pytest.mark.skipif(not KNEE_DIR.is_dir(), reason="the shared knee files are not here")
def test_real_knees_give_their_reconstructions() -> None:
    for split in ("singlecoil_train", "singlecoil_val"):
        entries = find_slices(str(KNEE_DIR), split)
        assert {(entry["recon_height"], entry["recon_width"]) for entry in entries} == {(256, 256)}
        dataset = SliceDataset(entries[:: len(entries) // 7], fully_sampled=True)
        for item in dataset:
            with h5py.File(item["path"]) as file:
                truth = file["reconstruction_esc"][item["slice"]] / file.attrs["max"]
            np.testing.assert_allclose(item["image"][0].abs().numpy(), truth, rtol=0, atol=1e-6)
