"""A bundle of a few kilobytes that can be packaged, for tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NAME = "small_mri_reconstruction"
README = """# Model Overview

## Performance

Numbers by the protocol `slice`.

On 3 slices of *synthetic* data,
mean:

| image | PSNR (dB) |
|---|---|
| zero-filled | 20.1 |
| `SmallNet` | 30.2 |

## Limitations

None.
"""
IMAGE = {"num_channels": 1, "spatial_shape": ["*", 64], "dtype": "float32", "channel_def": {"0": "image"}}
METADATA: dict[str, Any] = {
    **{"monai_version": "1.6.1", "pytorch_version": "2.13.0", "numpy_version": "2.4.6"},
    **{"name": "Small network", "task": "Reconstruction of small images", "description": "One layer."},
    **{"data_source": "none (https://example.org/none)", "intended_use": "Tests only."},
    "references": ["One, A. First. https://doi.org/10.1000/1. 2001.", "Two, B. Second."],
    **{"eval_metrics": {"psnr": 30.2}, "network_data_format": {"inputs": {"image": IMAGE}}},
}


@pytest.fixture(autouse=True)
def small_common(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages with a `common` of one file, for tests that import this fixture."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "common").mkdir()
    (folder / "common" / "__init__.py").write_text('"""Shared."""\n')
    (folder / "LICENSE").write_text("licence of common")
    monkeypatch.setattr("tools.zoo.package.COMMON", folder / "common")


def write_small_bundle(folder: Path, bundle_name: str = NAME, /, version: str = "0.1.0", **metadata: Any) -> Path:
    """Write a bundle into `folder/bundle_name`; keywords replace metadata."""
    log = {"version": version, "changelog": {version: f"what is new in {version}"}}
    network = json.dumps({"network_def": {"_target_": "torch.nn.Identity"}})
    files: dict[str, str | bytes] = {
        "LICENSE": "                 Apache License\n           Version 2.0, January 2004\n\nand so on\n",
        "configs/metadata.json": json.dumps({**METADATA, **log, **metadata}),
        "configs/inference.json": network,
        "configs/train.json": network,
        "docs/README.md": README,
        "docs/data_license.txt": "No data, see https://example.org/licence.\n",
        "docs/example.png": png(40, 30),
        "models/model.pt": b"weights",
    }
    for path, content in files.items():
        (folder / bundle_name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / bundle_name / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / bundle_name


def png(width: int, height: int) -> bytes:
    """A grey PNG image."""
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, format="png")
    return buffer.getvalue()
