"""Grey windows, scales of errors, and the parts of images that are worth a closer look."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from common.metrics.case import Case
from torch import Tensor

WHITE_QUANTILE = 0.998
"""Part of an image's pixels below white: a few bright ones, as vessels or fat near a coil, must not darken tissue."""
ERROR_QUANTILE = 0.99
"""Part of the pixels of an error map inside its scale: a few bright edges must not make all other errors black."""


def magnitude(image: Tensor | np.ndarray, name: str = "image") -> np.ndarray:
    """Magnitudes in float32; of a real image its positive part, since negative values are drawn black.

    Raises:
        ValueError: the image has another number of axes than 2 or 3, or a value is not finite.
    """
    values = torch.as_tensor(image).detach().cpu().as_subclass(Tensor).numpy()
    values = (np.abs(values) if np.iscomplexobj(values) else np.clip(values, 0, None)).astype(np.float32)
    if values.ndim not in (2, 3):
        raise ValueError(f"{name} must be an image [height, width], a volume or a series, got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity; look at the network or its training")
    return values


def planes(case: Case) -> dict[str, np.ndarray]:
    """Magnitudes of a case by name, those of volumes in the middle plane: ``mask``, the methods, ``target``, ``std``.

    Raises:
        ValueError: shapes differ (the mask's aside), or a value is not finite.
    """
    images = {"mask": case.mask, **case.methods, "target": case.target, "std": case.std}
    found = {name: magnitude(image, name) for name, image in images.items() if image is not None}
    shapes = {name: list(image.shape) for name, image in found.items() if name != "mask"}
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        raise ValueError(f"{case.path}: a figure needs images of one size, got {shapes}; crop or pad them first")
    if case.series:
        return found
    return {name: image if image.ndim == 2 else image[..., image.shape[-1] // 2] for name, image in found.items()}


def reference_of(case: Case, images: dict[str, np.ndarray]) -> np.ndarray:
    """Image that decides windows and parts: the target, or the reconstruction where there is none."""
    return images.get("target", images[case.reconstruction])


def grey_window(image: np.ndarray) -> float:
    """Value that is drawn white; black is 0."""
    return float(np.quantile(image, WHITE_QUANTILE)) or float(image.max()) or 1.0


def errors(case: Case, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Absolute difference to the target of each method; empty without a target."""
    if "target" not in images:
        return {}
    return {method: np.abs(images[method] - images["target"]) for method in case.methods}


def error_scale_of(cases: Iterable[Case]) -> float:
    """End of the one scale of the error maps of these cases, in image units; 0 if none has a target.

    It is the largest 99th percentile of all error maps; of series, that of the reconstructions.
    """
    ends = [0.0]
    for case in cases:
        found = errors(case, planes(case))
        chosen = [found[case.reconstruction]] if case.series and found else list(found.values())
        ends += [float(np.quantile(error, ERROR_QUANTILE)) for error in chosen]
    return max(ends)


def std_scale_of(cases: Iterable[Case]) -> float:
    """End of the one scale of the standard deviations of these cases, as :func:`error_scale_of`; 0 without any."""
    return max((float(np.quantile(magnitude(c.std), ERROR_QUANTILE)) for c in cases if c.std is not None), default=0.0)


def largest_part(weights: np.ndarray, fraction: float) -> tuple[slice, slice]:
    """Rows and columns of the part, `fraction` as high and wide, with the largest sum of ``(height, width)``."""
    sums = np.pad(weights.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (max(1, int(n * fraction)) for n in weights.shape)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = (int(place) for place in np.unravel_index(inside.argmax(), inside.shape))
    return slice(top, top + height), slice(left, left + width)


def detailed_part(image: np.ndarray, zoom: int) -> tuple[slice, slice]:
    """Rows and columns of the part, `1 / zoom` as high and wide, whose neighbouring pixels differ most on average."""
    gradient = np.zeros(image.shape, np.float64)
    gradient[1:] += np.abs(np.diff(image, axis=0))
    gradient[:, 1:] += np.abs(np.diff(image, axis=1))
    return largest_part(gradient, 1 / zoom)


def moving_part(series: np.ndarray, fraction: float = 0.6) -> tuple[slice, slice]:
    """Rows and columns of the part of a series ``(height, width, frames)`` that varies most in time: a heart."""
    return largest_part(series.astype(np.float64).var(axis=2), fraction)


def moving_row(series: np.ndarray) -> int:
    """Row of ``(height, width, frames)`` whose values have the largest variance over time."""
    return int(series.astype(np.float64).var(axis=2).sum(axis=1).argmax())


def distant_frames(series: np.ndarray) -> tuple[int, ...]:
    """Two frames of ``(height, width, frames)`` with the largest distance, earlier first; of a single frame, that one.

    In a heart these are about end-diastole and end-systole.
    """
    frames = series.reshape(-1, series.shape[-1]).astype(np.float64)
    products = frames.T @ frames
    squares = np.diag(products)
    distances = squares[:, None] + squares[None] - 2 * products
    return tuple(sorted({int(index) for index in np.unravel_index(distances.argmax(), distances.shape)}))
