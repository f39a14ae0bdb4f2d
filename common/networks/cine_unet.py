"""U-Nets over space and time that clean a series of aliased magnitude images."""

from collections.abc import Sequence

import torch
from common.errors import require_at_least
from common.networks.blocks import crop_to_size, pad_to_multiple
from common.networks.regularization import penalty_coefficients, weight_penalty
from common.networks.series_convolutions import KERNELS, UP_KERNEL, SeriesBlock, SeriesConvolution
from common.operators.series import batch_to_frames, frames_to_batch
from torch import Tensor, nn

RESIDUALS = ("signed", "nonnegative")


class CineUNet(nn.Module):
    """Aliased series to series, by a U-Net over height, width and time whose levels pool space alone.

    After Hauptmann et al. 2019 (doi 10.1002/mrm.27480), and a public project that factored its convolutions:

    - ``UNet3D``: two 3x3x3 convolutions in each level; 21,879,841 parameters.
    - ``UNet2D1D``: one 3x3 over each frame, then one of 3 frames at each pixel; 5,143,009 parameters.
    - ``UNet2D2D``: one 3x3 over width and time at each row, then one over height and time at each column; 7,760,353
      parameters.

    ReLU after each convolution, also the transposed ones; at the end a 3x3x3 convolution. Height and width are padded
    to a multiple of ``2 ** (depth - 1)`` by their border, and cropped; frames may be any number.

    Differs from that project: transposed convolutions are 2x2 in each frame. A kernel of 2 along time, with stride 1,
    has no middle: it looks at one neighbour and not at the other (and would add 0.7 million parameters). Convolutions
    start as He et al. 2015 (arXiv 1502.01852), the last one from zero, where the network is the identity.

    Args:
        network: one of ``KERNELS``.
        width: features of the first level; each level has twice those of the one above.
        depth: levels.
        regularization, regularization_parameters: name and numbers, see
            :data:`~common.networks.regularization.REGULARIZATIONS`.
        residual: how the last convolution ``c`` and the input ``x`` make the result. ``signed``: ``relu(x + c)``, as
            Hauptmann et al.; ``nonnegative``: ``relu(x + relu(c))``, which can only brighten, while aliasing does both
            (its last convolution starts at random: at zero it would stay there).

    Raises:
        ValueError: for an unknown name or a number out of range.
    """

    def __init__(
        self,
        network: str = "UNet2D2D",
        width: int = 32,
        depth: int = 5,
        regularization: str = "none",
        regularization_parameters: Sequence[float] = (),
        residual: str = "signed",
    ) -> None:
        super().__init__()
        if network not in KERNELS:
            raise ValueError(f"network must be one of {', '.join(KERNELS)}, got {network!r}")
        if residual not in RESIDUALS:
            raise ValueError(f"residual must be one of {', '.join(RESIDUALS)}, got {residual!r}")
        require_at_least(1, width=width, depth=depth)
        rule, numbers = regularization, tuple(regularization_parameters)
        channels = [width * 2**level for level in range(depth)]
        self.residual = residual
        self.multiple = 2 ** (depth - 1)
        self.encoders = nn.ModuleList(
            SeriesBlock(network, before, after, rule, numbers)
            for before, after in zip([1, *channels[:-1]], channels, strict=True)
        )
        self.pool = nn.MaxPool3d(UP_KERNEL)
        self.ups = nn.ModuleList(
            SeriesConvolution(2 * c, c, UP_KERNEL, rule, numbers, transposed=True) for c in reversed(channels[:-1])
        )
        self.decoders = nn.ModuleList(SeriesBlock(network, 2 * c, c, rule, numbers) for c in reversed(channels[:-1]))
        self.head = nn.Conv3d(width, 1, 3, padding=1)
        self.l1, self.l2 = penalty_coefficients(rule, numbers)
        if residual != "nonnegative":
            nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, series: Tensor) -> Tensor:
        """Clean a series.

        Args:
            series: float ``(batch, 1, height, width, frames)``; magnitudes in [0, 1].

        Returns:
            float ``(batch, 1, height, width, frames)``; at least 0.

        Raises:
            ValueError: for another number of axes or channels.
        """
        if series.dim() != 5 or series.shape[1] != 1:
            raise ValueError(
                f"expected a series (batch, 1, height, width, frames), got shape {list(series.shape)}; time is the "
                "last axis"
            )
        batch, height, width = series.shape[0], series.shape[2], series.shape[3]
        frames = pad_to_multiple(frames_to_batch(series), self.multiple)
        # features next to each other in memory: convolutions on a CPU then take as little as half the time
        features = batch_to_frames(frames, batch).contiguous(memory_format=torch.channels_last_3d)
        skips: list[Tensor] = []
        for level, encoder in enumerate(self.encoders):
            if level > 0:
                skips.append(features)
                features = self.pool(features)
            features = encoder(features)
        for up, decoder in zip(self.ups, self.decoders):  # noqa: B905, TorchScript has no strict
            features = decoder(torch.cat((skips.pop(), up(features)), dim=1))
        cropped = crop_to_size(frames_to_batch(self.head(features)), height, width)
        correction = batch_to_frames(cropped, batch).to(series.dtype)
        if self.residual == "nonnegative":
            correction = torch.relu(correction)
        return torch.relu(series + correction)

    @torch.jit.ignore
    def weight_penalty(self) -> Tensor:
        """Return the penalty on the weights, a scalar; 0 without an `l1` or `l2` regularisation."""
        return weight_penalty(self, self.l1, self.l2)
