"""Postprocessing of evaluated reconstructions: samples taken apart, images cropped to what a scanner would show."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from common.operators.cropping import center_crop
from common.operators.samples import N_CHANNELS, split_samples
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform


class SplitSamplesd(Transform):
    """Splits the output of a :class:`~common.inferers.SamplingInferer`.

    Of an item's ``(5, height, width)`` it makes ``key``, the image ``(2, height, width)``; "std", the deviation of the
    samples ``(1, height, width)``; and "sample", the first sample ``(2, height, width)``. Images of two channels stay
    as they are, so that inference with and without samples shares one configuration.

    Args:
        key: key of the prediction in the item.
    """

    def __init__(self, key: str = "pred") -> None:
        self.key = key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Split an item, which is not changed.

        Raises:
            ValueError: for neither 2 nor 5 channels.
        """
        item = dict(data)
        channels = item[self.key].shape[0]
        if channels == N_CHANNELS:
            item[self.key], item["std"], item["sample"] = split_samples(item[self.key])
        elif channels != 2:
            raise ValueError(
                f"expected {self.key!r} of 2 channels (real, imaginary), or {N_CHANNELS} from a SamplingInferer, got "
                f"shape {list(item[self.key].shape)}; check the inferer and the network"
            )
        return item


class CropToReconSpaced(MapTransform):
    """Crops an item's images to the middle part of its "recon_height" and "recon_width".

    The reconSpace of an ISMRMRD header is smaller than k-space if the readout was oversampled. The origin is placed as
    in :func:`common.operators.cropping.center_crop`. Keys that are missing or None are skipped.

    Args:
        keys: keys of the images ``(channels, height, width)`` to crop.
    """

    def __init__(self, keys: KeysCollection = ("pred", "label", "std", "sample")) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop an item, which is not changed.

        Raises:
            ValueError: if the item does not say the size, or an image is smaller.
        """
        item = dict(data)
        if missing := [name for name in ("recon_height", "recon_width") if name not in item]:
            raise ValueError(
                f"{item.get('path', 'an item without a path')}: expected the size to crop to in 'recon_height' and "
                f"'recon_width', missing {', '.join(missing)}; take the data list of common.data.find_slices"
            )
        size = int(item["recon_height"]), int(item["recon_width"])
        for key in self.key_iterator(item):
            if item[key] is None:
                continue
            try:
                item[key] = center_crop(item[key], size)
            except ValueError as error:
                raise ValueError(f"{item.get('path', 'an item without a path')}, {key!r}: {error}") from None
        return item
