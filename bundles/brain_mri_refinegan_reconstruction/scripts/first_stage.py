"""The image after the first of the two U-Nets: what the second one adds is the difference."""

from torch import Tensor, nn

from common.networks import RefineGanGenerator


class FirstStage(nn.Module):
    """A generator, trained as a whole, that stops after its first U-Net and data consistency.

    Args:
        network: the generator.
    """

    def __init__(self, network: RefineGanGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, measurement: Tensor) -> Tensor:
        """Measurement ``(batch, 3, height, width)`` to image ``(batch, 2, height, width)``, as the generator's own."""
        return self.network.stages(measurement)[1]
