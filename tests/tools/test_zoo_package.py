"""Packages: the same bytes from anywhere, with the whole of `common`, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tools.command import run_commands
from tools.zoo.archive import unpack
from tools.zoo.layout import ROOT, bundle_names, find_bundle
from tools.zoo.package import build_package, package, stage_bundle, write_unit_test

COMMON = {
    "LICENSE": "licence of common",
    "common/__init__.py": '"""Shared."""\n',
    "common/nets/a.py": "class A: ...\n",
    "common/ruff.toml": "",
}
METADATA = {
    "version": "1.2.0",
    "changelog": {"1.2.0": "new"},
    "required_packages_version": {"fire": "0.0.1", "mine": "1.0"},
    "name": "Tïny",
}
BUNDLE = {
    "LICENSE": "licence of the bundle",
    "configs/metadata.json": json.dumps(METADATA),
    "configs/inference.json": json.dumps({"network_def": {"_target_": "common.nets.A"}}),
    "configs/logging.conf": "[loggers]\n",
    "scripts/tiny_objective.py": "import PIL\n",
    "docs/README.md": "# Tiny\n",
    "docs/figures/example.png": "png",
    "models/model.pt": 100 * "weights ",
}
FILES = sorted([*BUNDLE, "common/LICENSE", "common/__init__.py", "common/nets/a.py"])
STAYS = [
    *("models/model.ts", "models/model.onnx", "models/older/model.pt", "eval/metrics.csv", "train.json"),
    *("scripts/__pycache__/deep.cpython-311.pyc", "scripts/.hidden.py", "configs/.train.json", "configs/notes.txt"),
    *("docs/.DS_Store", "docs/.cache/README.md", "docs/draft.docx", ".git/config", "common/nets/a.py"),
]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny bundle; `common` lies beside it."""
    write(tmp_path, COMMON)
    write(tmp_path / "tiny", BUNDLE)
    return tmp_path / "tiny"


def packed(tiny: Path, **options: Any) -> list[str]:
    return list(build_package(tiny, tiny.parent / "dist", common=tiny.parent / "common", **options).files)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_package_holds_what_belongs_and_nothing_else(tiny: Path) -> None:
    write(tiny, dict.fromkeys(STAYS, ""))
    out = tiny.parent / "new" / "dist"
    made = build_package(tiny, out, common=tiny.parent / "common")
    assert list(made.files) == FILES
    assert made.path == out / "tiny_v1.2.0.zip"
    assert sorted(path.name for path in out.iterdir()) == ["tiny_v1.2.0.zip", "tiny_v1.2.0.zip.sha256"]
    subprocess.run(["sha256sum", "--check", "--strict", "tiny_v1.2.0.zip.sha256"], cwd=out, check=True)
    root = unpack(made.path, tiny.parent / "there")
    expected = {name: text.encode() for name, text in {**COMMON, **BUNDLE}.items()}
    expected["common/LICENSE"] = b"licence of common"
    text = (root / "configs" / "metadata.json").read_text(encoding="utf-8")
    assert {**contents(root), "configs/metadata.json": b""} == {
        name: b"" if name == "configs/metadata.json" else expected[name] for name in FILES
    }
    required = json.loads(text)["required_packages_version"]
    assert (required["fire"], required["mine"], required["scipy"]) == ("0.0.1", "1.0", version("scipy"))
    assert '    "name": "Tïny"' in text
    with zipfile.ZipFile(made.path) as archive:  # nothing of the machine is in it
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    for entry in entries:
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
        assert (entry.create_system, entry.extra, entry.compress_type) == (3, b"", zipfile.ZIP_STORED)


def test_staging_gives_the_same_tree(tiny: Path) -> None:
    packed(tiny)
    unpacked = unpack(tiny.parent / "dist" / "tiny_v1.2.0.zip", tiny.parent / "a")
    staged = stage_bundle(tiny, tiny.parent / "b" / "c", common=tiny.parent / "common")
    assert staged == tiny.parent / "b" / "c" / "tiny"
    assert contents(staged) == contents(unpacked)
    with pytest.raises(ValueError, match="is there already"):
        stage_bundle(tiny, tiny.parent / "b" / "c", common=tiny.parent / "common")


def test_linked_pages_of_the_repository_come_along(tiny: Path) -> None:
    readme = "[run](../../../docs/RUN.md), [files](../../../docs/FILES.md#formats), [data](data_license.txt)"
    write(tiny, {"docs/README.md": readme})
    pages = {"docs/RUN.md": "[files](FILES.md) [more](MORE.md)", "docs/FILES.md": "", "docs/MORE.md": "[run](RUN.md)"}
    write(tiny.parent, {**pages, "docs/OTHER.md": ""})
    root = stage_bundle(tiny, tiny.parent / "staged", common=tiny.parent / "common")
    assert {f"docs/{path.name}" for path in (root / "docs").glob("*.md")} == {"docs/README.md", *pages}
    assert (root / "docs/README.md").read_text() == "[run](RUN.md), [files](FILES.md#formats), [data](data_license.txt)"
    (tiny.parent / "docs" / "MORE.md").unlink()
    with pytest.raises(ValueError, match=r"MORE\.md"):
        packed(tiny)


def test_every_link_leads_somewhere_in_a_package_and_in_the_repository(staged: Callable[[str], Path]) -> None:
    for folder in (*map(staged, bundle_names()), ROOT / "docs", ROOT / "bundles"):
        for page in folder.rglob("*.md"):
            for link in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
                assert "://" in link or (page.parent / link).exists(), page


def test_a_bundle_packaged_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bundle_names()[0]
    bundle = find_bundle(name)
    first = build_package(bundle, tmp_path / "first")
    copy = tmp_path / "elsewhere" / name
    shutil.copytree(bundle, copy)
    for folder in ("common", "docs"):
        shutil.copytree(ROOT / folder, copy.parent / folder)
    shutil.copy(ROOT / "LICENSE", copy.parent)
    for path in copy.parent.rglob("*"):
        os.utime(path, (1_000_000_000, 1_100_000_000))
        path.chmod(0o700)
    monkeypatch.chdir(copy.parent)
    before = os.umask(0o077)
    try:
        second = build_package(Path(name), Path("second"), common=Path("common"))
    finally:
        os.umask(before)
    assert second.path.read_bytes() == first.path.read_bytes()
    assert (second.sha256, second.files) == (first.sha256, first.files)


def changed(**metadata: object) -> dict[str, str]:
    return {"configs/metadata.json": json.dumps({**METADATA, **metadata})}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (changed(version="1.3.0"), "expected the newest version of `changelog`, 1.2.0, .* got '1.3.0'"),
        (changed(changelog=["1.2.0"]), "expected the newest version of `changelog`"),
        (changed(version="../1", changelog={"../1": ""}), "expected the newest version of `changelog`, None"),
        ({"configs/metadata.json": "["}, "expected a JSON file"),
        ({"models/model.pt": 2000 * "x"}, "model.pt: 0.0 MB, .* expected --large-files URL"),
    ],
)
def test_what_a_bundle_lacks_is_said_in_one_line(tiny: Path, files: dict[str, str], message: str) -> None:
    write(tiny, files)
    before = contents(tiny.parent)
    with pytest.raises(ValueError, match=message) as error:
        packed(tiny, limit=1000)
    assert "\n" not in str(error.value)
    assert contents(tiny.parent) == before
    assert not (tiny.parent / "dist").exists()


@pytest.mark.parametrize("missing", ["tiny/LICENSE", "LICENSE"])
def test_no_bundle_goes_out_without_licences(tiny: Path, missing: str) -> None:
    (tiny.parent / missing).unlink()
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        packed(tiny)
    assert not (tiny.parent / "dist").exists()


@pytest.mark.parametrize("name", ["tiny_v2_reconstruction", "tiny reconstruction", "Tiny"])
def test_names_that_cannot_be_parted_from_a_version_are_refused(tiny: Path, name: str) -> None:
    with pytest.raises(ValueError, match="without _v<digit>"):
        packed(tiny.rename(tiny.parent / name))


def test_large_files_are_set_apart_and_come_back_through_monai(tiny: Path) -> None:
    from monai.apps.utils import HashCheckError
    from monai.bundle import download_large_files

    write(tiny, {"docs/large figure.png": 2000 * "p", "models/model.pt": 3000 * "w"})
    store = tiny.parent / "store"
    made = build_package(tiny, tiny.parent / "dist", f"{store.as_uri()}/", common=tiny.parent / "common", limit=1000)
    apart = tiny.parent / "dist" / "tiny_v1.2.0_large_files"
    assert made.large_files == (apart / "docs" / "large figure.png", apart / "models" / "model.pt")
    assert set(made.files) == {*FILES, "large_files.yml"} - {"models/model.pt"}
    shutil.copytree(apart, store)
    root = unpack(made.path, tiny.parent / "there")
    assert f"url: {store.as_uri()}/docs/large%20figure.png" in (root / "large_files.yml").read_text(encoding="utf-8")
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert "pyyaml" in metadata["required_packages_version"]
    download_large_files(bundle_path=str(root))
    for name in ("docs/large figure.png", "models/model.pt"):
        assert (root / name).read_bytes() == (tiny / name).read_bytes()
    (root / "models" / "model.pt").unlink()
    (store / "models" / "model.pt").write_text(3000 * "x")
    with pytest.raises(HashCheckError, match="hash check"):
        download_large_files(bundle_path=str(root))
    assert not (root / "models" / "model.pt").exists()
    write(tiny, {"docs/large figure.png": "small", "models/model.pt": "small"})
    assert "models/model.pt" in packed(tiny, limit=1000)
    assert not apart.exists()  # those of an older package do not stay


def test_a_pull_request_takes_files_up_to_one_megabyte(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tiny, {"models/model.pt": 2**20 * "w", "models/model_large.pt": (2**20 + 1) * "w"})
    words = ["package", str(tiny), "--out", str(tiny.parent / "dist"), "--large_files", "https://example.org/tiny"]
    assert run_commands({"package": package}, "zoo", words) == 0
    (apart,) = (tiny.parent / "dist" / "tiny_v1.2.0_large_files" / "models").iterdir()
    assert apart.name == "model_large.pt"
    assert f"to be put under https://example.org/tiny: {apart}" in capsys.readouterr().out


def test_a_unit_test_for_the_model_zoo_is_written_on_request(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["package", str(tiny), "--out", str(tiny.parent / "dist"), "--zoo_test"]
    assert run_commands({"package": package}, "zoo", words) == 1
    assert "smoke.json" in capsys.readouterr().err
    write(tiny, {"configs/smoke.json": '{"synthetic_data": "rock", "width": 2}'})
    assert run_commands({"package": package}, "zoo", words) == 0
    text = (tiny.parent / "dist" / "test_tiny.py").read_text()
    compile(text, "test_tiny.py", "exec")
    assert 'os.path.join("models", "tiny")' in text
    assert 'make_tiny_set("rock", folder)' in text


@pytest.mark.slow  # trains and infers, as the zoo's runner does, where this repository does not exist
@pytest.mark.parametrize("name", bundle_names())
def test_the_unit_test_passes_in_a_copy_of_the_zoo(name: str, staged: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).symlink_to(staged(name))
    test = write_unit_test(find_bundle(name), tmp_path)
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-S", test.name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_command_tells_what_it_wrote(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tiny, dict.fromkeys(["configs/notes.txt", "scripts/__pycache__/a.pyc", "docs/.hidden.md", "eval/a.csv"], ""))
    (tiny / "models" / "model.pt").unlink()
    words = ["package", str(tiny), "--out", str(tiny.parent / "dist")]
    assert run_commands({"package": package}, "zoo", words) == 0
    path = tiny.parent / "dist" / "tiny_v1.2.0.zip"
    checksum = path.with_name(f"{path.name}.sha256").read_text().split()[0]
    first, *rest = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"wrote {path}: \d+ files, \d+ of them of common, \d\.\d MB", first)
    assert rest == [
        f"SHA-256 {checksum}",
        "left out: configs/notes.txt",
        "without models/model.pt: the bundle is not trained yet",
    ]
    assert run_commands({"package": package}, "zoo", ["package", "no_such_bundle"]) == 1
    assert capsys.readouterr().err.startswith("error: no_such_bundle: expected the name of a bundle")
