"""`python -m tools zoo package`: write a bundle as one zip that works without this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import yaml

from common.io.atomic import atomic_path
from tools.command import command
from tools.zoo.archive import scratch_folder, sha256_of
from tools.zoo.layout import ROOT, checked_version, find_bundle, read_json, read_metadata

COMMON = ROOT / "common"
LARGE_FILES = "large_files.yml"
UNIT_TEST = ROOT / "tools" / "templates" / "model_zoo_test.txt"
LARGE_FILE_BYTES = 25 * 2**20
"""Files over this size are no part of a zip: the MONAI Model Zoo refuses them."""
PULL_REQUEST_BYTES = 2**20
"""Files over this size are no part of a pull request to the Model Zoo, whose pre-commit checks refuse them."""

PACKAGES = {
    "required_packages_version": (
        *("fire", "h5py", "imagecodecs", "matplotlib", "nibabel", "pandas", "pillow", "pytorch-ignite", "scipy"),
        *("tensorboard", "tifffile", "tqdm"),
    ),
    "optional_packages_version": ("ismrmrd", "itk-io", "pydicom", "sigpy", "torchkbnufft", "zarr"),
}
"""What `common` and `python -m monai.bundle` import besides torch, numpy and monai, which have keys of their own, by
the key of metadata.json: always, or for a file format that not every user has."""

_CONTENTS = (
    "LICENSE",
    "configs/*.json",
    "configs/logging.conf",
    "scripts/**/*.py",
    *(f"docs/**/*.{kind}" for kind in ("md", "txt", "png", "jpg", "svg", "gif", "csv")),
    "models/model.pt",
    "models/model_*.pt",
    "models/vgg19_*.pt",
)
_PAGE_LINK = re.compile(r"\]\((?P<folder>\.\./\.\./\.\./docs/)?(?P<page>\w+\.md)[)#]")
"""Links of a bundle's page to pages of the repository, and of these to each other."""


class Package(NamedTuple):
    """Packaged bundle."""

    path: Path  # of the zip
    sha256: str
    files: tuple[str, ...]  # in the zip, without the top folder, sorted
    large_files: tuple[Path, ...]  # those that were left out, where they lie now


@command
def package(name: str, out: str = "dist", large_files: str = "", zoo_test: bool = False) -> str:
    """Write OUT/NAME_v<version>.zip: the bundle with the whole package `common`, and its checksum beside it.

    The same sources give the same bytes. The repository stays as it is; the metadata in the zip name the packages that
    `common` needs too.

    Args:
        name: name of a bundle in this repository, or the path of a bundle's folder.
        out: folder for the zip.
        large_files: URL of a folder. Files over 1 MB, the limit of a pull request to the Model Zoo, go to
            OUT/NAME_v<version>_large_files instead of into the zip, and its large_files.yml tells `python -m
            monai.bundle download_large_files` to get them from there. Without it the limit is 25 MB.
        zoo_test: write OUT/test_NAME.py too, a unit test for ci/unit_tests of the Model Zoo.
    """
    bundle, folder = find_bundle(str(name)), Path(str(out))
    limit = PULL_REQUEST_BYTES if large_files else LARGE_FILE_BYTES
    made = build_package(bundle, folder, str(large_files), limit=limit)
    shared = sum(file.startswith("common/") for file in made.files)
    beside = _visible(bundle, ("configs/**/*", "scripts/**/*", "docs/**/*"))
    lines = [
        f"wrote {made.path}: {len(made.files)} files, {shared} of them of common, "
        f"{made.path.stat().st_size / 2**20:.1f} MB",
        f"SHA-256 {made.sha256}",
        *([f"wrote {write_unit_test(bundle, folder)}"] if zoo_test else []),
        *(f"not in the zip, to be put under {large_files}: {path}" for path in made.large_files),
        *(f"left out: {file}" for file in beside if file not in made.files and "__pycache__" not in file),
    ]
    if "models/model.pt" not in made.files and not made.large_files:
        lines.append("without models/model.pt: the bundle is not trained yet")
    return "\n".join(lines)


def build_package(
    bundle: Path, out: Path, large_files_url: str = "", *, common: Path | None = None, limit: int = LARGE_FILE_BYTES
) -> Package:
    """Write `NAME_v<version>.zip` and `NAME_v<version>.zip.sha256` into a folder; older ones are replaced.

    Args:
        bundle: folder of the bundle.
        out: folder for the zip; made if need be.
        large_files_url: URL of the folder that files over the limit will be put into; they are written to
            `out/NAME_v<version>_large_files`, and not into the zip.
        common: the package to ship; default is that of this repository.
        limit: largest size of a file in the zip, in bytes.

    Raises:
        ValueError: the bundle lacks what it needs, or has too large a file and no URL.
    """
    stem = f"{bundle.name}_v{checked_version(bundle)}"
    large = [file for file in _visible(bundle, _CONTENTS) if (bundle / file).stat().st_size > limit]
    if large and urlsplit(large_files_url).scheme not in ("http", "https", "ftp", "file"):
        raise ValueError(
            f"{bundle / large[0]}: {(bundle / large[0]).stat().st_size / 2**20:.1f} MB, and a zip takes files up to "
            f"{limit / 2**20:.1f} MB; expected --large-files URL, the folder that it can be downloaded from, got "
            f"{large_files_url!r}"
        )
    path, apart = out / f"{stem}.zip", out / f"{stem}_large_files"
    with scratch_folder(out) as scratch:
        root = _stage(bundle, scratch, common or COMMON, ("pyyaml",) if large else ())
        _set_apart(root, large, scratch / apart.name, large_files_url)
        files = _write_zip(root, scratch / path.name)
        shutil.rmtree(apart, ignore_errors=True)
        if large:
            os.replace(scratch / apart.name, apart)
        os.replace(scratch / path.name, path)
    checksum = sha256_of(path)
    with atomic_path(path.with_name(f"{path.name}.sha256")) as beside:
        beside.write_text(f"{checksum}  {path.name}\n", encoding="utf-8")
    return Package(path, checksum, files, tuple(apart / file for file in large))


def stage_bundle(bundle: Path, folder: Path, *, common: Path | None = None) -> Path:
    """Write what a package holds, large files too, as `folder/NAME`, and return it; it appears whole or not at all.

    Raises:
        ValueError: the bundle lacks what it needs, or the folder is there already.
    """
    target = folder / bundle.name
    if target.exists():
        raise ValueError(f"{target} is there already; remove it or choose another folder")
    checked_version(bundle)
    with scratch_folder(folder) as scratch:
        return _stage(bundle, scratch, common or COMMON).rename(target)


def with_packages(metadata: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """Return metadata that name these packages too, and more required ones.

    The version that the metadata name for a package stays; otherwise it is the installed one.
    """
    lists = {}
    for key, names in PACKAGES.items():
        found = dict(metadata.get(key, {}))
        for name in (*names, *more) if key == "required_packages_version" else names:
            with suppress(PackageNotFoundError):
                found.setdefault(name, version(name).partition("+")[0])
        lists[key] = dict(sorted(found.items()))
    return {**metadata, **lists}


def write_unit_test(bundle: Path, out: Path) -> Path:
    """Write `test_<bundle>.py`, which trains a shrunken network on synthetic files and infers with it; return its path.

    Raises:
        ValueError: configs/smoke.json names no synthetic set that the test can make.
    """
    from common.phantoms.sets import SETS  # takes seconds

    path = bundle / "configs" / "smoke.json"
    data = read_json(path).get("synthetic_data")
    if data not in SETS:
        raise ValueError(f"{path}: expected `synthetic_data` of {', '.join(SETS)}, got {data!r}")
    title = "".join(word.capitalize() for word in bundle.name.split("_"))
    text = Template(UNIT_TEST.read_text(encoding="utf-8")).substitute(name=bundle.name, title=title, data=data)
    target = out / f"test_{bundle.name}.py"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def _visible(folder: Path, patterns: Sequence[str]) -> list[str]:
    found = {path.relative_to(folder) for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def _stage(bundle: Path, folder: Path, common: Path, packages: Sequence[str] = ()) -> Path:
    """Write the tree of the package into a folder, with these packages in its metadata; returns its root."""
    root = folder / bundle.name
    sources = {file: bundle / file for file in _visible(bundle, _CONTENTS)}
    sources |= {f"common/{file}": common / file for file in _visible(common, ("**/*.py",))}
    sources |= {"LICENSE": bundle / "LICENSE", "common/LICENSE": common.parent / "LICENSE"}
    for file, source in sources.items():
        if not source.is_file():
            raise ValueError(f"{source} is missing, and no bundle goes out without it; add it")
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / file)
    _add_linked_pages(root / "docs", common.parent / "docs")
    metadata = json.dumps(with_packages(read_metadata(bundle), *packages), indent=4, ensure_ascii=False)
    (root / "configs" / "metadata.json").write_bytes(f"{metadata}\n".encode())
    return root


def _add_linked_pages(docs: Path, shared: Path) -> None:
    """Copy the pages of the repository that a bundle's page links to, and those that they link to."""
    readme = docs / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    wanted = [found["page"] for found in _PAGE_LINK.finditer(text) if found["folder"]]
    for name in wanted:  # grows
        if not (shared / name).is_file():
            raise ValueError(f"{shared / name}: no such page, but documentation links to it; correct the link")
        shutil.copyfile(shared / name, docs / name)
        linked = _PAGE_LINK.finditer((docs / name).read_text(encoding="utf-8"))
        wanted += [page for page in dict.fromkeys(found["page"] for found in linked) if page not in wanted]
    if wanted:
        readme.write_bytes(_PAGE_LINK.sub(lambda found: found[0].replace(found["folder"] or "", ""), text).encode())


def _set_apart(root: Path, files: Sequence[str], folder: Path, url: str) -> None:
    """Move large files out of the tree, and list them in `large_files.yml`, which MONAI reads."""
    entries = []
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(root / file, folder / file)
        hashes = {"hash_val": sha256_of(folder / file), "hash_type": "sha256"}
        entries.append({"path": file, "url": f"{url.rstrip('/')}/{quote(file)}", **hashes})
    if entries:
        (root / LARGE_FILES).write_bytes(yaml.safe_dump({"large_files": entries}, sort_keys=False).encode())


def _write_zip(root: Path, path: Path) -> tuple[str, ...]:
    """Zip a tree so that the same files give the same bytes: nothing of the machine, the day or the folder is in it.

    Files are stored, not deflated: compressors differ in their output, and weights do not shrink (by 9 %).
    """
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(f"{root.name}/{file}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whose permissions follow
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, (root / file).read_bytes())
    return tuple(files)
