"""The data set of slices: what an item holds, when files are read, and who reports errors."""

import h5py
import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c, random_mask
from monai.data import DataLoader
from PIL import Image

from common.data import DataError, SliceDataset, find_slices, list_slices
from common.operators import fft2c


@pytest.fixture
def png_folder(tmp_path):
    for index in range(3):
        values = np.random.default_rng(index).integers(0, 256, (6, 5), dtype=np.uint8)
        values[0, 0] = 255
        Image.fromarray(values).save(tmp_path / f"slice_{index}.png")
    return tmp_path


def kspace_file(path, mask=None, reference=None, n_slices=2, height=6, width=8):
    """Random k-space, whose images are scaled by the file's own ``max``."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((n_slices, height, width)) + 1j * rng.standard_normal((n_slices, height, width))
    with h5py.File(path, "w") as file:
        file["kspace"] = numpy_fft2c(image).astype(np.complex64)
        file.attrs.update({"max": 2.0, "acquisition": "knee"})
        if mask is not None:
            file["mask"] = mask
        if reference is not None:
            file["reconstruction_esc"] = reference
    return image


def test_images_come_in_image_units_with_their_entry(png_folder):
    dataset = SliceDataset(find_slices(png_folder))
    assert len(dataset) == 3
    item = dataset[1]
    stored = np.asarray(Image.open(png_folder / "slice_1.png"))
    assert item["image"].dtype == torch.float32
    np.testing.assert_allclose(item["image"].numpy(), stored[None] / 255, rtol=1e-6)
    assert item["path"] == str(png_folder / "slice_1.png")
    assert (item["slice"], item["n_slices"], item["height"], item["width"]) == (0, 1, 6, 5)


def test_options_reach_the_reader(png_folder):
    options = {"intensity_range": 510.0}
    item = SliceDataset(find_slices(png_folder, **options), **options)[0]
    assert item["image"].max() == 0.5


def test_files_are_read_when_asked_for(png_folder):
    dataset = SliceDataset(find_slices(png_folder))
    (png_folder / "slice_2.png").unlink()
    assert dataset[0]["image"].shape == (1, 6, 5)
    with pytest.raises(FileNotFoundError, match=r"slice_2\.png: no such file"):
        dataset[2]


def test_a_cache_keeps_what_was_read_before_the_transform(png_folder):
    calls = []

    def transform(item):
        calls.append(item["path"])
        item["image"] = item["image"] + 1
        return item

    dataset = SliceDataset(find_slices(png_folder), transform, cache=True)
    first = dataset[0]["image"]
    (png_folder / "slice_0.png").unlink()
    assert torch.equal(dataset[0]["image"], first)
    assert len(calls) == 2


def test_fully_sampled_kspace_becomes_an_image(tmp_path):
    image = kspace_file(tmp_path / "full.h5")
    dataset = SliceDataset(find_slices(tmp_path))
    assert len(dataset) == 2
    place = {"path", "slice", "n_slices", "height", "width", "recon_height", "recon_width"}
    assert set(dataset[1]) == {*place, "image", "kspace"}
    torch.testing.assert_close(dataset[1]["kspace"], fft2c(dataset[1]["image"]), rtol=0, atol=1e-5)
    for options in ({"fully_sampled": True}, {"transform": dict}):  # training, and where something changes the image
        assert set(SliceDataset(find_slices(tmp_path), **options)[1]) == {*place, "image"}
    assert dataset[1]["image"].dtype == torch.complex64
    np.testing.assert_allclose(dataset[1]["image"][0].numpy(), image[1] / 2, rtol=1e-5, atol=1e-6)


def test_undersampled_kspace_comes_with_its_mask(tmp_path):
    mask = random_mask(6, 8)[0, 0].numpy()
    image = kspace_file(tmp_path / "measured.h5", mask=mask)
    item = SliceDataset(find_slices(tmp_path))[1]
    assert "image" not in item
    assert item["kspace"].shape == item["mask"].shape == (1, 6, 8)
    assert item["kspace"].dtype == torch.complex64
    assert item["mask"].dtype == torch.float32
    assert np.array_equal(item["mask"][0].numpy(), mask)
    np.testing.assert_allclose(item["kspace"][0].numpy(), mask * numpy_fft2c(image[1]) / 2, rtol=1e-5, atol=1e-6)


def test_a_target_of_the_size_of_kspace_or_image_is_the_image(tmp_path):
    mask = random_mask(6, 8)[0, 0].numpy()
    reference = np.random.default_rng(1).random((2, 6, 8)).astype(np.float32)
    kspace_file(tmp_path / "a.h5", mask=mask, reference=reference)
    kspace_file(tmp_path / "b.h5", mask=mask, reference=reference[:, :4, :4])
    dataset = SliceDataset(find_slices(tmp_path))
    np.testing.assert_allclose(dataset[1]["image"][0].numpy(), reference[1] / 2, rtol=1e-6)
    np.testing.assert_allclose(dataset[3]["image"][0].numpy(), reference[1, :4, :4] / 2, rtol=1e-6)
    assert (dataset[3]["recon_height"], dataset[3]["recon_width"]) == (4, 4)  # to which a prediction is cropped


def test_items_are_collated_to_batches(tmp_path):
    image = kspace_file(tmp_path / "measured.h5", mask=random_mask(6, 8)[0, 0].numpy())
    (batch,) = DataLoader(SliceDataset(find_slices(tmp_path)), batch_size=2)
    assert batch["kspace"].shape == (2, 1, 6, 8)
    zero_filled = numpy_ifft2c(batch["kspace"].numpy())
    assert np.abs(zero_filled).max() < np.abs(image).max()
    assert batch["slice"].tolist() == [0, 1]


def test_an_unusable_file_is_named_not_wrapped(png_folder):
    data = list_slices(sorted(png_folder.glob("*.png")))
    whole = (png_folder / "slice_1.png").read_bytes()
    (png_folder / "slice_1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"slice_1\.png: cannot be read as"):
        SliceDataset(data)[1]


def test_a_missing_folder_gives_the_hint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*train; make some"):
        find_slices(tmp_path, "train", hint="make some")


def test_training_refuses_undersampled_kspace(tmp_path):
    np.save(tmp_path / "scan.npy", numpy_fft2c(np.random.default_rng(0).random((8, 8))).astype(np.complex64))
    np.save(tmp_path / "scan_mask.npy", np.eye(8, dtype=bool))
    dataset = SliceDataset(find_slices(str(tmp_path)), fully_sampled=True)
    with pytest.raises(DataError, match=r"scan\.npy: expected fully sampled data to train on, got k-space with a mask"):
        dataset[0]


def test_a_file_that_was_replaced_is_read_anew(png_folder):
    dataset = SliceDataset(find_slices(png_folder))
    assert dataset[0]["image"][0, 0, 0] == 1
    Image.fromarray(np.zeros((6, 5), np.uint16)).save(png_folder / "slice_0.png")
    assert (dataset[0]["image"] == 0).all()


def test_a_window_of_two_values_is_an_option_of_training(tmp_path):
    np.save(tmp_path / "ct.npy", np.array([[-1000, 500, 2000]] * 3, np.int16))
    options = {"intensity_range": [-1000, 2000]}
    dataset = SliceDataset(find_slices(tmp_path, **options), fully_sampled=True, **options)
    assert dataset[0]["image"][0, 0].tolist() == [0, 0.5, 1]
