"""The brain bundle's weights for several coils: a synthetic head that eight coils see."""

from __future__ import annotations

import pytest
import torch
from bundle_commands import ROOT

from common.engines import load_weights
from common.metrics.kspace_residual import kspace_residual
from common.networks import LightCascade
from common.operators import channels_to_complex
from common.operators.masks import mask_source
from common.operators.zero_filled import zero_filled_image
from common.phantoms.brain_phantom import brain_phantom
from common.transforms import PrepareCoilAcquisition

MODELS = ROOT / "bundles" / "brain_mri_refinegan_reconstruction" / "models"


@pytest.mark.parametrize(("family", "rate"), [("poisson", 0.12), ("cartesian", 0.25), ("radial", 0.12)])
def test_shipped_weights_beat_zero_filling_and_keep_the_measurement(family: str, rate: float) -> None:
    head = torch.from_numpy(brain_phantom(7, 128))[None, None]
    prepare = PrepareCoilAcquisition(mask_source(family, rate), by_file=True, n_coils=8)
    measurement, truth = prepare({"path": ["head"], "slice": torch.zeros(1), "image": head}, torch.device("cpu"))
    assert truth is not None
    target = channels_to_complex(truth)[:, 0]
    network = load_weights(LightCascade(), MODELS / "model_multicoil.pt").eval()
    with torch.no_grad():
        result = channels_to_complex(network(measurement))[:, 0]
    zero_filled = zero_filled_image(measurement)
    error, zero_filled_error = ((image - target).abs().square().mean() for image in (result, zero_filled))
    assert error < 0.2 * zero_filled_error
    # estimated maps do not explain the measurement exactly, not even with the truth
    assert kspace_residual(result, measurement) < 1.1 * kspace_residual(target, measurement)
