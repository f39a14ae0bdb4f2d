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

from common.data import DataError, list_slices, open_slices
from common.data import readers as readers_module

SHAPE = (3, 6, 5)


def save_volume(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["kspace"] = values
    elif path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix == ".png":
        Image.fromarray(values[0]).save(path)
    else:
        nibabel.save(nibabel.nifti1.Nifti1Image(np.moveaxis(values, 0, -1), np.eye(4)), path)
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
    for path in files:
        stack = type(open_slices(path).stack)
        monkeypatch.setattr(stack, "load", lambda self, index: loads.append(index))
    entries = list_slices(files)
    assert loads == []
    assert len(entries) == 1 + 5 * SHAPE[0]
    sizes = {"n_slices": 3, "height": 6, "width": 5, "recon_height": 6, "recon_width": 5}
    assert entries[1] == {"path": str(files[1]), "slice": 0, **sizes}


def test_the_pass_for_the_scale_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_volume(tmp_path / "a.npy", np.arange(90, dtype=np.float32).reshape(SHAPE))
    loads: list[int] = []
    load = readers_module.NpyStack.load

    def counted(self: readers_module.NpyStack, index: int) -> np.ndarray:
        loads.append(index)
        return load(self, index)

    monkeypatch.setattr(readers_module.NpyStack, "load", counted)
    for index in range(3):
        open_slices(path).read(index)
    assert sorted(loads) == [0, 0, 1, 1, 2, 2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64", "bool"]),
    peak=st.integers(0, 200),
    given_range=st.one_of(st.just("auto"), st.floats(0.5, 1e4)),
)
def test_scale_of_images(tmp_path: Path, dtype: str, peak: int, given_range: readers_module.IntensityRange) -> None:
    values = np.zeros(SHAPE, dtype)
    values[1, 2, 3] = -peak if dtype == "int16" else peak
    reader = open_slices(save_volume(tmp_path / "a.npy", values), intensity_range=given_range)
    expected = given_range if given_range != "auto" else 255 if dtype == "uint8" else float(np.abs(values).max()) or 1
    assert reader.scale == expected
    np.testing.assert_allclose(reader.read(1)[2, 3], float(values[1, 2, 3]) / expected, rtol=1e-6)


def test_smallest_int16_does_not_overflow(tmp_path: Path) -> None:
    values = np.full(SHAPE, -32768, np.int16)
    reader = open_slices(save_volume(tmp_path / "a.npy", values))
    assert reader.scale == 32768
    assert (reader.read(0) == -1).all()


def test_scale_of_kspace_uses_measured_samples_only(tmp_path: Path) -> None:
    kspace = np.zeros((1, 4, 4), np.complex64)
    kspace[0, 2, 2], kspace[0, 0, 0] = 4, 1000  # centre sample 4: an image of 1 everywhere
    mask = np.ones((4, 4))
    mask[0, 0] = 0
    path = save_volume(tmp_path / "a.npy", kspace)
    np.save(tmp_path / "a_mask.npy", mask)
    assert open_slices(path).scale == pytest.approx(1)
    (tmp_path / "a_mask.npy").unlink()
    assert open_slices(path).scale == pytest.approx(251)


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "max", [2, 1], [0, 1, 2], [0, "a"]])
def test_unfit_intensity_range_is_refused(tmp_path: Path, bad: object) -> None:
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE))
    with pytest.raises(ValueError, match="intensity_range must be 'auto', a positive number or two rising ones"):
        list_slices([path], intensity_range=bad)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (6, 1), (6, 5), (3, 6, 5), (3, 1, 5)])
def test_mask_beside_the_file_is_spread_over_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stored = np.random.default_rng(1).integers(0, 2, shape).astype(np.uint8) * 255
    stored[..., 0] = 255
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE, np.complex64))
    np.save(tmp_path / "a_mask.npy", stored)
    reader = open_slices(path)
    for index in range(3):
        mask = reader.mask(index)
        assert mask is not None
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, np.broadcast_to(stored != 0, SHAPE)[index])


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.npy"])
def test_mask_file_masks_images_and_kspace(tmp_path: Path, name: str) -> None:
    stored = np.zeros((1, 6, 5), np.uint8)
    stored[0, 1:4, 2] = 255
    save_volume(tmp_path / name, stored)
    for path in one_of_each(tmp_path):
        np.testing.assert_array_equal(open_slices(path, mask_file=tmp_path / name).mask(0), stored[0] > 0)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 6, 5), (6, 4), (1,), (1, 1)])
def test_mask_of_another_size_is_refused_with_both_names(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "m.npy", np.ones(shape))
    for path in one_of_each(tmp_path):
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
        open_slices(path).mask(0)


def test_two_masks_are_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["mask"] = np.ones(SHAPE, np.complex64), np.ones(5)
    np.save(tmp_path / "a_mask.npy", np.array([0, 1, 1, 1, 0]))
    with pytest.raises(DataError, match="two masks"):
        open_slices(tmp_path / "a.h5")
    mask = open_slices(tmp_path / "a.h5", mask_file=tmp_path / "a_mask.npy").mask(0)
    assert mask is not None
    assert mask[0].tolist() == [False, True, True, True, False]


def test_slice_must_exist(tmp_path: Path) -> None:
    reader = open_slices(save_volume(tmp_path / "a.npy", np.ones(SHAPE)))
    for index in (-1, 3):
        with pytest.raises(IndexError, match=rf"a\.npy: slice must be in \[0, 2\], got {index}"):
            reader.read(index)


def test_what_is_no_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"a\.jpg: unknown suffix '\.jpg', expected one of \.png, .*\.npy"):
        open_slices(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="expected a file, got a folder"):
        open_slices(tmp_path / "folder.png")
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such file"):
        open_slices(tmp_path / "b.png")
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE))
    with pytest.raises(FileNotFoundError, match=r"mask_file: no file .*m\.npy"):
        open_slices(path, mask_file=tmp_path / "m.npy")
    with pytest.raises(DataError, match=r"a mask file must be \.npy, \.png or \.tif, got '\.nii'"):
        open_slices(path, mask_file=save_volume(tmp_path / "m.nii", np.ones(SHAPE)))
    with pytest.raises(ValueError, match="kind must be 'auto', 'image' or 'kspace', got 'phase'"):
        list_slices([path], kind="phase")


def test_file_that_changed_is_noticed(tmp_path: Path) -> None:
    path = save_volume(tmp_path / "a.npy", np.ones(SHAPE))
    reader = open_slices(path, intensity_range=1)
    save_volume(path, np.ones((3, 2, 2)))
    with pytest.raises(DataError, match=r"a\.npy"):
        reader.read(0)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npy: no such file"):
        reader.read(0)
