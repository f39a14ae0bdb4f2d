"""Composed degradations: order, choice, repetition, presets, configuration."""

import json
from collections import Counter

import pytest
import torch
from monai.bundle import ConfigParser

from common.operators.degradation import (
    DEGRADATIONS,
    DegradationChain,
    Downscale,
    GaussianBlur,
    GaussianNoise,
    KspaceTruncation,
    OneOf,
    PoissonNoise,
    RicianNoise,
    degradation,
)


class Affine:
    """``scale x + shift``: steps whose order shows in the result."""

    upscale = 1

    def __init__(self, scale, shift):
        self.scale, self.shift = scale, shift

    def __call__(self, image, generator):
        return self.scale * image + self.shift


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*shape):
    return torch.rand(shape, generator=generator(5))


def numbered(n_samples):
    return torch.arange(n_samples, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_steps_in_the_given_order():
    chain = DegradationChain([Affine(2, 0), Affine(1, 3)])
    assert torch.equal(chain(numbered(4), generator()), 2 * numbered(4) + 3)


def test_each_sample_has_an_order_of_its_own_and_keeps_its_place():
    n_samples = 300
    chain = DegradationChain([Affine(2, 0), Affine(1, 1), Affine(-1, 0)], random_order=True)
    result = chain(numbered(n_samples), generator())
    differences = (result + 2 * numbered(n_samples))[:, 0, 0, 0].tolist()
    # -(2x + 1), -2(x + 1) two ways, -2x + 1 two ways, 2(-x + 1): by where 1 is added
    counts = Counter(differences)
    assert set(counts) == {-1.0, -2.0, 1.0, 2.0}
    assert all(count > 25 for count in counts.values())
    assert torch.equal(result, chain(numbered(n_samples), generator()))
    assert not torch.equal(result, chain(numbered(n_samples), generator(1)))


def test_one_of_several_for_each_sample():
    choice = OneOf([Affine(1, 0), Affine(1, 1000), Affine(1, 2000)])
    change = (choice(numbered(90), generator()) - numbered(90))[:, 0, 0, 0].tolist()
    counts = Counter(change)
    assert set(counts) == {0.0, 1000.0, 2000.0}
    assert min(counts.values()) > 15


def test_factors_multiply_and_must_agree():
    chain = DegradationChain([Downscale(2), Affine(1, 0), Downscale(2, "box")], random_order=True)
    assert chain.upscale == 4
    assert chain(images(6, 1, 16, 8), generator()).shape == (6, 1, 4, 2)
    assert OneOf([KspaceTruncation(4), chain]).upscale == 4
    with pytest.raises(ValueError, match="degradations of one upscale, got 2, 4"):
        OneOf([Downscale(2), Downscale(4)])
    with pytest.raises(ValueError, match="at least one step, got none"):
        DegradationChain([])


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize(("shape", "upscale"), [((32, 48), 2), ((32, 48), 4), ((32, 48), 8), ((16, 8, 24), 4)], ids=str)
def test_presets_repeat_and_keep_intensities(name, shape, upscale):
    degrade = degradation(name, upscale)
    assert degrade.upscale == upscale
    batch = images(6, 2, *shape)
    lr_image = degrade(batch, generator())
    assert lr_image.shape == (6, 2, *(n // upscale for n in shape))
    assert lr_image.dtype == torch.float32
    assert torch.equal(lr_image, degrade(batch, generator()))
    assert torch.equal(lr_image, degradation(name, upscale)(batch, generator()))
    if name != "bicubic":
        assert not torch.equal(lr_image, degrade(batch, generator(1)))
    flat = degrade(torch.full((6, 2, *shape), 0.5), generator())
    assert float(flat.mean()) == pytest.approx(0.5, abs=0.01)


def test_presets_are_their_steps():
    batch = images(3, 1, 16, 16)
    mr = RicianNoise([0.0, 0.1])(KspaceTruncation(2)(batch, generator()), generator())
    assert torch.equal(degradation("mr", 2, noise_std=[0.0, 0.1])(batch, generator()), mr)
    assert torch.equal(degradation("bicubic", 2)(batch, generator()), Downscale(2)(batch, generator()))
    plain = degradation("blind", 4, {"sigma": 0.0, "kernels": "lanczos"}, noise_std=0, random_order=False)
    torch.testing.assert_close(plain(batch, generator()), Downscale(4, "lanczos")(batch, generator()))
    shifted = degradation("mr", 2, noise_std=0, aligned=False)(batch, generator())
    torch.testing.assert_close(shifted, KspaceTruncation(2, aligned=False)(batch, generator()))


def test_ct_without_further_blur_is_the_mean_over_detector_elements():
    batch = images(2, 1, 16, 24).double()
    counted = degradation("ct", 4, blur_width=1, photons=1e12, noise_std=0)(batch, generator())
    blocks = batch.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(-2, -1))
    torch.testing.assert_close(counted, blocks, rtol=0, atol=1e-5)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match=r"unknown degradation 'jpeg'; choose one of bicubic, mixed, mr, ct, blind"):
        degradation("jpeg", 4)
    with pytest.raises(ValueError, match=r"unknown option 'sigma' of degradation 'mr'; it knows noise_std, aligned"):
        degradation("mr", 4, sigma=1.0)
    with pytest.raises(ValueError, match=r"unknown option 'sigma' of degradation 'bicubic'; it knows no option"):
        degradation("bicubic", 4, {"sigma": 1.0})
    with pytest.raises(ValueError, match=r"upscale must be a whole number of at least 2 .* got 0"):
        degradation("ct", 0)


def test_a_configuration_composes_its_own():
    here = "common.operators.degradation."
    config = {
        "degradation": {
            "_target_": here + "DegradationChain",
            "random_order": True,
            "steps": [
                {"_target_": here + "GaussianBlur", "sigma": [0.2, 1.5]},
                {"_target_": here + "Downscale", "upscale": "@upscale", "kernels": ["bilinear", "bicubic"]},
                {
                    "_target_": here + "OneOf",
                    "degradations": [
                        {"_target_": here + "GaussianNoise", "std": [0.0, 0.02]},
                        {"_target_": here + "PoissonNoise", "photons": 1000},
                    ],
                },
            ],
        },
        "upscale": 4,
        "name": "mr",
        "options": {"noise_std": [0.0, 0.1]},
        "preset": {"_target_": here + "degradation", "name": "@name", "upscale": "@upscale", "options": "@options"},
    }
    parser = ConfigParser(json.loads(json.dumps(config)))
    batch = images(8, 1, 16, 16)
    ours = DegradationChain(
        [
            GaussianBlur((0.2, 1.5)),
            Downscale(4, ("bilinear", "bicubic")),
            OneOf([GaussianNoise((0.0, 0.02)), PoissonNoise(1000)]),
        ],
        random_order=True,
    )
    assert torch.equal(parser.get_parsed_content("degradation")(batch, generator()), ours(batch, generator()))
    preset = parser.get_parsed_content("preset")
    assert torch.equal(preset(batch, generator()), degradation("mr", 4, noise_std=[0.0, 0.1])(batch, generator()))
