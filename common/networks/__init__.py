"""Networks: one measurement or image in, one image out."""

from common.networks.refinegan import RefineGanDiscriminator, RefineGanGenerator, ResidualUNet

__all__ = ["RefineGanDiscriminator", "RefineGanGenerator", "ResidualUNet"]
