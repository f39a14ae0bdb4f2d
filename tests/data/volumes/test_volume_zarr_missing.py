"""Without the zarr package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.data import DataError
from common.data.volumes import Geometry, VolumeSpec, open_sink, open_source


def test_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.data.volumes.ome_zarr.optional_import", lambda *arguments: (None, False))
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DataError, match=r"a.zarr: Zarr needs the package zarr, version 3; pip install"):
        open_source(tmp_path / "a.zarr")
    with pytest.raises(DataError, match=r"b.zarr: Zarr needs the package zarr, version 3"):
        open_sink(tmp_path / "b.zarr", VolumeSpec((3, 4), np.dtype("u1"), Geometry.unknown(2)), (3, 4))
