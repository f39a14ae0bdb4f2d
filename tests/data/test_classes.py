"""Folders of images by class: what is found, what is read, and what is wrong with them."""

import numpy as np
import pytest
import torch
from PIL import Image

from common.data import ClassDataset, count_classes, find_classes
from common.errors import DataError


def picture(path, shape=(8, 8), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(values).save(path, **options)
    return values


def folders(root, names, n_images=1):
    for name in names:
        for n in range(n_images):
            picture(root / name / f"{n + 1}.png", seed=n)


def found(root, split="train"):
    return [(item["path"].removeprefix(f"{root}/"), item["label"]) for item in find_classes(root, split)]


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path):
    folders(tmp_path / "train", ["wool", "bark2", "bark10"], 2)
    folders(tmp_path / "valid", ["bark10", "wool", "bark2"])
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "wool" / "notes.txt").touch()
    (tmp_path / "train" / "wool" / ".hidden.png").touch()
    names = enumerate(["bark2", "bark10", "wool"])
    expected = [(f"train/{name}/{n}.png", label) for label, name in names for n in (1, 2)]
    assert found(tmp_path) == expected
    assert found(tmp_path, "valid") == [("valid/bark2/1.png", 0), ("valid/bark10/1.png", 1), ("valid/wool/1.png", 2)]
    assert count_classes(find_classes(tmp_path)) == 3


def test_undivided_folders_keep_every_fifth_image_for_validation(tmp_path):
    folders(tmp_path, ["a", "b"], 11)
    train, valid = found(tmp_path), found(tmp_path, "valid")
    assert valid == [("a/5.png", 0), ("a/10.png", 0), ("b/5.png", 1), ("b/10.png", 1)]
    assert len(train) == 18
    assert not set(train) & set(valid)


@pytest.mark.parametrize(
    ("trained", "validated", "split", "match"),
    [
        ([], [], "train", r"no folder .*set; make some$"),
        (["a"], ["a"], "train", r"expected two folders or more in .*/train, one a class; make some"),
        (["a", "b"], [], "valid", r"no folder .*/valid; make some"),
        (["a", "b"], ["a", "c"], "valid", r"valid: expected the classes of train/, got c besides and b missing"),
        (["a", "b"], ["a"], "valid", r"expected two folders or more in .*/valid"),
    ],
)
def test_wrong_folders_are_told(trained, validated, split, match, tmp_path):
    folders(tmp_path / "set" / "train", trained)
    folders(tmp_path / "set" / "valid", validated)
    with pytest.raises((FileNotFoundError, ValueError), match=match):
        find_classes(tmp_path / "set", split, hint="make some")


def test_class_without_images_is_told(tmp_path):
    folders(tmp_path / "train", ["a", "b"])
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image \(.png, .jpg.*\) in the class .*/train/c; add some"):
        find_classes(tmp_path)


def test_too_few_images_to_divide_are_told(tmp_path):
    folders(tmp_path, ["a", "b"], 4)
    with pytest.raises(FileNotFoundError, match=r"class .*/a for valid \(of 5 images one is for validation\)"):
        find_classes(tmp_path, "valid")


def test_unset_folder_is_told():
    with pytest.raises(FileNotFoundError, match="dataset_dir is not set; make some"):
        find_classes("", hint="make some")


def test_item_is_the_middle_square_in_grey(tmp_path):
    values = picture(tmp_path / "a" / "1.png", (8, 12))
    item = ClassDataset([{"path": str(tmp_path / "a" / "1.png"), "label": 7}], size=8)[0]
    assert item["label"] == 7
    assert item["path"].endswith("1.png")
    torch.testing.assert_close(item["image"], torch.from_numpy(values[None, :, 2:10] / np.float32(255)))


def test_colours_become_luma(tmp_path):
    path = tmp_path / "a.png"
    values = picture(path, (8, 8, 3))
    image = ClassDataset([{"path": str(path), "label": 0}], size=8)[0]["image"]
    luma = values @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(image[0].numpy(), luma, atol=1 / 255)


def test_jpeg_is_read_and_reduced(tmp_path):
    path = tmp_path / "a.JPG"
    ramp = np.repeat(np.linspace(20, 220, 64)[None], 48, 0)
    Image.fromarray(np.repeat(ramp[..., None], 3, -1).astype(np.uint8)).save(path, format="JPEG", quality=95)
    image = ClassDataset([{"path": str(path), "label": 0}], size=12)[0]["image"]
    assert image.shape == (1, 12, 12)
    expected = ramp[:12, 8:56].reshape(12, 12, 4).mean(-1) / 255
    np.testing.assert_allclose(image[0, :, 1:-1].numpy(), expected[:, 1:-1], atol=0.015)


def test_images_are_kept_once_read(tmp_path):
    path = tmp_path / "a.png"
    picture(path)
    data = ClassDataset([{"path": str(path), "label": 0}], size=8)
    first = data[0]["image"]
    path.unlink()
    assert torch.equal(data[0]["image"], first)


def test_unusable_images_are_told(tmp_path):
    deep, small, broken = (tmp_path / f"{name}.png" for name in ("deep", "small", "broken"))
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(deep)
    picture(small, (8, 7))
    broken.write_bytes(b"nothing")
    data = ClassDataset([{"path": str(path), "label": 0} for path in (deep, small, broken)], size=8)
    for index, match in enumerate(
        [
            "deep.png: expected one image of 8 bit, got 8 x 8 .* uint16",
            "small.png: expected at least 8 x 8 pixels, got 8 x 7; lower image_size",
            "broken.png: cannot be read",
        ]
    ):
        with pytest.raises(DataError, match=match):
            data[index]
