from __future__ import annotations

from pathlib import Path

import pytest

from common.data import find_files
from common.data.files import mask_path, split_suffix

HINT = "make synthetic data with `python -m tools data make brain_mri DIR`"


def test_data_files_in_natural_order(tmp_path: Path) -> None:
    names = ["s1.png", "S2.PNG", "s10.png", "scan.nii", "scan.nii.gz", "x.h5", "y.TIFF", "z.npy"]
    others = [".hidden.png", "z_mask.npy", "notes.txt", "table.gz", ".png"]
    for name in names + others:
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deeper.png").touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_files(tmp_path)] == names
    assert [path.name for path in find_files(str(tmp_path), "sub")] == ["deeper.png"]


@pytest.mark.parametrize("dataset_dir", ["", None, "missing", "empty", "file.png", "only_text"])
def test_no_data_is_an_error_with_the_way_out(
    tmp_path: Path, dataset_dir: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "only_text").mkdir()
    (tmp_path / "only_text" / "a.txt").touch()
    (tmp_path / "file.png").touch()
    with pytest.raises(FileNotFoundError, match="dataset_dir") as caught:
        find_files(dataset_dir, hint=HINT)
    assert str(caught.value).endswith(HINT)
    assert (dataset_dir or "") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_split_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*train; point dataset_dir"):
        find_files(tmp_path, "train")


def test_stem_and_suffix() -> None:
    assert split_suffix("d/a.b.NII.gz") == ("a.b", ".NII.gz")
    assert split_suffix("a.nii") == ("a", ".nii")
    assert split_suffix("a.gz") == ("a.gz", "")
    assert mask_path("d/a.nii.gz") == Path("d/a_mask.npy")
