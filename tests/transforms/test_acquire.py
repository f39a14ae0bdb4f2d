"""Batch preparation: images become measurements, measured k-space passes."""

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, random_complex, random_mask
from monai.data import MetaTensor
from torch import Tensor

from common.operators import channels_to_complex, complex_to_channels, fft2c, unpack_measurement
from common.operators.masks import MaskSampler
from common.transforms import PrepareAcquisition, RandomView

CPU = torch.device("cpu")
GAUSSIAN = MaskSampler("gaussian", 0.3)


def images(batch=3, height=16, width=14, dtype=torch.float32):
    return torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(0)).to(dtype)


def from_files(*names, **entries):
    """A batch as the loader collates it."""
    batch = {"image": images(len(names)), "path": list(names), "slice": torch.arange(len(names))}
    return {**batch, **entries}


def masks_of(measurement):
    return unpack_measurement(measurement)[1]


def test_measurement_is_the_masked_transform_of_the_truth():
    torch.manual_seed(0)
    image = images()
    measurement, truth = PrepareAcquisition(GAUSSIAN)({"image": image}, CPU)
    assert measurement.dtype == truth.dtype == torch.float32
    assert torch.equal(truth[:, :1], image)
    assert not truth[:, 1].any()
    kspace, mask = unpack_measurement(measurement)
    assert mask.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.3] * 3, abs=0.003)
    np.testing.assert_allclose(kspace.numpy(), mask.numpy() * numpy_fft2c(image.numpy()), rtol=0, atol=1e-5)


def test_complex_images_keep_their_phase():
    image = random_complex(2, 1, 16, 14, dtype=torch.complex64)
    _, truth = PrepareAcquisition(GAUSSIAN)({"image": image}, CPU)
    assert torch.equal(channels_to_complex(truth), image)


def test_a_files_mask_follows_from_its_name():
    prepare = PrepareAcquisition(GAUSSIAN, by_file=True)
    first, again, b = masks_of(prepare(from_files("here/a.h5", "there/a.h5", "here/b.h5"), CPU)[0])
    assert torch.equal(first, again)
    assert not torch.equal(first, b)
    alone = masks_of(prepare(from_files("elsewhere/b.h5"), CPU)[0])
    assert torch.equal(alone[0], b)


def test_training_masks_follow_from_torchs_random_state():
    prepare = PrepareAcquisition(GAUSSIAN)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(masks_of(prepare(from_files("a.h5", "a.h5"), CPU)[0]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_truth_is_the_augmented_image():
    torch.manual_seed(0)
    image = images(4)
    measurement, truth = PrepareAcquisition(GAUSSIAN, augmentation=RandomView(1.0))({"image": image}, CPU)
    assert (truth[:, :1] - image).abs().max() > 0.1
    kspace, mask = unpack_measurement(measurement)
    torch.testing.assert_close(kspace, mask * fft2c(channels_to_complex(truth)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("by_file", [False, True])
def test_noise_is_complex_gaussian_on_the_samples(by_file):
    torch.manual_seed(0)
    image = torch.zeros(4, 1, 64, 64)
    prepare = PrepareAcquisition(MaskSampler("gaussian", 0.5), noise_std=0.05, by_file=by_file)
    kspace, mask = unpack_measurement(prepare(from_files(*"abcd", image=image), CPU)[0])
    noise = kspace[mask == 1]
    assert len(noise) == 4 * 64 * 64 // 2
    for part in (noise.real, noise.imag):
        assert float(part.std()) == pytest.approx(0.05, rel=0.03)
        assert abs(float(part.mean())) < 3 * 0.05 / len(noise) ** 0.5
    assert abs(float((noise.real * noise.imag).mean())) < 3 * 0.05**2 / len(noise) ** 0.5
    assert not kspace[mask == 0].any()


def test_a_slices_noise_follows_from_its_file_and_number():
    prepare = PrepareAcquisition(MaskSampler("gaussian", 1.0), noise_std=0.1, by_file=True)
    names, same = ("x/a.h5", "x/a.h5", "x/b.h5"), images(1).expand(3, -1, -1, -1)
    kspace = unpack_measurement(prepare(from_files(*names, image=same), CPU)[0])[0]
    reverse = from_files(*names[::-1], image=same, slice=torch.tensor([2, 1, 0]))
    assert torch.equal(kspace.flip(0), unpack_measurement(prepare(reverse, CPU)[0])[0])
    assert not torch.equal(kspace[0], kspace[1])
    assert not torch.equal(kspace[0], kspace[2])


def test_kspace_beside_its_image_saves_a_transform_and_changes_nothing():
    image = random_complex(2, 1, 12, 10, dtype=torch.complex64)
    batch = from_files("a", "b", image=image)
    for options in ({}, {"augmentation": lambda image, generator: image.flip(3)}, {"noise_std": 0.1}):
        prepare = PrepareAcquisition(MaskSampler("cartesian", 0.5), by_file=True, **options)
        expected = prepare(dict(batch), CPU)
        found = prepare({**batch, "kspace": fft2c(image)}, CPU)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_measured_kspace_passes_as_it_is():
    mask = random_mask(12, 10, batch=2)
    kspace = mask * random_complex(2, 1, 12, 10, dtype=torch.complex64)
    truth = random_complex(2, 1, 12, 10, seed=1, dtype=torch.complex64)
    prepare = PrepareAcquisition(GAUSSIAN, augmentation=RandomView(1.0), noise_std=1.0)
    measurement, label = prepare({"kspace": kspace, "mask": mask, "image": truth}, CPU)
    passed, passed_mask = unpack_measurement(measurement)
    assert torch.equal(passed, kspace)
    assert torch.equal(passed_mask, mask)
    assert torch.equal(label, complex_to_channels(truth))
    magnitude = images(2, 12, 10)
    assert torch.equal(prepare({"kspace": kspace, "mask": mask, "image": magnitude}, CPU)[1][:, :1], magnitude)
    assert prepare({"kspace": kspace, "mask": mask}, CPU)[1] is None


def test_metadata_stays_outside():
    image = MetaTensor(images(), meta={"filename_or_obj": "a.nii"})
    mask = MetaTensor(random_mask(16, 14))
    kspace = MetaTensor(random_complex(3, 1, 16, 14, dtype=torch.complex64))
    prepare = PrepareAcquisition(GAUSSIAN, augmentation=RandomView(1.0), noise_std=0.1)
    for batch in ({"image": image}, {"kspace": kspace, "mask": mask, "image": image}):
        assert [type(result) for result in prepare(batch, CPU)] == [Tensor, Tensor]


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match=r"noise_std must be at least 0, got -0\.1"):
        PrepareAcquisition(GAUSSIAN, noise_std=-0.1)
