"""RefineGAN's objective against the method's formulas in NumPy, with the pairs of A and B written out."""

import itertools

import numpy as np
import pytest
import torch
from helpers import numpy_fft2c, numpy_ifft2c, random_mask
from scripts import refinegan_objective
from torch import nn

from common.engines import Objective
from common.operators import fft2c, pack_measurement

BATCH, HEIGHT, WIDTH = 3, 12, 10

# loss of the discriminator (real, fake), of the generator (fake)
ADVERSARIAL = {
    "wasserstein": (lambda r, f: np.mean(f) - np.mean(r), lambda f: -np.mean(f)),
    "hinge": (lambda r, f: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)), lambda f: -np.mean(f)),
    "least_squares": (lambda r, f: np.mean((r - 1) ** 2) + np.mean(f**2), lambda f: np.mean((f - 1) ** 2)),
    "bce": (
        lambda r, f: np.mean(np.log1p(np.exp(-r))) + np.mean(np.log1p(np.exp(f))),
        lambda f: np.mean(np.log1p(np.exp(-f))),
    ),
}


class Critic(nn.Module):
    """A patch map that is easily written down."""

    def forward(self, image):
        return 0.7 * image[:, :1, ::2, ::2] - image[:, 1:, 1::2, 1::2] ** 2


def numpy_critic(image):
    return 0.7 * image.real[:, ::2, ::2] - image.imag[:, 1::2, 1::2] ** 2


@pytest.fixture
def material():
    """A batch as ``prepare_batch`` makes it, four stages, and both as complex NumPy arrays in float64."""
    torch.manual_seed(4)
    truth = torch.complex(torch.rand(BATCH, 1, HEIGHT, WIDTH), 0.2 * torch.rand(BATCH, 1, HEIGHT, WIDTH))
    mask = random_mask(HEIGHT, WIDTH, seed=2)
    measurement = pack_measurement(mask * fft2c(truth), mask)
    stages = tuple(torch.rand(BATCH, 2, HEIGHT, WIDTH) for _ in range(4))
    batch = {"image": measurement, "label": torch.cat((truth.real, truth.imag), 1)}
    return batch, stages


def as_numpy(channels):
    values = channels.numpy().astype(float)
    return values[:, 0] + 1j * values[:, 1]


def mean_abs(difference):
    """The one-norm as a mean over elements, real and imaginary ones."""
    return np.mean(np.abs(np.stack((difference.real, difference.imag))))


def total_variation(image):
    """Summed per image, mean over the batch."""
    channels = np.stack((image.real, image.imag), 1)
    return (np.abs(np.diff(channels, axis=2)).sum() + np.abs(np.diff(channels, axis=3)).sum()) / len(image)


def network_units(batch, stages, scaling):
    """Truth, measured k-space and stages as the method writes them; the measurement is scaled in k-space."""
    y, truth = as_numpy(batch["image"]), as_numpy(batch["label"])
    mask = batch["image"][:, 2].numpy().astype(float)
    stages = [as_numpy(stage) for stage in stages]
    if scaling == "shifted":
        dc = np.zeros((HEIGHT, WIDTH))
        dc[HEIGHT // 2, WIDTH // 2] = np.sqrt(HEIGHT * WIDTH)
        return 2 * truth - (1 + 1j), 2 * y - (1 + 1j) * dc, mask, [2 * stage - (1 + 1j) for stage in stages]
    peak = np.abs(numpy_ifft2c(y)).max(axis=(1, 2), keepdims=True)
    return truth / peak, y / peak, mask, [stage / peak for stage in stages]


def expected_terms(batch, stages, scaling, adversarial, images=("s", "t")):
    """Sums over A (the batch) and B (the batch rolled by one); weights alpha, 100 alpha and delta left out."""
    x, y, mask, (s1, s, t1, t) = network_units(batch, stages, scaling)
    r = mask.size / mask.sum()
    a = {"x": x, "y": y, "mask": mask, "s1": s1, "s": s, "t1": t1, "t": t}
    b = {name: np.roll(values, 1, axis=0) for name, values in a.items()}
    discriminator_side, generator_side = ADVERSARIAL[adversarial]
    terms = dict.fromkeys(("image", "error", "frequency", "total_variation", "adversarial", "critic"), 0.0)
    for one in (a, b):
        for consistent in images:
            raw = one[f"{consistent}1"]
            terms["image"] += r * mean_abs(one["x"] - one[consistent])
            terms["error"] += r * mean_abs(one["x"] - raw)
            terms["frequency"] += r**2 * mean_abs(one["y"] - one["mask"] * numpy_fft2c(raw))
            terms["total_variation"] += total_variation(one[consistent])
    for fake, real in itertools.product((a, b), (a, b)):
        for stage in images:
            fake_scores, real_scores = numpy_critic(fake[stage]), numpy_critic(real["x"])
            terms["adversarial"] += generator_side(fake_scores)
            terms["critic"] += discriminator_side(real_scores, fake_scores)
    return {**terms, "difference": mean_abs(as_numpy(batch["label"]) - as_numpy(stages[3]))}


@pytest.mark.parametrize("scaling", ["shifted", "peak"])
@pytest.mark.parametrize("adversarial", ADVERSARIAL)
@pytest.mark.parametrize("both_images", [True, False])
def test_every_term_is_the_methods_formula(material, scaling, adversarial, both_images):
    batch, stages = material
    objective = refinegan_objective.RefineGanObjective(scaling, adversarial, both_images)
    assert isinstance(objective, Objective)
    terms = objective.generator_terms(batch, stages, Critic())
    terms |= objective.discriminator_terms(batch, stages, Critic())
    expected = expected_terms(batch, stages, scaling, adversarial, ("s", "t") if both_images else ("t",))
    assert terms.keys() == expected.keys()
    for name, value in terms.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-5), name


def test_a_phase_without_discriminator_has_no_adversarial_term(material):
    terms = refinegan_objective.RefineGanObjective().generator_terms(*material, None)
    assert set(terms) == {"image", "error", "frequency", "total_variation", "difference"}


def test_a_perfect_reconstruction_costs_its_total_variation_alone(material):
    batch, _ = material
    terms = refinegan_objective.RefineGanObjective().generator_terms(batch, (batch["label"],) * 4, None)
    assert terms.pop("total_variation") > 1
    assert all(value.item() == pytest.approx(0, abs=1e-5) for value in terms.values())


@pytest.mark.parametrize("scaling", ["shifted", "peak"])
def test_penalties_look_at_truth_and_result_in_network_units(material, scaling):
    batch, stages = material
    x, _, _, (*_, t) = network_units(batch, stages, scaling)
    real, fake = refinegan_objective.RefineGanObjective(scaling).discriminator_pairs(batch, stages)
    np.testing.assert_allclose(as_numpy(real), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(as_numpy(fake), t, rtol=1e-5, atol=1e-6)


def test_unknown_adversarial_loss_is_refused():
    with pytest.raises(ValueError, match="adversarial loss must be one of"):
        refinegan_objective.RefineGanObjective(adversarial="gan")


def test_total_variation_of_a_step_is_its_length():
    image = torch.zeros(2, 1, 6, 8)
    image[..., 3:] = 1
    assert refinegan_objective.total_variation(image).item() == 6
    assert refinegan_objective.total_variation(image.mT).item() == 6
    assert refinegan_objective.total_variation(torch.ones(2, 1, 6, 8)).item() == 0


def test_masked_kspace_l1_stays_float32_in_low_precision():
    image = torch.randn(1, 2, 8, 8).bfloat16()
    assert (
        refinegan_objective.masked_kspace_l1(image, torch.zeros(1, 2, 8, 8), random_mask(8, 8)).dtype == torch.float32
    )
