"""Postprocessing of decollated items: samples taken apart, images cropped."""

import pytest
import torch

from common.operators import fft2c, pack_measurement
from common.operators.cropping import center_crop
from common.operators.samples import pack_samples
from common.operators.zero_filled import zero_filled_image
from common.transforms import CropToReconSpaced, SplitSamplesd
from tests.helpers import random_complex, random_mask


def test_samples_are_taken_apart_and_the_item_stays():
    samples = torch.randn(1, 3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    item = {"pred": pack_samples(samples[:, 1], samples)[0], "label": None}
    split = SplitSamplesd()(item)
    torch.testing.assert_close(split["pred"], samples[0, 1])
    assert split["std"].shape == (1, 4, 5)
    assert torch.equal(split["sample"], samples[0, 0])
    assert split["label"] is None
    assert item.keys() == {"pred", "label"}
    assert item["pred"].shape == (5, 4, 5)


def test_an_image_of_two_channels_stays():
    item = {"image": torch.zeros(3, 4, 5), "pred": torch.ones(2, 4, 5)}
    assert SplitSamplesd()(item).keys() == item.keys()
    assert SplitSamplesd(key="pred")(item)["pred"] is item["pred"]


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"'pred' of 2 channels .* or 5 .* got shape \[3, 4, 5\]"):
        SplitSamplesd()({"pred": torch.zeros(3, 4, 5)})


def test_images_are_cropped_to_recon_space():
    full = torch.arange(8 * 9.0).reshape(1, 8, 9)
    item = {"pred": full, "label": full[:, 2:6, 3:6], "sample": None, "image": full, "recon_width": torch.tensor(3)}
    item["recon_height"] = 4
    cropped = CropToReconSpaced()(item)
    assert torch.equal(cropped["pred"], full[:, 2:6, 3:6])
    assert torch.equal(cropped["label"], full[:, 2:6, 3:6])
    assert cropped["sample"] is None
    assert cropped["image"] is full
    assert "std" not in cropped
    assert item["pred"] is full


def test_an_image_smaller_than_recon_space_names_its_file():
    item = {"pred": torch.zeros(2, 8, 9), "recon_height": 4, "recon_width": 10, "path": "knee.h5"}
    with pytest.raises(ValueError, match=r"knee\.h5, 'pred': .* no larger than the image \[8, 9\], got \[4, 10\]"):
        CropToReconSpaced()(item)
    with pytest.raises(ValueError, match=r"knee\.h5: .*missing recon_width"):
        CropToReconSpaced()({key: value for key, value in item.items() if key != "recon_width"})


@pytest.mark.parametrize(("size", "part"), [((8, 9), (4, 4)), ((9, 8), (3, 5)), ((8, 8), (8, 3)), ((7, 7), (7, 7))])
def test_the_origin_stays_the_origin(size, part):
    image = torch.zeros(2, *size)
    image[:, size[0] // 2, size[1] // 2] = 1
    cropped = center_crop(image, part)
    assert cropped.shape == (2, *part)
    assert cropped[:, part[0] // 2, part[1] // 2].eq(1).all()


def test_zero_filled_image_of_one_coil_and_of_several():
    image, mask = random_complex(2, 1, 8, 9, dtype=torch.complex64), random_mask(8, 9)
    single = zero_filled_image(pack_measurement(fft2c(image), torch.ones(1, 1, 8, 9)))
    torch.testing.assert_close(single, image[:, 0])
    maps = random_complex(1, 3, 8, 9, seed=1, dtype=torch.complex64)
    measurement = pack_measurement(mask * fft2c(maps * image), mask, maps)
    fully_sampled = pack_measurement(fft2c(maps * image), torch.ones(1, 1, 8, 9), maps)
    expected = image[:, 0] * maps.abs().square().sum(1)
    torch.testing.assert_close(zero_filled_image(fully_sampled), expected, rtol=1e-4, atol=1e-5)
    # the sum over coils of S^H F^H M F S x, coil by coil
    aliased = torch.zeros_like(image)
    for coil in maps.split(1, dim=1):
        aliased += coil.conj() * zero_filled_image(pack_measurement(mask * fft2c(coil * image), mask))[:, None]
    torch.testing.assert_close(zero_filled_image(measurement), aliased[:, 0], rtol=1e-4, atol=1e-5)
    part = center_crop(aliased[:, 0], (4, 3))
    torch.testing.assert_close(zero_filled_image(measurement, (4, 3)), part, rtol=1e-4, atol=1e-5)
