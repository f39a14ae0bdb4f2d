"""The index of packaged bundles: what MONAI reads, older versions, and zips that should not be listed."""

from __future__ import annotations

import hashlib
import json
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import monai.bundle.scripts as monai_scripts
import pytest
from small_bundle import NAME, small_common, write_small_bundle  # noqa: F401

from tools.command import run_commands
from tools.zoo.index import index, write_index
from tools.zoo.release import find_releases


def run(*arguments: object) -> int:
    return run_commands({"index": index}, "zoo", ["index", *map(str, arguments)])


def write_index_of(tmp_path: Path, *versions: str, **options: str) -> Path:
    """A folder that got the given versions one after the other."""
    out = tmp_path / "dist"
    for version in versions:
        bundle = write_small_bundle(tmp_path / "source", version=version)
        assert run(bundle, "--out", out, *(f"--{name}={value}" for name, value in options.items())) == 0
    return out


def test_older_versions_stay_and_are_ordered_as_numbers(tmp_path: Path) -> None:
    out = write_index_of(tmp_path, "0.10.0", "0.9.0")
    info = json.loads((out / "model_info.json").read_text())
    assert list(info) == [f"{NAME}_v0.9.0", f"{NAME}_v0.10.0"]
    for key, entry in info.items():
        content = (out / f"{key}.zip").read_bytes()
        assert entry == {
            "checksum": hashlib.sha1(content).hexdigest(),
            "source": f"http://127.0.0.1:8000/{key}.zip",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
    assert [release.version for release in find_releases(out)[NAME]] == ["0.10.0", "0.9.0"]
    zips = {f"{key}.zip{end}" for key in info for end in ("", ".sha256")}
    assert {path.name for path in out.iterdir()} == {*zips, f"{NAME}.png", "index.html", "model_info.json"}


def test_monai_reads_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write_index_of(tmp_path, "0.1.0", "0.2.0", url="https://lab.example/zoo/")
    answer = types.SimpleNamespace(text=(out / "model_info.json").read_text(), raise_for_status=lambda: None)
    fake = types.SimpleNamespace(get=lambda url, **_: answer)
    monkeypatch.setattr(monai_scripts, "requests", fake)
    monkeypatch.setattr(monai_scripts, "has_requests", True)
    assert monai_scripts.get_all_bundles_list() == [(NAME, "0.2.0")]
    assert monai_scripts.get_bundle_versions(NAME) == {"latest_version": "0.2.0", "all_versions": ["0.1.0", "0.2.0"]}
    found = monai_scripts.get_bundle_info(NAME, version="0.1.0")
    assert found["browser_download_url"] == f"https://lab.example/zoo/{NAME}_v0.1.0.zip"


def test_changed_content_of_one_version_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_index_of(tmp_path, "0.1.0", "0.1.0")
    assert "replaced" not in capsys.readouterr().out
    assert run(write_small_bundle(tmp_path / "source", description="Two layers."), "--out", out) == 0
    assert "replaced one of other content; raise `version`" in capsys.readouterr().out


def test_large_files_lie_beside_the_zip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_small_bundle(tmp_path)
    (bundle / "models" / "model.pt").write_bytes(bytes(26 * 2**20))
    out = tmp_path / "dist"
    assert run(bundle, "--out", out, "--url", "https://lab.example") == 0
    with zipfile.ZipFile(out / f"{NAME}_v0.1.0.zip") as archive:
        listed = archive.read(f"{NAME}/large_files.yml").decode()
    assert f"url: https://lab.example/{NAME}_v0.1.0_large_files/models/model.pt\n" in listed
    assert (out / f"{NAME}_v0.1.0_large_files" / "models" / "model.pt").is_file()
    assert find_releases(out)[NAME][0].has_weights
    capsys.readouterr()
    assert run(bundle, "--out", tmp_path / "other") == 1
    assert "model.pt: 26.0 MB" in capsys.readouterr().err


def tampered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def renamed(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").unlink()
    path.rename(path.with_name(f"{NAME}_v0.3.0.zip"))


def cut_by_monai(path: Path) -> None:
    with zipfile.ZipFile(path.with_name("brain_volume_sr_v0.1.0.zip"), "w") as archive:
        archive.writestr("brain_volume_sr/configs/metadata.json", '{"version": "0.1.0", "changelog": {"0.1.0": ""}}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (tampered, "expected the SHA-256"),
        (renamed, f"expected the name {NAME}_v0.2.0.zip, by what it holds"),
        (cut_by_monai, "brain_volume_sr: expected a name without `_v`"),
    ],
)
def test_an_unfit_zip_leaves_the_index_as_it_was(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    out = write_index_of(tmp_path, "0.1.0", "0.2.0")
    damage(out / f"{NAME}_v0.2.0.zip")
    pages = {path: path.read_bytes() for path in (out / "model_info.json", out / "index.html")}
    with pytest.raises(ValueError, match=message) as caught:
        write_index(out, "http://elsewhere.example")
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in pages} == pages


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_small_bundle(tmp_path)
    for arguments, message in (
        ([bundle, "--url", "lab.example"], "url must be the address of a folder"),
        ([bundle, "--url", "https://lab.example/'\"><b>"], "url must be the address of a folder"),
        (["no_such_bundle"], "no_such_bundle: expected the name of a bundle"),
    ):
        assert run(*arguments, "--out", tmp_path / "dist") == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
    with pytest.raises(ValueError, match="expected zips such as"):
        write_index(tmp_path)
