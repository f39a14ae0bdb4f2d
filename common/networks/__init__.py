"""Networks: one measurement or image in, one image out."""

from common.networks.edsr import EdsrGenerator
from common.networks.folding import FoldedBatchNorm, add_batch_norm
from common.networks.precision import Autocast
from common.networks.receptive_field import receptive_halo
from common.networks.refinegan import RefineGanDiscriminator, RefineGanGenerator, ResidualUNet
from common.networks.rrdb import RrdbGenerator
from common.networks.sr_discriminators import (
    FlatteningDiscriminator,
    FullyConvolutionalDiscriminator,
    SeparableDiscriminator,
)
from common.networks.sr_resnet import SrResNetGenerator
from common.networks.vgg import Vgg19Classifier, Vgg19Features

__all__ = [
    "Autocast",
    "EdsrGenerator",
    "FlatteningDiscriminator",
    "FoldedBatchNorm",
    "FullyConvolutionalDiscriminator",
    "RefineGanDiscriminator",
    "RefineGanGenerator",
    "ResidualUNet",
    "RrdbGenerator",
    "SeparableDiscriminator",
    "SrResNetGenerator",
    "Vgg19Classifier",
    "Vgg19Features",
    "add_batch_norm",
    "receptive_halo",
]
