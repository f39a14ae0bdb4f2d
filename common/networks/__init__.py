"""Networks: one measurement or image in, one image out."""

from common.networks.batch_norms import FoldedBatchNorm, FrozenBatchNorm2d, add_batch_norm, freeze_batch_norm
from common.networks.cine_unet import CineUNet
from common.networks.edsr import EdsrGenerator, SrResNetGenerator
from common.networks.equivariant import EquivariantGenerator
from common.networks.light_cascade import LightCascade
from common.networks.light_cine import LightCineCascade
from common.networks.mobilenet import MobileNetV2Features
from common.networks.patch_discriminator import ConditionalPatchDiscriminator
from common.networks.precision import Autocast
from common.networks.radial_cine import RadialCineCascade
from common.networks.radial_solvers import RadialCgSense, TemporalTotalVariation
from common.networks.receptive_field import receptive_halo
from common.networks.refinegan import RefineGanDiscriminator, RefineGanGenerator, ResidualUNet
from common.networks.rrdb import RrdbGenerator
from common.networks.sr_discriminators import (
    FlatteningDiscriminator,
    FullyConvolutionalDiscriminator,
    SeparableDiscriminator,
)
from common.networks.texture_gan import TextureCascade, train_cascade_alone, train_textures_alone
from common.networks.vgg import Vgg19Classifier, Vgg19Features
