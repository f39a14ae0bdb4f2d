"""Pictures of cases in a folder, the images they show, and an index of both."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common.figures.case import case_figure
from common.figures.parts import save_figure
from common.figures.scales import planes
from common.figures.series import series_figure
from common.io import split_suffix
from common.io.atomic import atomic_path
from common.metrics.case import Case

INDEX = "panels.json"

Place = tuple[str, int]
"""Data file and slice."""


@dataclass(frozen=True)
class PanelIndex:
    """Contents of a folder of pictures.

    Attributes:
        protocol: protocol of the PSNR and SSIM under the error maps.
        error_scale: end of the scale of all error maps, in image units; 0 if there are none.
        std_scale: end of the scale of all maps of standard deviations, in image units; 0 if there are none.
        pictures: case to file name of its picture.
        notes: what the cases have in common beside their images: ``baseline``, ``reconstruction``, ``series``.
    """

    protocol: str
    error_scale: float
    pictures: dict[Place, str]
    std_scale: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cases: Iterable[Place], protocol: str, error_scale: float, std_scale: float = 0.0) -> PanelIndex:
        """Name the pictures `<stem>_<slice>.png` after the data files.

        Of several data files with one stem, the second's pictures have `_2` in their names, the third's `_3`.
        """
        pictures: dict[Place, str] = {}
        paths: dict[str, list[str]] = {}
        for path, slice_index in sorted(set(cases)):
            stem = split_suffix(path)[0]
            same_stem = paths.setdefault(stem, [])
            if path not in same_stem:
                same_stem.append(path)
            number = "" if len(same_stem) == 1 else f"_{len(same_stem)}"
            pictures[path, slice_index] = f"{stem}{number}_{slice_index}.png"
        return cls(protocol, error_scale, pictures, std_scale)

    def draw(self, cases: Sequence[Case], folder: Path, zoom: int = 1) -> None:
        """Write the pictures of cases of this index, and beside each its images, as ``<picture>.npz``."""
        scales = {"error_scale": self.error_scale, "std_scale": self.std_scale}
        for case in cases:
            picture = folder / self.pictures[case.path, case.slice_index]
            if case.series:
                save_figure(series_figure(case, self.protocol, self.error_scale), picture)
            else:
                save_figure(case_figure(case, protocol=self.protocol, zoom=zoom, **scales), picture)
            with atomic_path(picture.with_suffix(".npz")) as temporary:
                images: dict[str, Any] = {name: image.astype(np.float16) for name, image in planes(case).items()}
                np.savez(temporary, **images)
            self.notes.update(baseline=case.baseline, reconstruction=case.reconstruction, series=case.series)

    def write(self, folder: Path) -> None:
        """Write the index into the folder of the pictures."""
        panels = [{"picture": name, "file": path, "slice": index} for (path, index), name in self.pictures.items()]
        content = {"protocol": self.protocol, "error_scale": self.error_scale, "std_scale": self.std_scale}
        with atomic_path(folder / INDEX) as temporary:
            temporary.write_text(json.dumps({**content, **self.notes, "panels": panels}, indent=2) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> PanelIndex:
        """Read the index of a folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is not what `write` writes.
        """
        path = folder / INDEX
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            pictures = {(str(p["file"]), int(p["slice"])): Path(p["picture"]).name for p in content["panels"]}
            scales = float(content["error_scale"]), float(content.get("std_scale", 0))
            notes = {key: content[key] for key in ("baseline", "reconstruction", "series") if key in content}
            return cls(str(content["protocol"]), scales[0], pictures, scales[1], notes)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: expected an index of panels, got {type(error).__name__} {error}; evaluate again"
            ) from None

    def case(self, folder: Path, place: Place) -> Case:
        """Read the images of a case: magnitudes, of volumes the middle plane.

        Raises:
            ValueError: the file of the images is missing or is not what `draw` writes.
        """
        path = (folder / self.pictures[place]).with_suffix(".npz")
        try:
            with np.load(path) as arrays:
                images = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: expected the images of a case, got {error}; evaluate again") from None
        further: dict[str, Any] = {name: images.pop(name, None) for name in ("mask", "target", "std")}
        return Case(place[0], place[1], images, **further, **self.notes)
