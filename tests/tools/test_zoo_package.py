"""Packages: the same bytes from anywhere, and all that a bundle needs where this repository does not exist."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.command import run_commands
from tools.zoo.archive import unpack
from tools.zoo.layout import ROOT, bundle_names, find_bundle
from tools.zoo.package import build_package, package, stage_bundle

COMMON = {
    "LICENSE": "licence of common",
    "common/__init__.py": '"""Shared."""\n',
    "common/nets/__init__.py": "from common.nets.a import A\nfrom common.nets.b import B\n\n__all__ = ['A', 'B']\n",
    "common/nets/a.py": "class A: ...\n",
    "common/nets/b.py": "import tools\n\nclass B: ...\n",
}
METADATA = {
    "version": "1.2.0",
    "changelog": {"1.2.0": "new"},
    "required_packages_version": {"fire": "0.0.1"},
    "name": "Tïny",
}
BUNDLE = {
    "LICENSE": "licence of the bundle",
    "configs/metadata.json": json.dumps(METADATA),
    "configs/inference.json": json.dumps({"network_def": {"_target_": "common.nets.A"}}),
    "configs/logging.conf": "[loggers]\n",
    "scripts/__init__.py": "",
    "scripts/deep/__init__.py": "",
    "docs/README.md": "# Tiny\n",
    "docs/figures/example.png": "png",
    "models/model.pt": 100 * "weights ",
}
COMMON_FILES = ["common/LICENSE", "common/__init__.py", "common/nets/__init__.py", "common/nets/a.py"]
STAYS = [
    "models/model.ts",
    "models/model.onnx",
    "models/older/model.pt",
    "eval/metrics.csv",
    "scripts/__pycache__/deep.cpython-311.pyc",
    "scripts/.hidden.py",
    "configs/.train.json",
    "configs/notes.txt",
    "docs/.DS_Store",
    "docs/.cache/README.md",
    "docs/draft.docx",
    ".git/config",
    "common/nets/a.py",
    "train.json",
]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny bundle; `common` lies beside it."""
    write(tmp_path, COMMON)
    write(tmp_path / "tiny", BUNDLE)
    return tmp_path / "tiny"


def packed(tiny: Path, out: str = "dist", **options: object) -> list[str]:
    return list(build_package(tiny, tiny.parent / out, common=tiny.parent / "common", **options).files)  # type: ignore


def test_a_package_holds_what_belongs_and_nothing_else(tiny: Path) -> None:
    write(tiny, dict.fromkeys(STAYS, ""))
    out = tiny.parent / "new" / "dist"
    made = build_package(tiny, out, common=tiny.parent / "common")
    assert list(made.files) == sorted([*BUNDLE, *COMMON_FILES])
    assert made.path == out / "tiny_v1.2.0.zip"
    assert made.size == made.path.stat().st_size
    assert sorted(path.name for path in out.iterdir()) == ["tiny_v1.2.0.zip", "tiny_v1.2.0.zip.sha256"]
    assert (out / "tiny_v1.2.0.zip.sha256").read_text() == f"{made.sha256}  tiny_v1.2.0.zip\n"
    root = unpack(made.path, tiny.parent / "there")
    assert root.name == "tiny"
    for name, text in {**BUNDLE, "common/LICENSE": COMMON["LICENSE"]}.items():
        assert (root / name).read_text() == text, name
    assert (root / "common" / "nets" / "__init__.py").read_text() == "from common.nets.a import A\n\n__all__ = ['A']\n"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_reads_the_checksum_file(tiny: Path) -> None:
    packed(tiny)
    subprocess.run(["sha256sum", "--check", "--strict", "tiny_v1.2.0.zip.sha256"], cwd=tiny.parent / "dist", check=True)


def test_staging_gives_the_same_tree(tiny: Path) -> None:
    packed(tiny)
    unpacked = unpack(tiny.parent / "dist" / "tiny_v1.2.0.zip", tiny.parent / "a")
    staged = stage_bundle(tiny, tiny.parent / "b" / "c", common=tiny.parent / "common")
    assert staged == tiny.parent / "b" / "c" / "tiny"
    assert contents(staged) == contents(unpacked)
    with pytest.raises(ValueError, match="is there already"):
        stage_bundle(tiny, tiny.parent / "b" / "c", common=tiny.parent / "common")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_metadata_name_the_packages_that_are_imported(tiny: Path) -> None:
    write(tiny, {"scripts/a.py": "import PIL\n\ndef read():\n    import h5py\n"})
    root = stage_bundle(tiny, tiny.parent / "staged", common=tiny.parent / "common")
    text = (root / "configs" / "metadata.json").read_text(encoding="utf-8")
    metadata = json.loads(text)
    assert metadata["required_packages_version"].keys() == {"fire", "pillow"}
    assert metadata["required_packages_version"]["fire"] == "0.0.1"
    assert metadata["optional_packages_version"].keys() == {"h5py"}
    assert '    "name": "Tïny"' in text
    assert json.loads((tiny / "configs" / "metadata.json").read_text(encoding="utf-8")) == METADATA


def test_an_untrained_bundle_without_common_can_be_packaged(tiny: Path) -> None:
    (tiny / "models" / "model.pt").unlink()
    (tiny / "configs" / "inference.json").write_text("{}")
    assert packed(tiny) == sorted(set(BUNDLE) - {"models/model.pt"})


# -- reproducible --------------------------------------------------------------------------------------------------


def test_nothing_of_the_machine_is_in_a_zip(tiny: Path) -> None:
    packed(tiny)
    with zipfile.ZipFile(tiny.parent / "dist" / "tiny_v1.2.0.zip") as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    for entry in entries:
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
        assert (entry.create_system, entry.extra, entry.compress_type) == (3, b"", zipfile.ZIP_STORED)


@pytest.mark.parametrize("name", bundle_names())
def test_a_bundle_packaged_twice_gives_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = find_bundle(name)
    first = build_package(bundle, tmp_path / "first")
    copy = tmp_path / "elsewhere" / name
    shutil.copytree(bundle, copy)
    shutil.copytree(ROOT / "common", copy.parent / "common")
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


# -- refused -------------------------------------------------------------------------------------------------------


def changed(**metadata: object) -> dict[str, str]:
    return {"configs/metadata.json": json.dumps({**METADATA, **metadata})}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (changed(version="1.3.0"), "the `changelog` has no entry for version 1.3.0"),
        (changed(changelog=["1.2.0"]), "the `changelog` has no entry for version 1.2.0"),
        (changed(required_packages_version=["fire"]), "expected an object under `required_packages_version`"),
        (changed(version=""), "expected a text under `version`"),
        (changed(version="../1", changelog={"../1": ""}), "expected a `version` such as 0.1.0, got ../1"),
        ({"configs/metadata.json": "["}, "expected a JSON file"),
        ({"configs/train.yaml": ""}, "train.yaml: configs are JSON"),
        ({"scripts/a.py": "\ud800"}, "a.py: expected UTF-8 text, got invalid continuation byte at byte 0"),
        ({"configs/train.json": '{"_target_": "common.nets.C"}'}, "configs/train.json:1: names common.nets.C"),
        ({"configs/train.json": '{"_target_": "common.nets.B"}'}, "common/nets/b.py:1: names tools, which stays"),
        ({"scripts/a.py": "import not_installed"}, "scripts/a.py:1: imports not_installed"),
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


@pytest.mark.parametrize("name", ["tiny_v2_reconstruction", "tiny reconstruction", "tïny", ".tiny"])
def test_names_that_cannot_be_parted_from_a_version_are_refused(tiny: Path, name: str) -> None:
    with pytest.raises(ValueError, match="without _v<digit>"):
        packed(tiny.rename(tiny.parent / name))


# -- large files ---------------------------------------------------------------------------------------------------


def test_large_files_are_set_apart_and_come_back_through_monai(tiny: Path) -> None:
    from monai.apps.utils import HashCheckError
    from monai.bundle import download_large_files

    write(tiny, {"docs/large figure.png": 2000 * "p", "models/model.pt": 3000 * "w"})
    store = tiny.parent / "store"
    made = build_package(tiny, tiny.parent / "dist", f"{store.as_uri()}/", common=tiny.parent / "common", limit=1000)
    apart = tiny.parent / "dist" / "tiny_v1.2.0_large_files"
    assert made.large_files == (apart / "docs" / "large figure.png", apart / "models" / "model.pt")
    assert set(made.files) == {*BUNDLE, *COMMON_FILES, "large_files.yml"} - {"models/model.pt"}
    shutil.copytree(apart, store)
    root = unpack(made.path, tiny.parent / "there")
    assert f'url: "{store.as_uri()}/docs/large%20figure.png"' in (root / "large_files.yml").read_text(encoding="utf-8")
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


def test_large_files_of_an_older_package_do_not_stay(tiny: Path) -> None:
    write(tiny, {"models/model.pt": 3000 * "w"})
    packed(tiny, large_files_url="https://example.org/tiny", limit=1000)
    write(tiny, {"models/model.pt": "small"})
    assert "models/model.pt" in packed(tiny, large_files_url="https://example.org/tiny", limit=1000)
    assert sorted(path.suffix for path in (tiny.parent / "dist").iterdir()) == [".sha256", ".zip"]


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_tells_what_it_wrote(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = {"configs/notes.txt": "", "scripts/__pycache__/a.pyc": "", "docs/.hidden.md": "", "eval/metrics.csv": ""}
    write(tiny, {"configs/inference.json": '{"_target_": "common.data.DataError"}', **left})
    (tiny / "models" / "model.pt").unlink()
    words = ["package", str(tiny), "--out", str(tiny.parent / "dist")]
    assert run_commands({"package": package}, "zoo", words) == 0
    path = tiny.parent / "dist" / "tiny_v1.2.0.zip"
    checksum = path.with_name(f"{path.name}.sha256").read_text().split()[0]
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"wrote {path}: 12 files, 4 of them of common, 0.0 MB"
    assert rest == [
        f"SHA-256 {checksum}",
        "left out: configs/notes.txt",
        "without models/model.pt: the bundle is not trained yet",
    ]
    assert run_commands({"package": package}, "zoo", ["package", "no_such_bundle"]) == 1
    assert capsys.readouterr().err.startswith("error: no_such_bundle: expected the name of a bundle")


# -- real bundles, where this repository does not exist ------------------------------------------------------------

VISIT = """
import dis, importlib, json, os, pathlib, pydoc, re, sys, types
import matplotlib.figure, monai.bundle, monai.engines, monai.handlers  # once, for both processes

def locate(name):
    assert pydoc.locate(name) is not None, f"{name} is missing"

def import_file(root, path):
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    return importlib.import_module(name.removesuffix(".__init__"))

def inner_codes(code):
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from inner_codes(constant)

def import_late(module):
    # what functions import: IMPORT_NAME follows two constants, the level and the names
    source = pathlib.Path(module.__file__).read_text(encoding="utf-8")
    for code in inner_codes(compile(source, module.__file__, "exec")):
        steps = list(dis.get_instructions(code))
        for level, names, step in zip(steps, steps[1:], steps[2:]):
            if step.opname == "IMPORT_NAME":
                name = importlib.util.resolve_name("." * level.argval + step.argval, module.__package__)
                if name.split(".")[0] == "common":
                    importlib.import_module(name)
                    for part in names.argval or ():
                        locate(f"{name}.{part}")

def loaded():
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("common", "scripts")}

def look_up_all(root):
    sys.path.insert(0, str(root))
    for config in sorted(root.glob("configs/*.json")):
        text = config.read_text(encoding="utf-8")
        for target in re.findall(r'"_target_": "((?:common|scripts)[.][^"]+)"', text):
            locate(target)
        for expression in re.findall(r'"[$]((?:[^"\\\\]|\\\\.)*)"', text):
            if expression.startswith(("from ", "import ")):
                exec(expression)
            for name in re.findall(r"(?<![\\w.])common(?:[.]\\w+)+", expression):
                locate(name)
    for script in sorted(root.glob("scripts/**/*.py")):
        import_file(root, script)
    seen = {}
    while seen.keys() != (now := loaded()).keys():
        for name in now.keys() - seen.keys():
            import_late(now[name])
        seen = now
    return seen

packaged, whole = map(pathlib.Path, sys.argv[1:])
for root in (packaged, whole):
    if os.fork():
        if os.wait()[1]:
            sys.exit(1)
        continue
    print(json.dumps({name: module.__file__ for name, module in look_up_all(root).items()}), flush=True)
    if root == packaged:
        for file in root.glob("common/**/*.py"):
            module = import_file(root, file)
            for name in getattr(module, "__all__", ()):
                getattr(module, name)
    break
"""


def python_alone(*arguments: str, cwd: Path) -> str:
    """What Python prints that has the installed packages, but neither this repository nor an editable install of it.

    Without `site` (-S), the .pth files through which that is found are not read.
    """
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-S", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_lazy(init: Path) -> None:
    """Let an `__init__` import a module only when a name of it is asked for."""
    origins = {
        alias.name: node.module
        for node in ast.parse(init.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    init.write_text(
        f"ORIGINS = {origins!r}\n\ndef __getattr__(name):\n    import importlib\n    if name not in ORIGINS:\n"
        "        raise AttributeError(name)\n    return getattr(importlib.import_module(ORIGINS[name]), name)\n"
    )


@pytest.mark.parametrize("name", bundle_names())
def test_a_package_holds_all_that_is_looked_up_and_no_more(name: str, tmp_path: Path) -> None:
    root = stage_bundle(find_bundle(name), tmp_path / "packaged")
    packaged = {file for file in contents(root) if file.startswith("common/") and file.endswith(".py")}
    # the same with the whole of common, of which Python itself takes what is asked for
    whole = tmp_path / "whole" / name
    shutil.copytree(root, whole, ignore=shutil.ignore_patterns("common", "models"))
    shutil.copytree(ROOT / "common", whole / "common", ignore=shutil.ignore_patterns("__pycache__"))
    for init in whole.glob("common/*/**/__init__.py"):
        make_lazy(init)
    printed = python_alone("-c", VISIT, str(root), str(whole), cwd=tmp_path).splitlines()[-2:]
    for folder, line in zip((root, whole), printed, strict=True):
        loaded = {Path(file).relative_to(folder).as_posix() for file in json.loads(line).values()}
        assert {file for file in loaded if file.startswith("common/")} == packaged


def test_two_versions_of_common_in_one_folder(tmp_path: Path) -> None:
    """Two packages, used one after the other: each runs with its own `common`."""
    name = "brain_mri_refinegan_reconstruction"
    changed_bundle = tmp_path / "changed" / "another_mri_reconstruction"
    shutil.copytree(find_bundle(name), changed_bundle)
    shutil.copytree(ROOT / "common", changed_bundle.parent / "common")
    shutil.copy(ROOT / "LICENSE", changed_bundle.parent)
    with open(changed_bundle.parent / "common" / "__init__.py", "a", encoding="utf-8") as file:
        file.write('__version__ = "another"\n')
    with open(changed_bundle.parent / "common" / "networks" / "light_cascade.py", "a", encoding="utf-8") as file:
        file.write("\n_f = LightCascade.forward\nLightCascade.forward = lambda self, x: 0.5 * _f(self, x)\n")
    packages = [
        build_package(find_bundle(name), tmp_path / "dist"),
        build_package(changed_bundle, tmp_path / "dist", common=changed_bundle.parent / "common"),
    ]
    lab = tmp_path / "lab"
    roots = [unpack(made.path, lab) for made in packages]
    assert sorted(path.name for path in lab.iterdir()) == ["another_mri_reconstruction", name]
    (lab / "data").mkdir()
    ramp = np.add.outer(np.arange(48), np.arange(40)).astype(np.uint8)
    Image.fromarray(ramp).save(lab / "data" / "ramp.png")
    run = """["$@evaluator.run()", "$print(__import__('common').__version__)"]"""
    errors = []
    for root in roots:
        config = f"{root.name}/configs/inference.json"
        options = [
            "--bundle_root",
            root.name,
            "--dataset_dir",
            "data",
            "--output_dir",
            f"out_{root.name}",
            "--run",
            run,
        ]
        out = python_alone("-m", "monai.bundle", "run", "--config_file", config, *options, cwd=lab)
        with open(lab / f"out_{root.name}" / "metrics.csv", encoding="utf-8") as table:
            row = next(row for row in csv.DictReader(table) if row["method"] == "reconstruction")
        errors.append((out.splitlines()[-1], float(row["psnr"])))
    (version, psnr), (another_version, another_psnr) = errors
    assert (version, another_version) != ("another", "another")
    assert another_version == "another"
    assert psnr > another_psnr + 3
