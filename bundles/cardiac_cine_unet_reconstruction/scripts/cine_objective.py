"""The objective of training on cine series, its image loss chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from common.metrics.measures import gaussian_window, ssim
from common.metrics.protocol_metric import image_from_channels
from common.metrics.protocols import series_frames
from torch import Tensor, nn

_LOWEST_MSE = 1e-8  # -80 dB: identical frames have a finite PSNR
_NEAREST_TO_0_AND_1 = 1e-4  # bounds the slope of the cross entropy by 1e4; 1 - 1e-4 is exact enough in float32


def _magnitudes(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the magnitudes of complex series, and real series unchanged."""
    one, other = (series.abs() if series.is_complex() else series for series in (prediction, target))
    return one, other


def _mse(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs().square().mean()


def _mae(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs().mean()


def _bce(prediction: Tensor, target: Tensor) -> Tensor:
    prediction, target = _magnitudes(prediction, target)
    inside = prediction.clamp(_NEAREST_TO_0_AND_1, 1 - _NEAREST_TO_0_AND_1)
    return F.binary_cross_entropy(inside, target.clamp(0, 1))


def _ssim(prediction: Tensor, target: Tensor) -> Tensor:
    prediction, target = _magnitudes(prediction, target)
    similarity = ssim(series_frames(prediction), series_frames(target), gaussian_window())
    return (1 - similarity.mean()).to(prediction.dtype)


def _psnr(prediction: Tensor, target: Tensor) -> Tensor:
    errors = series_frames((prediction - target).abs()).square().mean(dim=(1, 2))
    return 10 * torch.log10(errors + _LOWEST_MSE).mean()


CINE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "MSE": _mse,
    "MAE": _mae,
    "BCE": _bce,
    "SSIM": _ssim,
    "PSNR": _psnr,
}


class CineObjective:
    """The image loss of a series, and the penalty on weights of a network that has one; without discriminator.

    Losses by name, for magnitudes in [0, 1]; all means are over the batch too:

    - ``MSE``, ``MAE``: mean squared, mean absolute difference; 0.01 and 0.1 for a constant error of 0.1
    - ``BCE``: cross entropy of each pixel's value, read as a probability; its least value is the entropy of the
      truth, not 0. Predictions are held in [1e-4, 1 - 1e-4] and have no gradient beyond, truths in [0, 1].
    - ``SSIM``: 1 - SSIM over height and width of each frame (Wang et al. 2004, doi:10.1109/TIP.2003.819861), in a
      Gaussian window of 11 pixels, sigma 1.5, data range 1, where the window lies inside. In float64, and still
      faster on a CPU than ``monai.losses.SSIMLoss``, whose value it has.
    - ``PSNR``: minus the PSNR of each frame, data range 1, in dB: -20 for a constant error of 0.1, and -80 for
      identical frames (1e-8 is added to the mean squared error).

    Complex series: MSE, MAE and PSNR are of the complex difference, so that they hold the phase too. SSIM and BCE
    are of magnitudes and leave the phase free; a network with data consistency gets it from the measured samples.
    Where only one of result and truth is complex, magnitudes are compared.

    Differs from Keras, with whose losses such networks were trained before: its cross entropy is held at 1e-7 by
    default, where a single dark pixel can outweigh the rest of the series.

    Args:
        loss: name of the image loss, spelled as above.
        network: network whose method ``weight_penalty() -> scalar``, if it has one, is the term ``weights``.

    Raises:
        ValueError: for an unknown loss.
    """

    def __init__(self, loss: str = "SSIM", network: nn.Module | None = None) -> None:
        if loss not in CINE_LOSSES:
            raise ValueError(f"loss must be one of {', '.join(CINE_LOSSES)}, got {loss!r}")
        self.loss = CINE_LOSSES[loss]
        self.weight_penalty: Callable[[], Tensor] | None = getattr(network, "weight_penalty", None)

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """``image``, the loss, and ``weights``, the penalty, where the network has one.

        Args:
            batch: ``label`` the truth, ``(batch, 1 or 2, height, width, frames)``: magnitudes, or real and imaginary.
            outputs: the result, alike.
            discriminator: is not asked.

        Raises:
            ValueError: if sizes differ, or for SSIM of frames smaller than its window.
        """
        prediction, target = image_from_channels(outputs), image_from_channels(batch["label"])
        if prediction.dim() != 4 or prediction.shape != target.shape:
            raise ValueError(
                "expected result and truth of one size (batch, 1 or 2, height, width, frames), got "
                f"{list(outputs.shape)} and {list(batch['label'].shape)}; check the data set and the network"
            )
        if prediction.is_complex() != target.is_complex():
            prediction, target = _magnitudes(prediction, target)
        terms = {"image": self.loss(prediction, target)}
        if self.weight_penalty is not None:
            terms["weights"] = self.weight_penalty()
        return terms
