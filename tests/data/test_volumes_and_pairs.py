"""Data sets of whole volumes and of pairs; colours, alike through every door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from dicom_series import write_series
from PIL import Image

from common.data import DataError, PairDataset, VolumeDataset, find_pairs, find_volumes, open_slices
from common.data.loading import evaluation_loader, training_loader
from common.io import find_range, open_source
from common.transforms import PrepareSuperResolution


def grey(*shape: int, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


# -- volumes -----------------------------------------------------------------------------------------------------------


def test_volumes_of_every_kind_are_items_of_height_width_depth(tmp_path: Path) -> None:
    volume = grey(5, 6, 7, dtype="uint16")  # [slices, height, width]
    folder = tmp_path / "train"
    write_series(folder / "ct", volume, RescaleIntercept=0)
    for index, image in enumerate(volume):
        save(folder / "pages" / f"{index}.png", image)
    tifffile.imwrite(folder / "stack.tif", volume, photometric="minisblack")
    scipy.io.savemat(folder / "temp.mat", {"temp": volume.transpose(1, 2, 0)})
    data = find_volumes(tmp_path, "train")
    assert [Path(item["path"]).name for item in data] == ["ct", "pages", "stack.tif", "temp.mat"]
    batches = list(evaluation_loader(VolumeDataset(data)))
    expected = torch.from_numpy(volume.transpose(1, 2, 0) / volume.max()).float()
    for item, batch in zip(data, batches, strict=True):
        assert batch["image"].dtype == torch.float32
        torch.testing.assert_close(batch["image"][0, 0], expected, rtol=1e-6, atol=1e-6)
        assert (batch["path"], batch["slice"].item(), batch["n_slices"].item()) == ([item["path"]], 0, 1)


def test_a_range_of_values_and_a_cache(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(100, 50, (4, 5, 6)).astype(np.float32)
    np.save(tmp_path / "a.npy", volume)
    with pytest.raises(DataError, match=r"a.npy: has values down to"):
        find_volumes(tmp_path)
    data = find_volumes(tmp_path, intensity_range=[-100, 300])
    dataset = VolumeDataset(data, lambda item: {"image": item["image"] + 1}, True, intensity_range=[-100, 300])
    expected = torch.from_numpy((volume.transpose(1, 2, 0) + 100) / 400)[None] + 1
    torch.testing.assert_close(dataset[0]["image"], expected)
    (tmp_path / "a.npy").unlink()
    torch.testing.assert_close(dataset[0]["image"], expected)
    np.save(tmp_path / "a.npy", volume)
    data = find_volumes(tmp_path, intensity_range="measured")
    assert VolumeDataset(data, intensity_range="measured")[0]["image"].max() == 1
    volume[1, 1, 1] = np.nan
    np.save(tmp_path / "a.npy", volume)
    with pytest.raises(DataError, match=r"a.npy: .* NaN or infinite"):
        VolumeDataset(data, intensity_range=[0, 1])[0]


def test_eight_bits_with_a_slope_mean_the_same_in_training_and_inference(tmp_path: Path) -> None:
    volume = grey(5, 6, 7)
    image = nibabel.Nifti1Image(volume, np.eye(4))
    image.header.set_slope_inter(10, 0)
    image.header.set_data_offset(352)
    # by hand: nibabel would write a slope of its own
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + volume.tobytes("F"))
    meant = nibabel.load(tmp_path / "a.nii").get_fdata()
    assert meant.max() > 2000
    with open_source(tmp_path / "a.nii") as source:
        assert find_range(source, "auto") == (0, 2550)  # inference
    slices = open_slices(tmp_path / "a.nii")
    np.testing.assert_allclose(slices.read(3), meant[..., 3].T / 2550, rtol=1e-6)
    whole = VolumeDataset(find_volumes(tmp_path))[0]["image"]
    np.testing.assert_allclose(whole[0], meant.transpose(1, 0, 2) / 2550, rtol=1e-6)


def test_an_image_is_no_volume(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(6, 7))
    with pytest.raises(DataError, match=r"a.png: expected a volume, got one image of 6 x 7 .*; put the slices"):
        find_volumes(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.raw").write_bytes(grey(3, 4, 5).tobytes())
    options: dict[str, Any] = {"shape": [3, 4, 5], "dtype": "uint8"}
    assert VolumeDataset(find_volumes(tmp_path, source_options=options), source_options=options)[0]["image"].shape == (
        1,
        4,
        5,
        3,
    )


# -- pairs -------------------------------------------------------------------------------------------------------------


def deep_rock(folder: Path, name: str = "shuffled2D", split: str = "train", n: int = 3, kind: str = "unknown") -> None:
    for index in range(1, n + 1):
        save(folder / name / f"{name}_{split}_HR" / f"{index:04}.png", grey(12, 16, seed=index))
        save(folder / name / f"{name}_{split}_LR_{kind}_X4" / f"{index:04}x4.png", grey(3, 4, seed=100 + index))


def names(data: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        tuple("/".join(Path(item[key]).parts[-2:]) for key in ("path", "lr_path"))  # type: ignore[misc]
        for item in data
    ]


def test_the_layout_of_deep_rock_sr(tmp_path: Path) -> None:
    for name in ("carbonate2D", "shuffled2D"):
        deep_rock(tmp_path, name)
    deep_rock(tmp_path, "shuffled2D", "valid", kind="default")
    expected = [
        (f"shuffled2D_train_HR/{n:04}.png", f"shuffled2D_train_LR_unknown_X4/{n:04}x4.png") for n in range(1, 4)
    ]
    assert names(find_pairs(tmp_path, "train", 4)) == expected
    assert names(find_pairs(tmp_path / "shuffled2D", "train", 4)) == expected
    assert names(find_pairs(tmp_path / "carbonate2D", "train", 4))[0][0] == "carbonate2D_train_HR/0001.png"
    assert len(find_pairs(tmp_path, "valid", 4, kind="default")) == 3
    data = find_pairs(tmp_path, "train", 4)
    item = PairDataset(data)[1]
    np.testing.assert_allclose(item["label"][0], grey(12, 16, seed=2) / 255, rtol=1e-6)
    np.testing.assert_allclose(item["image"][0], grey(3, 4, seed=102) / 255, rtol=1e-6)
    assert (item["slice"], item["n_slices"]) == (0, 1)
    assert item["path"] == data[1]["path"]
    (batch,) = training_loader(PairDataset(data, cache=True), 3)
    prepare = PrepareSuperResolution(4, patch_size=2)
    lr_image, hr_image = prepare(batch, torch.device("cpu"))
    assert (lr_image.shape, hr_image.shape) == ((3, 1, 2, 2), (3, 1, 8, 8))


def test_the_layout_of_deep_rock_sr_in_3d(tmp_path: Path) -> None:
    folder = tmp_path / "shuffled3D"
    for name, side, ending in (("HR", 16, ""), ("LR_default_X2", 8, "x2")):
        place = folder / f"shuffled3D_test_{name}"
        place.mkdir(parents=True)
        scipy.io.savemat(place / f"0001{ending}.mat", {"temp": grey(side, side, side)})
    item = PairDataset(find_pairs(tmp_path, "test", 2, kind="default"))[0]
    assert (item["image"].shape, item["label"].shape) == ((1, 8, 8, 8), (1, 16, 16, 16))
    np.testing.assert_allclose(item["label"][0], grey(16, 16, 16) / 255, rtol=1e-6)


@pytest.mark.parametrize(("folder", "ending"), [("LR", ""), ("LR", "x2"), ("LR_x2", ""), ("LR_x2", "x2")])
def test_the_plain_layout(tmp_path: Path, folder: str, ending: str) -> None:
    for stem in ("a2", "a10"):
        tifffile.imwrite(make(tmp_path / "train" / "HR") / f"{stem}.tif", grey(10, 6, dtype="uint16"))
        np.save(make(tmp_path / "train" / folder) / f"{stem}{ending}.npy", grey(5, 3))
    data = find_pairs(tmp_path, "train", 2)
    assert names(data) == [("HR/a2.tif", f"{folder}/a2{ending}.npy"), ("HR/a10.tif", f"{folder}/a10{ending}.npy")]
    item = PairDataset(data)[0]
    np.testing.assert_allclose(item["image"][0], grey(5, 3) / 255, rtol=1e-6)  # each by its own type
    top = grey(10, 6, dtype="uint16").max()
    np.testing.assert_allclose(item["label"][0], grey(10, 6, dtype="uint16") / top, rtol=1e-6)
    item = PairDataset(data, intensity_range="measured")[0]
    np.testing.assert_allclose(item["image"][0], grey(5, 3) / top, rtol=1e-6)


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_missing_partner_either_way_is_named(tmp_path: Path) -> None:
    deep_rock(tmp_path, n=4)
    hr_folder, lr_folder = (tmp_path / "shuffled2D" / f"shuffled2D_train_{n}" for n in ("HR", "LR_unknown_X4"))
    (lr_folder / "0002x4.png").unlink()
    (lr_folder / "0003x4.png").unlink()
    with pytest.raises(
        DataError, match=r"0002.png: has no low-resolution partner in .*X4 \(and 1 more\); add it, or remove the file"
    ):
        find_pairs(tmp_path, "train", 4)
    (hr_folder / "0001.png").unlink()
    with pytest.raises(DataError, match=r"0001x4.png: has no high-resolution partner in .*_HR; add it, or remove"):
        find_pairs(tmp_path, "train", 4)
    save(lr_folder / "0004.png", grey(3, 4))
    save(hr_folder / "0001.png", grey(12, 16))
    with pytest.raises(DataError, match=r"0004x4.png: .*HR/0004.png has a partner already, .*/0004.png; remove one"):
        find_pairs(tmp_path, "train", 4)
    np.save(hr_folder / "0004.npy", grey(12, 16))
    with pytest.raises(DataError, match=r"0004.* and 0004.*: two images of one name; remove or rename one"):
        find_pairs(tmp_path, "train", 4)


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset_dir is not set; make some"):
        find_pairs("", "train", 4, hint="make some")
    with pytest.raises(FileNotFoundError, match=r"no pairs in .*, expected train/HR and train/LR, or .*; make some"):
        find_pairs(tmp_path, "train", 4, hint="make some")
    deep_rock(tmp_path, "carbonate2D")
    with pytest.raises(
        FileNotFoundError,
        match=r"expected one folder carbonate2D_train_LR_default_X2 beside it, found carbonate2D_train_HR, carbonate2D_"
        r"train_LR_unknown_X4; check upscale and kind",
    ):
        find_pairs(tmp_path, "train", 2, kind="default")
    deep_rock(tmp_path, "coal2D")
    with pytest.raises(DataError, match=r"several sets of pairs, carbonate2D/carbonate2D_train_HR, coal2D/.*; point"):
        find_pairs(tmp_path, "train", 4)


def test_a_pair_that_does_not_match_the_scale_is_named(tmp_path: Path) -> None:
    deep_rock(tmp_path)
    path = tmp_path / "shuffled2D" / "shuffled2D_train_HR" / "0002.png"
    save(path, grey(12, 15))
    data = PairDataset(find_pairs(tmp_path, "train", 4))
    assert data[0]["label"].shape == (1, 12, 16)
    with pytest.raises(
        DataError, match=r"HR/0002.png: expected 12 x 16 at upscale 4, for .*/0002x4.png of 3 x 4, got 12 x 15; correct"
    ):
        data[1]


# -- colours -----------------------------------------------------------------------------------------------------------


def test_grey_stored_as_colour_is_grey_and_colours_are_refused_by_every_reader(tmp_path: Path) -> None:
    image = grey(12, 16)
    stored = np.stack([image] * 3, axis=-1)
    coloured = stored.copy()
    coloured[3, 4, 1] ^= 1
    deep_rock(tmp_path, n=1)
    pair = tmp_path / "shuffled2D" / "shuffled2D_train_HR" / "0001.png"

    def reads(values: np.ndarray) -> list[Any]:
        save(pair, values)
        save(tmp_path / "slices" / "0.png", values)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
        return [
            lambda: PairDataset(find_pairs(tmp_path, "train", 4))[0]["label"][0].numpy(),
            lambda: VolumeDataset([{"path": tmp_path / "slices"}])[0]["image"][0, :, :, 0].numpy(),
            lambda: VolumeDataset([{"path": tmp_path / "a.tif"}])[0]["image"][0].numpy(),
        ]

    for read in reads(stored):
        np.testing.assert_allclose(read(), image / 255, rtol=1e-6)
    for read in reads(coloured):
        with pytest.raises(
            DataError, match=r"0.png|a.tif|0001.png: expected a grey image, got colours; save it as"
        ) as e:
            read()
        assert "\n" not in str(e.value)
