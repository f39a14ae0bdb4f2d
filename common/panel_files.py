"""Pictures of cases in a folder, with an index that tells which picture shows what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.figures import CaseImages, case_figure, save_figure
from common.io import split_suffix
from common.io.atomic import atomic_path

INDEX = "panels.json"

Case = tuple[str, int]
"""Data file and slice."""


@dataclass(frozen=True)
class PanelIndex:
    """What the pictures of a folder show.

    Attributes:
        protocol: of the PSNR and SSIM under the error maps.
        error_scale: where the scale of all error maps ends, in image units; 0 if there are none.
        pictures: case to file name.
        std_scale: where the scale of all maps of standard deviations ends, in image units; 0 if there are none.
    """

    protocol: str
    error_scale: float
    pictures: dict[Case, str]
    std_scale: float = 0.0

    @classmethod
    def of(cls, cases: Iterable[Case], protocol: str, error_scale: float, std_scale: float = 0.0) -> PanelIndex:
        """Name the pictures `<stem>_<slice>.png` after the data files.

        Of several data files with one stem, the second's pictures have `_2` in their names, the third's `_3`.
        """
        pictures: dict[Case, str] = {}
        paths: dict[str, list[str]] = {}
        for path, slice_index in sorted(set(cases)):
            stem = split_suffix(path)[0]
            same_stem = paths.setdefault(stem, [])
            if path not in same_stem:
                same_stem.append(path)
            number = "" if len(same_stem) == 1 else f"_{len(same_stem)}"
            pictures[path, slice_index] = f"{stem}{number}_{slice_index}.png"
        return cls(protocol, error_scale, pictures, std_scale)

    def draw(self, cases: Sequence[CaseImages], folder: Path) -> None:
        """Write the pictures of cases of this index."""
        for case in cases:
            scales = {"error_scale": self.error_scale, "std_scale": self.std_scale}
            figure = case_figure(case, protocol=self.protocol, **scales)
            save_figure(figure, folder / self.pictures[case.path, case.slice_index])

    def write(self, folder: Path) -> None:
        """Write the index into the folder of the pictures."""
        panels = [{"picture": name, "file": path, "slice": index} for (path, index), name in self.pictures.items()]
        content: dict[str, Any] = {"protocol": self.protocol, "error_scale": self.error_scale}
        if self.std_scale:
            content["std_scale"] = self.std_scale
        content["panels"] = panels
        with atomic_path(folder / INDEX) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

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
            return cls(str(content["protocol"]), scales[0], pictures, scales[1])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: expected an index of panels, got {type(error).__name__} {error}; evaluate again"
            ) from None
