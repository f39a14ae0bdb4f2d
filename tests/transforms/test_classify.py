"""Random views of images for a classifier."""

import pytest
import torch

from common.transforms import PrepareClasses, RandomFlips

LABEL = torch.tensor([3, 1, 2])


def numbered(batch=3, size=9):
    values = torch.arange(batch * size * size, dtype=torch.float32).reshape(batch, 1, size, size)
    return values / values.max()


def prepared(image, seed=0, **options):
    torch.manual_seed(seed)
    return PrepareClasses(**options)({"image": image, "label": LABEL, "path": ["a"] * 3}, "cpu")


def test_whole_images_are_left_alone():
    image, label = prepared(numbered())
    assert torch.equal(image, numbered())
    assert torch.equal(label, LABEL)


def test_crops_are_parts_at_their_own_places():
    found, label = prepared(numbered(), patch_size=4)
    assert found.shape == (3, 1, 4, 4)
    assert torch.equal(label, LABEL)
    places = set()
    for crop, image in zip(found[:, 0], numbered()[:, 0], strict=True):
        (row, column), *more = (image == crop[0, 0]).nonzero().tolist()
        assert not more
        assert torch.equal(crop, image[row : row + 4, column : column + 4])
        places.add((row, column))
    assert len(places) > 1


def test_views_follow_torchs_seed():
    options = {"patch_size": 5, "augmentation": RandomFlips(), "contrast": 0.4, "brightness": 0.1}
    first, again, other = (prepared(numbered(), seed, **options)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_contrast_and_brightness_change_within_their_bounds():
    image = 0.5 + 0.2 * (numbered() - 0.5)
    found, _ = prepared(image, contrast=0.3, brightness=0.1)
    shift = (found.mean((1, 2, 3)) - image.mean((1, 2, 3))).abs()
    gain = found.std((1, 2, 3)) / image.std((1, 2, 3))
    assert shift.max() <= 0.1 + 1e-6
    assert 0.7 <= gain.min() < 1.3
    assert gain.max() <= 1.3
    assert shift.min() > 0
    assert gain.std() > 0.01
    clipped, _ = prepared(numbered(), contrast=0.3, brightness=0.5)
    assert clipped.min() >= 0
    assert clipped.max() <= 1


@pytest.mark.parametrize(
    ("options", "match"),
    [({"patch_size": 0}, "patch_size must be at least 1"), ({"patch_size": 10}, "at least 10 pixels .* got 9 x 9")],
)
def test_wrong_patch_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        prepared(numbered(), **options)
