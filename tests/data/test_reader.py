"""What holds for readers of any format: scale, masks, processes, refusals."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from common.data import DataError, SliceDataset, list_slices, open_slices
from common.io import IntensityRange, Source

SHAPE = (3, 6, 5)
KSPACE = {"axes": "z,y,x", "kind": "kspace"}


def save_volume(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["kspace"], file.attrs["acquisition"] = values, "knee"
    elif path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix == ".png":
        Image.fromarray(values[0]).save(path)
    else:
        nibabel.save(nibabel.nifti1.Nifti1Image(values.transpose(2, 1, 0), np.eye(4)), path)
    return path


def one_of_each(folder: Path) -> list[Path]:
    values = np.random.default_rng(0).integers(1, 4000, SHAPE).astype(np.uint16)
    names = ["a.png", "b.tif", "c.nii", "d.nii.gz", "e.npy", "f.h5"]
    return [save_volume(folder / name, values.astype(np.complex64) if name == "f.h5" else values) for name in names]


class AllSlices(Dataset):
    def __init__(self, files: list[Path]) -> None:
        self.readers = [open_slices(file) for file in files]
        self.places = [(i, s) for i, reader in enumerate(self.readers) for s in range(reader.n_slices)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> np.ndarray:
        reader, index = self.places[place]
        return self.readers[reader].read(index)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_forked_workers_read_what_the_parent_reads(tmp_path: Path) -> None:
    dataset = AllSlices(one_of_each(tmp_path))
    expected = [dataset[i] for i in range(len(dataset))]  # the parent has used its readers before it forks
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for got, want in zip(loader, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


def test_readers_pickle_before_and_after_use(tmp_path: Path) -> None:
    for path in one_of_each(tmp_path):
        reader = open_slices(path)
        fresh = pickle.loads(pickle.dumps(reader))
        image = reader.read(0)
        np.testing.assert_array_equal(fresh.read(0), image)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(0), image)


def test_opening_and_listing_reads_no_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = one_of_each(tmp_path)
    loads: list[int] = []
    monkeypatch.setattr(Source, "read", lambda self, region: loads.append(1))
    entries = list_slices(files)
    assert loads == []
    assert len(entries) == 1 + 5 * SHAPE[0]
    sizes = {"n_slices": 3, "height": 6, "width": 5, "recon_height": 6, "recon_width": 5}
    assert entries[1] == {"path": str(files[1]), "slice": 0, **sizes}


def test_the_pass_for_the_range_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(90, dtype=np.float32).reshape(SHAPE)
    dataset = SliceDataset(list_slices([save_volume(tmp_path / "a.npy", values)]))
    reads: list[int] = []
    read = Source.read
    monkeypatch.setattr(Source, "read", lambda self, region=None: reads.append(1) or read(self, region))
    for index in range(3):
        np.testing.assert_allclose(dataset[index]["image"][0], values[index] / 89, rtol=1e-6)
    assert len(reads) == 1 + 3  # the whole of a small file for the range, then a slice each


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64", "bool"]),
    peak=st.integers(0, 200),
    given_range=st.one_of(st.just("auto"), st.floats(0.5, 1e4)),
)
def test_range_of_images(tmp_path: Path, dtype: str, peak: int, given_range: IntensityRange) -> None:
    values = np.zeros(SHAPE, dtype)
    values[1, 2, 3] = peak
    reader = open_slices(save_volume(tmp_path / "a.npy", values), intensity_range=given_range)
    expected = given_range if given_range != "auto" else 255 if dtype == "uint8" else float(values.max()) or 1
    assert reader.range == (0, expected)
    np.testing.assert_allclose(reader.read(1)[2, 3], float(values[1, 2, 3]) / expected, rtol=1e-6)


def test_the_range_is_found_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_volume(tmp_path / "a.npy", np.arange(90, dtype=np.float32).reshape(SHAPE))
    assert open_slices(path).range == (0, 89)
    monkeypatch.setattr(Source, "read", lambda self, region=None: pytest.fail("the file was read again"))
    assert open_slices(path).range == (0, 89)
    save_volume(path, np.arange(90, dtype=np.float32).reshape(SHAPE) * 2)
    monkeypatch.undo()
    assert open_slices(path).range == (0, 178)


@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.uint16, 65535), (np.uint16, 4000)])
def test_values_are_rounded_once(tmp_path: Path, dtype: type, high: float) -> None:
    """All integers give the float32 number that is nearest to the quotient."""
    stored = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 16)
    np.save(tmp_path / "a.npy", stored)
    reader = open_slices(tmp_path / "a.npy", intensity_range=high)
    np.testing.assert_array_equal(reader.read(0), (stored.astype(np.float64) / high).astype(np.float32))


def test_a_window_of_two_values_and_negative_ones(tmp_path: Path) -> None:
    values = np.full(SHAPE, -1000, np.int16)
    values[0, 0, 0] = 2000
    path = save_volume(tmp_path / "a.npy", values)
    image = open_slices(path, intensity_range=[-1000, 2000]).read(0)
    assert (image[0, 0], image[0, 1]) == (1, 0)
    with pytest.raises(DataError, match=r"a\.npy: has values down to -1000; .*--intensity_range"):
        open_slices(path).read(0)


def test_scale_of_kspace_uses_measured_samples_only(tmp_path: Path) -> None:
    kspace = np.zeros((1, 4, 4), np.complex64)
    kspace[0, 2, 2], kspace[0, 0, 0] = 4, 1000  # centre sample 4: an image of 1 everywhere
    mask = np.ones((4, 4))
    mask[0, 0] = 0
    path = save_volume(tmp_path / "a.npy", kspace)
    np.save(tmp_path / "a_mask.npy", mask)
    assert open_slices(path, source_options=KSPACE).range == pytest.approx((0, 1))
    (tmp_path / "a_mask.npy").unlink()
    assert open_slices(path, source_options=KSPACE).range == pytest.approx((0, 251))


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "max", [2, 1], [0, 1, 2], [0, "a"]])
def test_unfit_intensity_range_is_refused(tmp_path: Path, bad: object) -> None:
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE))
    with pytest.raises(ValueError, match=r"intensity_range must be .*a positive number or two rising ones"):
        list_slices([path], intensity_range=bad)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (6, 1), (6, 5), (3, 6, 5), (3, 1, 5)])
def test_mask_beside_the_file_is_spread_over_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stored = np.random.default_rng(1).integers(0, 2, shape).astype(np.uint8) * 255
    stored[..., 0] = 255
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE, np.complex64))
    np.save(tmp_path / "a_mask.npy", stored)
    reader = open_slices(path, source_options=KSPACE)
    for index in range(3):
        mask = reader.mask(index)
        assert mask is not None
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, np.broadcast_to(stored != 0, SHAPE)[index])


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.npy"])
def test_mask_file_masks_kspace_and_no_images(tmp_path: Path, name: str) -> None:
    stored = np.zeros((1, 6, 5), np.uint8)
    stored[0, 1:4, 2] = 255
    save_volume(tmp_path / name, stored)
    *images, kspace = one_of_each(tmp_path)
    np.testing.assert_array_equal(open_slices(kspace, mask_file=tmp_path / name).mask(0), stored[0] > 0)
    for path in images:
        with pytest.raises(ValueError, match="mask_file is for k-space"):
            open_slices(path, mask_file=tmp_path / name)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 6, 5), (6, 4), (1,), (1, 1)])
def test_mask_of_another_size_is_refused_with_both_names(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "m.npy", np.ones(shape))
    path = one_of_each(tmp_path)[-1]
    with pytest.raises(DataError, match="image and mask of different size") as caught:
        open_slices(path, mask_file=tmp_path / "m.npy")
    assert path.name in str(caught.value)
    assert "m.npy" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(5), "samples nothing"),
        (np.array([0, 1, 2, 0, 0]), "0 and one other value, got 3 values from 0 to 2"),
        (np.array([0, np.nan, 1, 1, 1]), "0 and one other value"),
    ],
)
def test_values_that_are_no_mask_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE, np.complex64))
    np.save(tmp_path / "a_mask.npy", values)
    with pytest.raises(DataError, match=rf"a_mask\.npy.*{reason}"):
        open_slices(path, source_options=KSPACE).mask(0)


def test_two_masks_are_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["mask"] = np.ones(SHAPE, np.complex64), np.ones(5)
        file.attrs["acquisition"] = "knee"
    np.save(tmp_path / "a_mask.npy", np.array([0, 1, 1, 1, 0]))
    with pytest.raises(DataError, match="two masks"):
        open_slices(tmp_path / "a.h5")
    mask = open_slices(tmp_path / "a.h5", mask_file=tmp_path / "a_mask.npy").mask(0)
    assert mask is not None
    assert mask[0].tolist() == [False, True, True, True, False]


def test_a_centred_mask_does_not_go_with_a_shift_to_the_centre(tmp_path: Path) -> None:
    path = save_volume(tmp_path / "a.h5", np.ones(SHAPE, np.complex64))
    np.save(tmp_path / "m.npy", np.ones(5))
    with pytest.raises(ValueError, match=r"a\.h5:kspace: dc='corner' moves a mask inside of the file"):
        open_slices(path, mask_file=tmp_path / "m.npy", source_options={"dc": "corner"})


def test_slice_must_exist(tmp_path: Path) -> None:
    reader = open_slices(save_volume(tmp_path / "a.npy", np.ones(SHAPE)))
    for index in (-1, 3):
        with pytest.raises(IndexError, match=rf"a\.npy: slice must be in \[0, 2\], got {index}"):
            reader.read(index)


def test_what_is_no_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(DataError, match=r"a\.xyz: no image of a known format"):
        open_slices(tmp_path / "a.xyz")
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such file"):
        open_slices(tmp_path / "b.png")
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE, np.complex64))
    with pytest.raises(FileNotFoundError, match=r"m\.npy: no such mask file"):
        open_slices(path, mask_file=tmp_path / "m.npy", source_options=KSPACE)
    with pytest.raises(DataError, match=r"a mask file must be \.npy"):
        open_slices(path, mask_file=save_volume(tmp_path / "m.nii", np.ones(SHAPE)), source_options=KSPACE)
    with pytest.raises(ValueError, match=r"a\.npy: .* no option slice_axis"):
        list_slices([path], source_options={"slice_axis": 0})


def test_frames_are_refused_with_the_option(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((5, 6, 2, 4)).astype(np.float32)
    nibabel.save(nibabel.nifti1.Nifti1Image(image, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii: expected slices, got the 4 frames .*--source_options"):
        open_slices(tmp_path / "a.nii")
    reader = open_slices(tmp_path / "a.nii", source_options={"frame": 3}, intensity_range=1)
    np.testing.assert_array_equal(reader.read(1), image[:, :, 1, 3].T)


def test_file_that_changed_is_noticed(tmp_path: Path) -> None:
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE))
    reader = open_slices(path, intensity_range=1)
    save_volume(path, np.ones((3, 2, 2)))
    with pytest.raises(DataError, match=r"a\.npy"):
        reader.read(0)
