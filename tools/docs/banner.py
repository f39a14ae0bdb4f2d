"""Picture of one slice for the head of a document: zero-filled, reconstructed, true, and the error."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser

from common.engines import load_weights
from common.metrics.protocol_metric import image_from_channels
from common.operators.zero_filled import zero_filled_image

ERROR_SCALE = 5
_MARGIN_PX = 6


def draw_banner(bundle: Path, file: Path, overrides: Mapping[str, Any], scratch: Path) -> Path:
    """Draw the picture.

    Args:
        bundle: folder of a bundle for single-coil slices, whose inference.json says how a file is read and measured.
        file: a slice with a target.
        overrides: keys of the configuration and their values.
        scratch: an empty folder.
    """
    (scratch / "data").mkdir()
    shutil.copyfile(file, scratch / "data" / file.name)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update({"bundle_root": str(bundle), "dataset_dir": str(scratch / "data"), "device": "cpu", **overrides})
    network = parser.get_parsed_content("network_def")
    load_weights(network, parser.get_parsed_content("checkpoint"))
    batch = next(iter(parser.get_parsed_content("dataloader")))
    measurement, target = parser.get_parsed_content("prepare_batch")(batch, torch.device("cpu"), False)[:2]
    with torch.inference_mode():
        reconstruction = network.eval()(measurement)
    images = {
        f"zero-filled, {100 * measurement[:, -1].mean():.0f} % of k-space": zero_filled_image(measurement),
        "reconstruction": image_from_channels(reconstruction),
        "target": image_from_channels(target),
    }
    return _draw({name: image.abs().squeeze().numpy() for name, image in images.items()}, scratch / "banner.png")


def _draw(images: Mapping[str, np.ndarray], path: Path) -> Path:
    """Draw images in a row on one grey window, cut to the head, and the error of the second behind them."""
    target = images["target"]
    rows, columns = (np.flatnonzero((target > 0.1 * target.max()).any(axis)) for axis in (1, 0))
    part = tuple(slice(max(0, inside[0] - _MARGIN_PX), inside[-1] + _MARGIN_PX + 1) for inside in (rows, columns))
    error = np.abs(images["reconstruction"] - target)
    panels = {**images, f"difference x {ERROR_SCALE}": ERROR_SCALE * error}
    height, width = target[part].shape
    figure = Figure(figsize=(10, 10 / len(panels) * height / width + 0.3), layout="constrained", facecolor="black")
    for axes, (name, image) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        colours = "inferno" if name.startswith("difference") else "gray"
        axes.imshow(image[part], cmap=colours, vmin=0, vmax=np.percentile(target, 99.8), interpolation="lanczos")
        axes.set_title(name, fontsize=13, color="white")
        axes.set_axis_off()
    figure.savefig(path, dpi=112)
    return path
