"""The ISMRMRD header of fastMRI's files: recon size, fit to the k-space, what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c

from common.data import DataError, SliceDataset, find_slices, open_slices
from common.data.ismrmrd_header import parse_encoding
from common.data.oversampling import crop_readout

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
        file.attrs["max"] = 2.0
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
    ("shape", "encoded", "recon", "limits"),
    [
        ((640, 372), (640, 372), (320, 320), (0, 367, 184)),
        ((640, 322), (640, 322), (320, 320), (0, 321, 161)),
        ((640, 322), (640, 322), (320, 320), None),
        ((640, 368), (640, 372), (320, 320), (0, 367, 184)),  # the padding left out
        ((320, 372), (640, 372), (320, 320), None),  # oversampling removed before
    ],
)
def test_headers_that_fit(
    shape: tuple[int, int], encoded: tuple[int, int], recon: tuple[int, int], limits: tuple[int, int, int] | None
) -> None:
    encoding = parse_encoding(header(encoded, recon, limits), Path("a.h5"))
    assert encoding is not None
    encoding.check_fit(*shape, "a.h5")
    assert encoding.recon_size(*shape) == (320, 320)


@pytest.mark.parametrize(
    ("shape", "encoded", "limits"),
    [((10, 16), (16, 10), None), ((16, 12), (16, 10), None), ((16, 8), (16, 10), None), ((16, 8), (16, 10), (0, 8, 5))],
)
def test_header_whose_matrix_does_not_fit_is_refused(
    tmp_path: Path, shape: tuple[int, int], encoded: tuple[int, int], limits: tuple[int, int, int] | None
) -> None:
    path = tmp_path / "a.h5"
    knee_file(path, (2, *shape), header(encoded, (8, 8), limits))
    reason = rf"a\.h5:kspace: expected k-space of 16 x 10 .*ismrmrd_header says, got {shape[0]} x {shape[1]}; transpose"
    with pytest.raises(DataError, match=reason) as caught:
        find_slices(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_header_without_recon_space_has_the_encoded_one(tmp_path: Path) -> None:
    xml = header((6, 5), (4, 4))
    start, end = xml.index(b"<reconSpace>"), xml.index(b"<trajectory>")
    knee_file(tmp_path / "a.h5", (1, 6, 5), xml[:start] + xml[end:])
    reader = open_slices(tmp_path / "a.h5", require_header=True)
    assert (reader.recon_height, reader.recon_width) == (6, 5)


def test_header_can_be_required(tmp_path: Path) -> None:
    knee_file(tmp_path / "none.h5", (1, 6, 6))
    knee_file(tmp_path / "empty.h5", (1, 6, 6), b"<ismrmrdHeader/>")
    np.save(tmp_path / "a.npy", np.ones((6, 6), np.complex64))
    for name in ("none.h5", "empty.h5", "a.npy"):
        assert open_slices(tmp_path / name).recon_width == 6
        with pytest.raises(DataError, match=rf"{name}: expected an ismrmrd_header with an encoding, got none; add it"):
            open_slices(tmp_path / name, require_header=True)
    knee_file(tmp_path / "full.h5", (1, 6, 6), header((6, 6), (4, 4)))
    assert open_slices(tmp_path / "full.h5", require_header=True).recon_height == 4


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"hello", "cannot be read as an ISMRMRD header, XML"),
        (b"<a><encoding/></a>", "its matrices .it lacks encodedSpace/matrixSize/x"),
        (header((6, 0), (4, 4)), "encodedSpace is 6 x 0 x 1"),
        (header((6, 6), (4, 4)).replace(b"<x>6</x>", b"<x>six</x>"), "invalid literal .*'six'"),
    ],
)
def test_broken_headers_are_named(tmp_path: Path, xml: bytes, reason: str) -> None:
    knee_file(tmp_path / "a.h5", (1, 6, 6), xml)
    with pytest.raises(DataError, match=rf"a\.h5: .*{reason}"):
        open_slices(tmp_path / "a.h5")


@pytest.mark.parametrize(("rows", "wanted"), [(16, 8), (16, 7), (15, 8), (15, 5), (6, 6)])
def test_cropping_the_readout_crops_the_image(rows: int, wanted: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((3, rows, 5)) + 1j * rng.standard_normal((3, rows, 5))
    cropped = numpy_ifft2c(crop_readout(numpy_fft2c(image), wanted))
    start = rows // 2 - wanted // 2  # the centre stays the centre
    np.testing.assert_allclose(cropped, image[:, start : start + wanted], atol=1e-12)


def test_oversampling_is_removed_from_all_of_an_item(tmp_path: Path) -> None:
    reference = np.random.default_rng(1).random((2, 16, 10)).astype(np.float32)
    mask = np.arange(10) % 3 < 2
    image = knee_file(tmp_path / "full.h5", (2, 16, 10), header((16, 10), (8, 8)))
    knee_file(tmp_path / "measured.h5", (2, 16, 10), header((16, 10), (8, 8)), mask=mask, reconstruction_esc=reference)
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


def test_images_beside_kspace_are_no_kspace(tmp_path: Path) -> None:
    knee_file(tmp_path / "a.h5", (1, 16, 10), header((16, 10), (8, 8)), reconstruction_esc=np.ones((1, 6, 6)))
    options = {"kind": "image", "kspace_key": "reconstruction_esc", "remove_oversampling": True}
    reader = open_slices(tmp_path / "a.h5", **options)
    assert (reader.height, reader.width, reader.recon_height, reader.recon_width) == (6, 6, 6, 6)


@pytest.mark.skipif(not KNEE_DIR.is_dir(), reason="the shared knee files are not here")
def test_real_knees_give_their_reconstructions() -> None:
    for split in ("singlecoil_train", "singlecoil_val"):
        entries = find_slices(str(KNEE_DIR), split, require_header=True)
        assert {(entry["recon_height"], entry["recon_width"]) for entry in entries} == {(256, 256)}
        dataset = SliceDataset(entries[:: len(entries) // 7], fully_sampled=True)
        for item in dataset:
            with h5py.File(item["path"]) as file:
                truth = file["reconstruction_esc"][item["slice"]] / file.attrs["max"]
            np.testing.assert_allclose(item["image"][0].abs().numpy(), truth, rtol=0, atol=1e-6)
