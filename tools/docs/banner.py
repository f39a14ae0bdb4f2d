"""Picture of one slice for the head of a document: zero-filled, reconstructed, true, and the error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common.metrics.case import Case

ERROR_SCALE = 5
_MARGIN_PX = 6


def draw_banner(case: Case, path: Path) -> Path:
    """Draw a slice with its mask and target in a row on one grey window, cut to the head, and the error behind."""
    assert case.mask is not None  # k-space was undersampled
    assert case.target is not None
    target, reconstruction = case.target.numpy(), case.methods[case.reconstruction].numpy()
    panels = {
        f"zero-filled, {100 * case.mask.mean():.0f} % of k-space": case.methods[case.baseline].numpy(),
        "reconstruction": reconstruction,
        "target": target,
        f"difference x {ERROR_SCALE}": ERROR_SCALE * np.abs(reconstruction - target),
    }
    rows, columns = (np.flatnonzero((target > 0.1 * target.max()).any(axis)) for axis in (1, 0))
    part = tuple(slice(max(0, inside[0] - _MARGIN_PX), inside[-1] + _MARGIN_PX + 1) for inside in (rows, columns))
    height, width = target[part].shape
    figure = Figure(figsize=(10, 10 / len(panels) * height / width + 0.3), layout="constrained", facecolor="black")
    for axes, (name, image) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        colours = "inferno" if name.startswith("difference") else "gray"
        axes.imshow(image[part], cmap=colours, vmin=0, vmax=np.percentile(target, 99.8), interpolation="lanczos")
        axes.set_title(name, fontsize=13, color="white")
        axes.set_axis_off()
    figure.savefig(path, dpi=112)
    return path
