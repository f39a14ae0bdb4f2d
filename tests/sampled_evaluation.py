"""A small evaluation of samples: volumes in fastMRI's layout, a network that adds its noise, MONAI's evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import Compose
from torch import Tensor, nn

from common.data import SliceDataset, find_slices
from common.data.loading import evaluation_loader
from common.inferers import SamplingInferer
from common.operators import channels_to_complex, complex_to_channels, fft2c, ifft2c, unpack_coils
from common.operators.masks import MaskSampler
from common.operators.zero_filled import zero_filled_image
from common.transforms import CropToReconSpaced, PrepareAcquisition, SplitSamplesd
from tests.helpers import numpy_fft2c

HEADER = (
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace><matrixSize><x>{x}</x><y>{y}</y>'
    "<z>1</z></matrixSize><fieldOfView_mm><x>48</x><y>30</y><z>3</z></fieldOfView_mm></encodedSpace><reconSpace>"
    "<matrixSize><x>16</x><y>12</y><z>1</z></matrixSize><fieldOfView_mm><x>32</x><y>18</y><z>3</z></fieldOfView_mm>"
    "</reconSpace></encoding></ismrmrdHeader>"
)


class ConsistentNoise(nn.Module):
    """Zero-filled image plus noise that leaves the measured samples as they are."""

    def samples(self, measurement: Tensor, noise: Tensor) -> Tensor:
        _, mask, _ = unpack_coils(measurement)
        zero_filled = complex_to_channels(zero_filled_image(measurement)[:, None])
        added = [
            complex_to_channels(ifft2c((1 - mask) * fft2c(channels_to_complex(one)))) for one in noise.unbind(dim=1)
        ]
        return zero_filled[:, None] + 0.1 * torch.stack(added, dim=1)

    def forward(self, measurement: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.samples(measurement, torch.zeros_like(measurement[:, None, :2]))[:, 0]


def write_knee(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20), n_slices: int = 3) -> np.ndarray:
    """A fully sampled volume whose reconSpace is 16 x 12 of 2 x 1.5 x 3 mm; returns the complex images."""
    rng = np.random.default_rng(seed)
    image = rng.random((n_slices, *size)) * np.exp(1j * rng.random((n_slices, *size)))
    image[:, :, : size[1] // 3] *= 0.02  # air
    image = (4e-4 * image).astype(np.complex64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = numpy_fft2c(image).astype(np.complex64)
        file["ismrmrd_header"] = HEADER.format(x=size[0], y=size[1])
        file.attrs.update({"max": 3e-4, "patient_id": path.stem})
    return image


def evaluate(
    folder: Path, handlers: Sequence[Any], n_samples: int | None = 4, batch_size: int = 2, **options: Any
) -> SupervisedEvaluator:
    """Evaluates a folder at an acceleration of 3; without samples if ``n_samples`` is None."""
    dataset = SliceDataset(find_slices(folder))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=evaluation_loader(dataset, batch_size),
        network=options.pop("network", ConsistentNoise()),
        inferer=SimpleInferer() if n_samples is None else SamplingInferer(n_samples, seed=3),
        prepare_batch=options.pop("prepare_batch", None)
        or PrepareAcquisition(MaskSampler("cartesian", accel=3, center_fraction=0.2), by_file=True),
        postprocessing=Compose([SplitSamplesd(), CropToReconSpaced()]),
        val_handlers=list(handlers),
        **options,
    )
    evaluator.run()
    return evaluator
