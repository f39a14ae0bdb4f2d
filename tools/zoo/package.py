"""`python -m tools zoo package`: write a bundle as one zip that works without this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from common.io.atomic import atomic_path
from tools.command import command
from tools.zoo.archive import scratch_folder, sha256_of
from tools.zoo.layout import bundle_version, find_bundle, read_json
from tools.zoo.model_zoo import write_unit_test
from tools.zoo.requirements import COMMON, REQUIRED, with_packages

LARGE_FILE_BYTES = 25 * 2**20
"""Files over this size are no part of a zip: the MONAI Model Zoo refuses them."""
PULL_REQUEST_BYTES = 2**20
"""Files over this size are no part of a pull request to the Model Zoo, whose pre-commit checks refuse them."""

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


@dataclass(frozen=True)
class Package:
    """Packaged bundle.

    Args:
        path: path of the zip.
        sha256: checksum of the zip.
        size: size in bytes.
        files: paths of its files without the top folder, sorted.
        large_files: files that were left out, where they lie now.
    """

    path: Path
    sha256: str
    size: int
    files: tuple[str, ...]
    large_files: tuple[Path, ...] = ()


@command
def package(name: str, out: str = "dist", large_files: str = "", zoo_test: bool = False) -> str:
    """Write OUT/NAME_v<version>.zip: the bundle with the whole package `common`, and its checksum beside it.

    The same sources give the same bytes. The repository stays as it is; the packages that the zip's metadata name
    follow from what the bundle and `common` import.

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
    lines = [
        f"wrote {made.path}: {len(made.files)} files, {shared} of them of common, {made.size / 2**20:.1f} MB",
        f"SHA-256 {made.sha256}",
        *([f"wrote {write_unit_test(bundle, folder)}"] if zoo_test else []),
        *(f"not in the zip, to be put under {large_files}: {path}" for path in made.large_files),
        *(f"left out: {file}" for file in left_files(bundle)),
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
    common = common or COMMON
    stem = f"{bundle.name}_v{_checked_version(bundle, common)}"
    large = [file for file in own_files(bundle) if (bundle / file).stat().st_size > limit]
    if large:
        _check_url(bundle / large[0], large_files_url, limit)
    path, large_folder = out / f"{stem}.zip", out / f"{stem}_large_files"
    with scratch_folder(out) as scratch:
        root = _stage(bundle, scratch, common)
        _set_apart(root, large, scratch / large_folder.name, large_files_url)
        files = _write_zip(root, scratch / path.name)
        shutil.rmtree(large_folder, ignore_errors=True)
        if large:
            os.replace(scratch / large_folder.name, large_folder)
        os.replace(scratch / path.name, path)
    checksum = sha256_of(path)
    with atomic_path(path.with_name(f"{path.name}.sha256")) as beside:
        beside.write_text(f"{checksum}  {path.name}\n", encoding="utf-8")
    return Package(path, checksum, path.stat().st_size, files, tuple(large_folder / file for file in large))


def stage_bundle(bundle: Path, folder: Path, *, common: Path | None = None) -> Path:
    """Write what a package holds, large files too, as a folder; it appears whole or not at all.

    Args:
        bundle: folder of the bundle.
        folder: folder into which the new folder is written; it is made if it does not exist.
        common: the package to ship; default is that of this repository.

    Returns:
        The new folder, `folder/NAME`.

    Raises:
        ValueError: the bundle lacks what it needs, or the folder is there already.
    """
    target = folder / bundle.name
    if target.exists():
        raise ValueError(f"{target} is there already; remove it or choose another folder")
    common = common or COMMON
    _checked_version(bundle, common)
    with scratch_folder(folder) as scratch:
        _stage(bundle, scratch, common).rename(target)
    return target


def own_files(bundle: Path) -> list[str]:
    """Return the files that belong to a bundle, by their path in it, sorted; never hidden ones."""
    return _visible(bundle, _CONTENTS)


def left_files(bundle: Path) -> list[str]:
    """Return files beside those that belong to a bundle, of which someone may think that they do."""
    beside = _visible(bundle, ("configs/**/*", "scripts/**/*", "docs/**/*"))
    return [file for file in beside if file not in own_files(bundle) and "__pycache__" not in file]


def _visible(folder: Path, patterns: Sequence[str]) -> list[str]:
    found = {path.relative_to(folder) for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def _checked_version(bundle: Path, common: Path) -> str:
    """Return the version of a bundle that is fit to be packaged."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", bundle.name) or re.search(r"_v\d", bundle.name):
        raise ValueError(
            f"{bundle}: expected a name of letters, digits, _ and - without _v<digit>, as <name>_v<version> is parted "
            "there; rename the folder"
        )
    number, path = bundle_version(bundle), bundle / "configs" / "metadata.json"
    if not re.fullmatch(r"\d[0-9A-Za-z.+-]*", number):
        raise ValueError(f"{path}: expected a `version` such as 0.1.0, got {number}; correct it")
    changelog = read_json(path).get("changelog")
    if not isinstance(changelog, dict) or number not in changelog:
        raise ValueError(f"{path}: the `changelog` has no entry for version {number}; add what is new in it")
    if unread := sorted(bundle.glob("configs/*.y*ml")):
        raise ValueError(f"{unread[0]}: configs are JSON in this collection; write it as {unread[0].stem}.json")
    for licence in (bundle / "LICENSE", common.parent / "LICENSE"):
        if not licence.is_file():
            raise ValueError(f"{licence} is missing, and no bundle goes out without it; add it")
    return number


def _stage(bundle: Path, folder: Path, common: Path) -> Path:
    """Write the tree of the package into a folder; returns its root."""
    root = folder / bundle.name
    sources = {file: bundle / file for file in own_files(bundle)}
    sources |= {f"common/{file}": common / file for file in _visible(common, ("**/*.py",))}
    sources["common/LICENSE"] = common.parent / "LICENSE"
    for file, source in sources.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / file)
    _add_linked_pages(root / "docs", common.parent / "docs")
    path = root / "configs" / "metadata.json"
    _rewrite(path, with_packages(read_json(path), bundle, common))
    return root


def _add_linked_pages(docs: Path, shared: Path) -> None:
    """Copy the pages of the repository that a bundle's page links to, and those that they link to.

    Args:
        docs: folder `docs` of the package. Links of its README.md then name the copies.
        shared: folder of the repository's pages.

    Raises:
        ValueError: a page is missing.
    """
    readme = docs / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    wanted = [found["page"] for found in _PAGE_LINK.finditer(text) if found["folder"]]
    if not wanted:
        return
    for name in wanted:  # grows
        if not (shared / name).is_file():
            raise ValueError(f"{shared / name}: no such page, but documentation links to it; correct the link")
        shutil.copyfile(shared / name, docs / name)
        linked = _PAGE_LINK.finditer((docs / name).read_text(encoding="utf-8"))
        wanted += [page for page in dict.fromkeys(found["page"] for found in linked) if page not in wanted]
    readme.write_bytes(_PAGE_LINK.sub(lambda found: found[0].replace(found["folder"] or "", ""), text).encode())


def _rewrite(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file if its content changes."""
    if content != read_json(path):
        path.write_bytes(f"{json.dumps(content, indent=4, ensure_ascii=False)}\n".encode())


def _check_url(file: Path, url: str, limit: int) -> None:
    if urlsplit(url).scheme not in ("http", "https", "ftp", "file"):
        raise ValueError(
            f"{file}: {file.stat().st_size / 2**20:.1f} MB, and a zip takes files up to {limit / 2**20:.1f} MB; "
            f"expected --large-files URL, the folder that it can be downloaded from, got {url!r}"
        )


def _set_apart(root: Path, files: Sequence[str], folder: Path, url: str) -> None:
    """Move large files out of the tree, and list them in `large_files.yml`, which MONAI reads with PyYAML."""
    if not files:
        return
    lines = ["large_files:"]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(root / file, folder / file)
        lines += [
            f'- path: "{file}"',
            f'  url: "{url.rstrip("/")}/{quote(file)}"',
            f'  hash_val: "{sha256_of(folder / file)}"',
            '  hash_type: "sha256"',
        ]
    (root / "large_files.yml").write_bytes("\n".join([*lines, ""]).encode())
    path = root / "configs" / "metadata.json"
    metadata = read_json(path)
    _rewrite(path, {**metadata, REQUIRED: {**metadata[REQUIRED], "pyyaml": version("pyyaml")}})


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
