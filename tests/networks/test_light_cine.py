"""The light cascade of series: measured samples kept, units and phases given back, frames shared, exports."""

import numpy as np
import pytest
import torch
from exports import assert_same, onnx, program, scripted
from helpers import numpy_fft2c, numpy_ifft2c, random_complex
from light_cascades import light_cine as small

from common.networks import LightCineCascade
from common.operators.fourier import channels_to_complex, fft2c
from common.operators.series import batch_to_frames, frames_to_batch, pack_series, view_shared

SHAPES = [(2, 12, 20, 5), (3, 17, 9, 3)]


def measured(batch, height, width, n_frames, n_coils=1, seed=0, rate=0.4):
    """Masked k-space of random series, their masks and maps."""
    generator = torch.Generator().manual_seed(seed)
    image = random_complex(batch, 1, height, width, n_frames, seed=seed, dtype=torch.complex64)
    mask = (torch.rand(batch, 1, height, width, n_frames, generator=generator) < rate).float()
    mask[:, :, height // 2, width // 2] = 1
    maps = None
    if n_coils > 1:
        maps = random_complex(batch, n_coils, height, width, seed=seed + 1, dtype=torch.complex64)
        maps = maps / maps.abs().square().sum(dim=1, keepdim=True).sqrt()
    coil_images = image if maps is None else image * maps[..., None]
    return mask * batch_to_frames(fft2c(frames_to_batch(coil_images)), batch), mask, maps


def measurement(*shape, **options):
    """Packed."""
    return pack_series(*measured(*shape, **options))


def untrained():
    """A network whose corrections are zero."""
    network = LightCineCascade(n_stages=1, widths=(4,))
    network.networks[0].network.tail.weight.data.zero_()
    return network


@pytest.mark.parametrize("shape", [(2, 12, 17, 4), (1, 17, 13, 3)])
@torch.no_grad()
def test_measured_samples_come_back(shape):
    kspace, mask, _ = measured(*shape)
    image = channels_to_complex(small()(pack_series(kspace, mask)))
    predicted = torch.as_tensor(numpy_fft2c(image.permute(0, 1, 4, 2, 3).numpy())).permute(0, 1, 3, 4, 2)
    assert (mask * predicted - kspace).norm() < 1e-5 * kspace.norm()
    assert ((1 - mask) * predicted).norm() > 0.1 * kspace.norm()  # and something was filled in


@torch.no_grad()
def test_several_coils_are_explained_the_better_the_more_iterations():
    kspace, mask, maps = measured(1, 12, 16, 3, n_coils=4)
    packed, misfits = pack_series(kspace, mask, maps), []
    for n_dc_iterations in (1, 4, 16):
        image = channels_to_complex(small(n_dc_iterations=n_dc_iterations)(packed))
        predicted = mask * batch_to_frames(fft2c(frames_to_batch(image * maps[..., None])), 1)
        misfits.append(((predicted - kspace).norm() / kspace.norm()).item())
    assert misfits[0] > 2 * misfits[1] > 4 * misfits[2]
    assert misfits[2] < 0.01


@pytest.mark.parametrize("n_coils", [1, 3])
@pytest.mark.parametrize("factor", [1e-6, 40.0 * np.exp(1.3j), -3e4])
@torch.no_grad()
def test_result_scales_and_turns_with_its_measurement(factor, n_coils):
    kspace, mask, maps = measured(2, 12, 16, 3, n_coils=n_coils)
    built = small()
    expected = channels_to_complex(built(pack_series(kspace, mask, maps))) * factor
    result = channels_to_complex(built(pack_series((kspace * factor).to(torch.complex64), mask, maps)))
    assert (result - expected).norm() < 1e-5 * expected.norm()


@torch.no_grad()
def test_series_of_a_batch_do_not_see_each_other_and_zeros_stay_zero():
    kspace, mask, _ = measured(2, 12, 16, 3)
    kspace[1] = 0
    built = small()
    both = built(pack_series(kspace, mask))
    assert torch.equal(both[1], torch.zeros_like(both[1]))
    torch.testing.assert_close(both[:1], built(pack_series(kspace[:1], mask[:1])))


@torch.no_grad()
def test_untrained_it_shows_the_view_shared_series():
    kspace, mask, _ = measured(1, 12, 16, 5)
    result = channels_to_complex(untrained()(pack_series(kspace, mask)))
    given, sampled = kspace.numpy()[0, 0], mask.numpy()[0, 0] > 0
    filled = given.astype(np.complex128)
    for y, x, t in np.argwhere(~sampled):
        (others,) = np.nonzero(sampled[y, x])
        weights = np.exp(-np.abs(others - t))
        filled[y, x, t] = (weights * given[y, x, others]).sum() / weights.sum() if len(others) else 0
    expected = numpy_ifft2c(np.moveaxis(filled, -1, 0))
    np.testing.assert_allclose(result[0, 0].movedim(-1, 0).numpy(), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_series_at_rest_is_whole_once_all_of_it_was_sampled():
    still = random_complex(1, 1, 12, 16, 1, dtype=torch.complex64).expand(-1, -1, -1, -1, 4)
    owner = torch.randint(4, (1, 1, 12, 16, 1), generator=torch.Generator().manual_seed(0))
    mask = (owner == torch.arange(4)).float()  # each place in one frame alone
    kspace = mask * batch_to_frames(fft2c(frames_to_batch(still)), 1)
    result = channels_to_complex(untrained()(pack_series(kspace, mask)))
    torch.testing.assert_close(result, still, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_coils", [1, 3])
def test_view_sharing_keeps_samples_maps_and_places_that_no_frame_has(n_coils):
    kspace, mask, maps = measured(2, 6, 8, 200, n_coils=n_coils, rate=0.002)
    packed = pack_series(kspace, mask, maps)
    shared, own = view_shared(packed), 2 * n_coils
    assert shared.shape == packed.shape
    assert torch.isfinite(shared).all()
    torch.testing.assert_close(shared[:, :own] * mask, packed[:, :own], rtol=0, atol=0)
    assert torch.equal(shared[:, own : own + 1], mask.amax(dim=4, keepdim=True).expand_as(mask))
    assert torch.equal(shared[:, own + 1 :], packed[:, own + 1 :])
    alone = mask.sum(dim=4) == 1  # one sample in 200 frames fills all of them, also those far away
    assert alone.any()
    sample = packed[:, :1].sum(dim=4)[alone]
    torch.testing.assert_close(shared[:, 0, ...][alone[:, 0]], sample[:, None].expand(-1, 200))


def test_autocast_leaves_the_measured_samples_exact():
    kspace, mask, _ = measured(1, 12, 16, 3)
    built = small()
    with torch.autocast("cpu", torch.bfloat16):
        result = built(pack_series(kspace, mask))
    assert result.dtype == torch.float32
    predicted = mask * batch_to_frames(fft2c(frames_to_batch(channels_to_complex(result))), 1)
    assert (predicted - kspace).norm() < 1e-5 * kspace.norm()


def test_gradients_reach_every_parameter():
    built = small()
    result = built(measurement(2, 12, 16, 3, n_coils=2))
    result.square().mean().backward()
    for name, parameter in built.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_any_size_goes_through():
    built = small()
    for shape in [(1, 1, 1, 1), (1, 1, 1, 3), (2, 19, 33, 1)]:
        result = built(measurement(*shape))
        assert result.shape == (shape[0], 2, *shape[1:])
        assert torch.isfinite(result).all()


@pytest.mark.parametrize(
    ("options", "match"), [({"n_stages": 0}, "n_stages"), ({"n_dc_iterations": 0}, "n_iterations")]
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        LightCineCascade(**options)


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 3), (1, 4, 8, 8, 3), (1, 3, 8, 8)])
def test_what_is_no_measurement_of_a_series_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected a measurement \(batch, 3 or 4 n_coils \+ 1, height, width"):
        small()(torch.zeros(shape))


@torch.no_grad()
def test_torchscript_gives_the_same_numbers():
    built = small()
    coils = measurement(2, 9, 12, 3, n_coils=3)
    assert_same(scripted(built), built, [*(measurement(*shape) for shape in SHAPES), coils])


@pytest.mark.slow
@pytest.mark.parametrize("n_coils", [1, 2])
def test_exports_give_the_same_numbers(n_coils, tmp_path):
    built, example = small(n_stages=1, n_dc_iterations=2), measurement(2, 24, 16, 4, n_coils=n_coils)
    measurements = [measurement(*shape, n_coils=n_coils) for shape in SHAPES]
    assert_same(program(built, example), built, measurements)
    assert_same(onnx(built, tmp_path, example), built, measurements, 1e-3)
