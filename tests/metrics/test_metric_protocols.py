"""The named protocols against scikit-image, MONAI, NumPy, and numbers recorded from the fastMRI package."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ssim_and_cs
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from common.metrics import PROTOCOLS, get_protocol
from common.metrics.measures import gaussian_window, psnr, ssim
from common.operators.fourier import fft2c, ifft2c

BRAIN = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "brain_ixi"


def phantom_volume(seed, slices, height, width, noise, scale):
    """A noisy and a clean volume of discs with a smooth pattern, float32 as in the fastMRI files."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    disc = ((rows / 0.8) ** 2 + (columns / 0.7) ** 2 < 1).astype(np.float64)
    target = np.stack(
        [disc * (0.4 + 0.1 * i + 0.2 * np.sin(7 * rows + i) * np.cos(5 * columns)) for i in range(slices)]
    )
    prediction = np.abs(target + noise * rng.standard_normal(target.shape))
    return (scale * prediction).astype(np.float32), (scale * target).astype(np.float32)


def complex_images(seed, batch=3, height=33, width=40):
    generator = torch.Generator().manual_seed(seed)
    target = 0.5 * torch.randn(batch, height, width, dtype=torch.complex64, generator=generator)
    target = target / target.abs().max()
    return target + 0.05 * torch.randn(target.shape, dtype=torch.complex64, generator=generator), target


def fitting(name, image):
    """Images ``(batch, height, width)`` as a protocol takes them: as one series of frames, say."""
    return image.movedim(0, -1)[None] if get_protocol(name).scope == "cine" else image


def test_magnitude_slice_equals_skimage_and_numpy():
    prediction, target = complex_images(seed=0)
    result = get_protocol("magnitude_slice").evaluate(prediction, target)
    for i, (p, t) in enumerate(zip(prediction.abs().double().numpy(), target.abs().double().numpy(), strict=True)):
        similarity = structural_similarity(
            t, p, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert result["psnr"][i].item() == pytest.approx(peak_signal_noise_ratio(t, p, data_range=1), abs=1e-5)
        assert result["ssim"][i].item() == pytest.approx(similarity, abs=1e-6)
        assert result["nmse"][i].item() == pytest.approx(np.sum((p - t) ** 2) / np.sum(t**2), rel=1e-5)


def test_magnitude_slice_ssim_equals_monai():
    prediction, target = complex_images(seed=1)
    images = [image.abs()[:, None] for image in (prediction, target)]
    monai_map, _ = compute_ssim_and_cs(*images, spatial_dims=2, kernel_size=(11, 11), kernel_sigma=(1.5, 1.5))
    ours = get_protocol("magnitude_slice").evaluate(prediction, target, metrics=["ssim"])["ssim"]
    torch.testing.assert_close(ours.float(), monai_map.mean(dim=(1, 2, 3)), rtol=0, atol=1e-5)


def test_a_constant_error_has_a_known_value():
    target = torch.full((1, 16, 16), 0.5)
    result = get_protocol("magnitude_slice").evaluate(target + 0.1, target)
    assert result["psnr"].item() == pytest.approx(20, abs=1e-5)
    assert result["nmse"].item() == pytest.approx(0.04, rel=1e-5)
    assert result["ssim"].item() == pytest.approx((2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4), rel=1e-5)


def test_refinegan_shifted_equals_its_definition_by_scaled_channels():
    rng = np.random.default_rng(2)
    target = rng.random((2, 32, 32))
    mask = rng.random((32, 32)) < 0.4
    mask[16, 16] = True  # what makes the offset survive undersampling

    def zero_fill(image):
        kspace = mask * np.fft.fftshift(np.fft.fft2(image))
        return np.fft.ifft2(np.fft.ifftshift(kspace))

    scaled = [zero_fill(2 * image - 1) for image in target]
    expected_prediction = np.stack([np.abs((c.real + 1) / 2 + 1j * (c.imag + 1) / 2) for c in scaled])
    expected_target = np.minimum(np.abs(target + 0.5j), 1)
    prediction = np.stack([zero_fill(image) for image in target])
    result = get_protocol("refinegan_shifted").evaluate(torch.from_numpy(prediction), torch.from_numpy(target))
    for i in range(2):
        p, t = expected_prediction[i], expected_target[i]
        similarity = structural_similarity(
            t, p, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert result["psnr"][i].item() == pytest.approx(-10 * math.log10(np.mean((p - t) ** 2)), abs=1e-9)
        assert result["ssim"][i].item() == pytest.approx(similarity, abs=1e-9)
        assert result["nmse"][i].item() == pytest.approx(np.sum((p - t) ** 2) / np.sum(t**2), rel=1e-9)


@pytest.mark.skipif(not BRAIN.is_dir(), reason="the brain images are not part of the repository")
@pytest.mark.parametrize(
    ("rate", "magnitude", "shifted"),
    [(10, 22.410, 27.863), (20, 25.794, 31.389), (30, 28.937, 34.729), (40, 31.646, 37.534)],
)
def test_zero_filled_brains_have_the_psnr_computed_independently(rate, magnitude, shifted):
    files = sorted((BRAIN / "valid").glob("*.png"))
    target = torch.from_numpy(np.stack([np.asarray(Image.open(file), dtype=np.float32) / 255 for file in files]))
    mask = torch.from_numpy(np.array(Image.open(BRAIN / "masks" / f"radial_{rate}.png")) > 0)
    assert len(files) == 50
    zero_filled = ifft2c(mask * fft2c(target.to(torch.complex64)))
    for name, expected in (("magnitude_slice", magnitude), ("refinegan_shifted", shifted)):
        values = get_protocol(name).evaluate(zero_filled, target, metrics=["psnr"])["psnr"]
        assert values.mean().item() == pytest.approx(expected, abs=0.002)


# NMSE, PSNR, SSIM printed by fastmri.evaluate of the package fastmri 0.3.0 (scikit-image 0.26.0, NumPy 2.4.6)
@pytest.mark.parametrize(
    ("volume", "nmse", "psnr", "ssim"),
    [
        ((0, 3, 48, 40, 0.05, 1.0), 0.02241784706711769, 24.101357551029476, 0.7350326528024654),
        ((1, 2, 33, 47, 0.01, 2.5e-4), 0.001121076988056302, 36.91844370130608, 0.9073502333748954),
        ((2, 1, 64, 64, 0.2, 731.0), 0.5285589098930359, 9.690635896348983, 0.17048873076904303),
    ],
)
def test_fastmri_volume_equals_the_public_package(volume, nmse, psnr, ssim):
    prediction, target = map(torch.from_numpy, phantom_volume(*volume))
    result = get_protocol("fastmri_volume").evaluate(prediction, target)
    assert {metric: value.shape for metric, value in result.items()} == dict.fromkeys(("psnr", "ssim", "nmse"), (1,))
    assert result["nmse"].item() == pytest.approx(nmse, abs=1e-5, rel=1e-6)
    assert result["psnr"].item() == pytest.approx(psnr, abs=1e-5)
    assert result["ssim"].item() == pytest.approx(ssim, abs=1e-5)


def test_fastmri_volume_ssim_equals_skimage_slice_by_slice():
    prediction, target = phantom_volume(3, 4, 31, 30, 0.03, 1.0)
    expected = [structural_similarity(t, p, data_range=target.max()) for p, t in zip(prediction, target, strict=True)]
    ours = get_protocol("fastmri_volume").evaluate(torch.from_numpy(prediction), torch.from_numpy(target))["ssim"]
    assert ours.item() == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_identical_images_are_perfect_and_psnr_says_infinite(name):
    target = fitting(name, 0.4 * complex_images(seed=4, batch=2)[1])  # |target + 0.5j| stays below the clip at 1
    result = get_protocol(name).evaluate(target, target.clone())
    assert torch.isinf(result.pop("psnr")).all()
    torch.testing.assert_close(similarity := result.pop("ssim"), torch.ones_like(similarity))
    assert result  # errors
    assert all(error.eq(0).all() for error in result.values())


def test_zero_targets_are_undefined_where_documented():
    prediction, target = torch.full((1, 16, 16), 0.1), torch.zeros(1, 16, 16)
    per_slice = get_protocol("magnitude_slice").evaluate(prediction, target)
    assert per_slice["nmse"].isnan().all()
    assert per_slice["psnr"].item() == pytest.approx(20, abs=1e-5)
    assert torch.isfinite(per_slice["ssim"]).all()
    assert all(value.isnan().all() for value in get_protocol("fastmri_volume").evaluate(prediction, target).values())


@pytest.mark.parametrize("name", ["magnitude_slice", "refinegan_shifted"])
def test_a_slice_has_the_same_value_in_any_batch(name):
    prediction, target = complex_images(seed=5, batch=4)
    together = get_protocol(name).evaluate(prediction, target)
    for i in range(4):
        alone = get_protocol(name).evaluate(prediction[i : i + 1], target[i : i + 1])
        for metric, value in alone.items():
            torch.testing.assert_close(value[0], together[metric][i], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex128])
def test_any_dtype_is_measured_in_float64(dtype):
    for protocol in PROTOCOLS.values():
        target = fitting(protocol.name, torch.linspace(0, 1, 1024).reshape(1, 32, 32))
        result = protocol.evaluate((0.5 * target).to(dtype), target)
        assert {value.dtype for value in result.values()} == {torch.float64}
        for metric, value in protocol.evaluate(0.5 * target, target).items():
            assert result[metric].item() == pytest.approx(value.item(), rel=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_device_does_not_change_a_number(name):
    prediction, target = (fitting(name, image) for image in complex_images(seed=6))
    on_cpu = get_protocol(name).evaluate(prediction, target)
    with torch.autocast("cuda"):
        on_gpu = get_protocol(name).evaluate(prediction.cuda(), target.cuda())
    for metric, value in on_gpu.items():
        assert value.is_cuda
        torch.testing.assert_close(value.cpu(), on_cpu[metric], rtol=1e-9, atol=1e-12)


def test_a_further_protocol_is_one_more_entry():
    def crop_border(prediction, target):
        return prediction[..., 2:-2, 2:-2], target[..., 2:-2, 2:-2]

    protocol = dataclasses.replace(get_protocol("magnitude_slice"), name="cropped", prepare=crop_border)
    target = torch.rand(1, 16, 16)
    prediction = target.clone()
    prediction[:, 0] += 1
    assert torch.isinf(protocol.evaluate(prediction, target)["psnr"]).all()


@pytest.mark.parametrize("upscale", [2, 4, 8])
def test_super_resolution_is_measured_inside_the_border_of_clipped_images(upscale):
    generator = np.random.default_rng(upscale)
    target = generator.random((1, 40, 36))
    prediction = target + 0.3 * generator.standard_normal(target.shape)
    inside = (slice(upscale, -upscale), slice(upscale, -upscale))
    clipped = prediction[0].clip(0, 1)[inside]
    expected = peak_signal_noise_ratio(target[0][inside], clipped, data_range=1)
    prediction[0, 0] = 7  # the border does not count
    found = get_protocol(f"super_resolution_x{upscale}").evaluate(
        torch.from_numpy(prediction), torch.from_numpy(target)
    )
    assert found["psnr"].item() == pytest.approx(expected, rel=1e-12)


def test_super_resolution_of_volumes_equals_skimage_in_three_dimensions():
    generator = np.random.default_rng(0)
    target = generator.random((2, 20, 18, 22))
    prediction = target + 0.2 * generator.standard_normal(target.shape)
    found = get_protocol("super_resolution_x2").evaluate(torch.from_numpy(prediction), torch.from_numpy(target))
    for i in range(2):
        t, p = (image[i].clip(0, 1)[2:-2, 2:-2, 2:-2] for image in (target, prediction))
        similarity = structural_similarity(
            t, p, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert found["psnr"][i].item() == pytest.approx(peak_signal_noise_ratio(t, p, data_range=1), rel=1e-12)
        assert found["ssim"][i].item() == pytest.approx(similarity, rel=1e-9)
        assert found["nmse"][i].item() == pytest.approx(np.sum((p - t) ** 2) / np.sum(t**2), rel=1e-12)


def test_a_protocol_takes_further_measures():
    protocol = get_protocol("magnitude_slice").with_measures(largest=lambda image, target: image.amax((1, 2)))
    assert protocol.metrics == ("psnr", "ssim", "nmse", "largest")
    assert get_protocol("magnitude_slice").metrics == ("psnr", "ssim", "nmse")
    assert protocol.evaluate(-torch.eye(16)[None], torch.ones(1, 16, 16))["largest"].tolist() == [1]


def test_data_range_shifts_psnr():
    prediction, target = torch.rand(2, 8, 8), torch.rand(2, 8, 8)
    gain = psnr(prediction, target, data_range=torch.tensor([1.0, 10.0])) - psnr(prediction, target)
    torch.testing.assert_close(gain, torch.tensor([0.0, 20.0], dtype=torch.float64))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"unknown protocol 'psnr'; choose one of .*'magnitude_slice'"):
        get_protocol("psnr")
    protocol, image = get_protocol("magnitude_slice"), torch.ones(2, 16, 16)
    with pytest.raises(ValueError, match=r"one shape .* \[2, 16, 16\] and \[2, 16, 15\]"):
        protocol.evaluate(image, image[..., :15])
    with pytest.raises(ValueError, match="convert channels to complex"):
        protocol.evaluate(image[None], image[None])
    with pytest.raises(ValueError, match=r"got \['lpips'\]"):
        protocol.evaluate(image, image, metrics=["lpips"])
    broken = image.clone()
    broken[1, 3, 3] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in the prediction, batch items \[1\]"):
        protocol.evaluate(broken, image)
    with pytest.raises(ValueError, match="in the target"):
        protocol.evaluate(image, broken.to(torch.complex64))


@pytest.mark.parametrize(
    ("name", "size", "undefined"),
    [
        ("magnitude_slice", (10, 20), ["ssim"]),
        ("super_resolution_x2", (16, 16, 14), ["ssim"]),
        ("super_resolution_x4", (8, 20), ["psnr", "ssim", "nmse"]),
    ],
)
def test_metrics_that_need_larger_images_are_undefined_with_a_note(name, size, undefined, caplog):
    protocol = get_protocol(name)
    values = protocol.evaluate(torch.rand(2, *size), torch.rand(2, *size))
    assert [metric for metric, value in values.items() if bool(value.isnan().all())] == undefined
    assert all(value.shape == (2,) for value in values.values())
    assert f"{', '.join(undefined)} of {name}: undefined" in caplog.text


def test_ssim_of_large_images_is_that_of_scikit_image():
    """Images of several strips, the last of them of a few rows."""
    generator = np.random.default_rng(0)
    target = generator.random((403, 96))
    prediction = target + 0.1 * generator.standard_normal(target.shape)
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(prediction, target, **options)
    found = ssim(torch.from_numpy(prediction)[None], torch.from_numpy(target)[None], gaussian_window())
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_magnitudes_beyond_float32_are_measured():
    """A sum that overflows is no value that is not finite."""
    image = torch.full((1, 16, 16), 3e38)
    assert get_protocol("magnitude_slice").evaluate(image, image, ["nmse"])["nmse"].item() == 0
