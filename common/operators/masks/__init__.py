"""k-space sampling masks: float32 0/1 ``(batch, 1, height, width)``, any size, centred, with DC always sampled.

``sampling_mask`` makes them, ``MaskSampler`` is the same as a configured object, ``MixedMasks`` and
``AccelerationMasks`` draw one of several for each mask, ``FixedMask`` reads one from a file.

| family        | samples                              | rate met to             | measured | ms: 10 %, 40 %, 90 % |
|---------------|--------------------------------------|-------------------------|----------|----------------------|
| cartesian     | random columns, full centre          | half a column (1 / 2 W) | 0.16 %   | 0.05, 0.05, 0.05     |
| equispaced    | columns at one spacing, full centre  | half a column (1 / 2 W) | 0.16 %   | 0.05, 0.05, 0.05     |
| gaussian      | 2-D Gaussian density, full centre    | half a sample           | 0.0006 % | 2.3, 2.7, 1.9        |
| radial        | spokes at even angles                | half a sample           | 0.0006 % | 0.9, 1.6, 3.5        |
| radial_golden | spokes at golden-angle steps         | half a sample           | 0.0006 % | 0.7, 1.2, 4.0        |
| spiral        | one spiral, closer turns at DC       | half a sample           | 0.0006 % | 1.0, 1.2, 1.1        |
| poisson       | random, at a distance, full centre   | half a sample           | 0.0006 % | 54, 20, 14           |

Measured: largest difference between given and sampled fraction of all samples, over 10, 20, ..., 90 % of 256 x 256;
milliseconds per mask of 256 x 256 in a batch of 16, on one CPU core. The first mask of a shape and rate takes longer
(poisson 0.1 to 0.5 s, 3 s at 2 %; spokes and spiral 0.1 s): what does not depend on the seed is kept. Whole
columns miss 0.5 % of the samples only where there are fewer than 100 of them.
"""

from common.operators.masks.accelerations import AccelerationMasks
from common.operators.masks.fixed import FixedMask
from common.operators.masks.mixed import MixedMasks
from common.operators.masks.sampler import MASK_FAMILIES, MaskSampler, MaskSource, sampling_mask
from common.operators.masks.source import mask_source

__all__ = [
    "MASK_FAMILIES",
    "AccelerationMasks",
    "FixedMask",
    "MaskSampler",
    "MaskSource",
    "MixedMasks",
    "mask_source",
    "sampling_mask",
]
