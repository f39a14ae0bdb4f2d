"""Inference of the reconstruction bundles goes on after bad files; training and evaluation do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bundle_commands import ROOT, network_options
from helpers import SMALL_CASCADE, numpy_fft2c
from monai.bundle import ConfigParser

from common.data import find_cine, find_slices
from common.errors import DataError

BRAIN, KNEE, CINE = (
    f"{name}_reconstruction" for name in ("brain_mri_refinegan", "knee_mri_texture_gan", "cardiac_cine_unet")
)
SMALL: dict[str, dict[str, Any]] = {
    BRAIN: network_options(SMALL_CASCADE),
    KNEE: {
        **network_options({"n_blocks": 2, "width": 4, "n_textures": 2, "texture_size": 32, "encoder_width": 0.1}),
        "n_samples": 2,
        "accelerations": [2],
        "center_fractions": [0.2],
    },
    CINE: network_options({"n_stages": 1, "widths": [4]}),
}


@pytest.fixture(params=SMALL, ids=["brain", "knee", "cine"])
def bundle(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(bundle: str, tmp_path: Path) -> Path:
    """Files of two slices or series: one whole, one truncated, one with a NaN at its end, one whole."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate(("a_whole", "b_truncated", "c_nan", "d_whole")):
        values = np.random.default_rng(seed).random((2, 32, 24, 3) if bundle == CINE else (2, 32, 24))
        values = values.astype(np.float32)
        if name == "c_nan":
            values[-1, 5, 5] = np.nan
        with h5py.File(folder / f"{name}.h5", "w") as file:
            if bundle == CINE:
                file["imagesTrue"] = values
            else:
                file["kspace"] = numpy_fft2c(values).astype(np.complex64)
                file.attrs.update(acquisition="made", max=1.0)
    cut = folder / "b_truncated.h5"
    cut.write_bytes(cut.read_bytes()[:-500])
    return folder


def evaluator_of(bundle: str, folder: Path, output_dir: Path, *configs: str) -> Any:
    """The evaluator of a bundle with a small network of random weights."""
    parser = ConfigParser()
    parser.read_config([ROOT / "bundles" / bundle / "configs" / name for name in configs])
    parser.update(
        {
            "bundle_root": str(ROOT / "bundles" / bundle),
            "dataset_dir": str(folder),
            "output_dir": str(output_dir),
            "split": None,
            "load_pretrain": False,
            "device": "cpu",
            **SMALL[bundle],
        }
    )
    return parser.get_parsed_content("evaluator")


def test_bad_files_are_reported_when_the_others_are_reconstructed(bundle: str, folder: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "out"
    evaluator = evaluator_of(bundle, folder, output_dir, "inference.json")
    with pytest.raises(DataError, match=r"2 files .*b_truncated\.h5.* \| .*c_nan\.h5"):
        evaluator.run()
    written = " ".join(path.name for path in output_dir.rglob("*"))
    if bundle == CINE:
        with h5py.File(output_dir / "result.h5") as file:
            sources = [Path(name.decode()).name for name in file["sources"]]
            assert np.isfinite(file["result"]).all()
        assert sources == ["a_whole.h5:0", "a_whole.h5:1", "d_whole.h5:0", "d_whole.h5:1"]
    else:
        suffix = "_recon" if bundle == BRAIN else ""
        for name in ("a_whole", "d_whole"):
            with h5py.File(output_dir / "reconstructions" / f"{name}{suffix}.h5") as file:
                assert file["reconstruction"].shape == (2, 32, 24)
                assert np.isfinite(file["reconstruction"]).all()
    assert "b_truncated" not in written
    assert "c_nan" not in written
    assert (output_dir / "metrics.csv").is_file()


def test_an_evaluation_stops_at_a_bad_file(bundle: str, folder: Path, tmp_path: Path) -> None:
    configs = ("inference.json", "evaluate.json")
    with pytest.raises(Exception, match=r"Failed to|b_truncated") as raised:
        evaluator_of(bundle, folder, tmp_path / "out", *configs)
    assert "b_truncated.h5" in str(raised.value.__cause__ or raised.value)
    (folder / "b_truncated.h5").unlink()
    evaluator = evaluator_of(bundle, folder, tmp_path / "out", *configs)
    with pytest.raises(DataError, match=r"c_nan\.h5.* NaN"):
        evaluator.run()


def test_files_are_listed_if_one_can_be_opened(bundle: str, folder: Path) -> None:
    find = find_cine if bundle == CINE else find_slices
    names = [Path(entry["path"]).name for entry in find(folder, skip_bad_files=True)]
    assert names == ["a_whole.h5"] * 2 + ["b_truncated.h5"] + ["c_nan.h5"] * 2 + ["d_whole.h5"] * 2
    with pytest.raises(DataError, match="b_truncated"):
        find(folder)
    for name in ("a_whole", "c_nan", "d_whole"):
        (folder / f"{name}.h5").unlink()
    with pytest.raises(DataError, match="b_truncated"):
        find(folder, skip_bad_files=True)
