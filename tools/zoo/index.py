"""`python -m tools zoo index`: `model_info.json` of packaged bundles as the MONAI Model Zoo has it, and a page."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.io.atomic import atomic_path
from tools.command import command
from tools.zoo.archive import sha256_of
from tools.zoo.gallery import write_gallery
from tools.zoo.layout import bundle_names, bundle_version, find_bundle
from tools.zoo.package import build_package
from tools.zoo.release import Release, find_releases
from tools.zoo.serve import ADDRESS


@command
def index(*names: str, out: str = "dist", url: str = "") -> str:
    """Package bundles into a folder to share, and write its model_info.json and index.html.

    Zips of other versions that are in the folder stay, and are listed too. A bundle with files over 25 MB needs `url`,
    for they lie beside its zip.

    Args:
        names: bundles to package; none names all of this repository.
        out: folder of the zips.
        url: address where the folder will be found; default is that of `python -m tools zoo serve`.
    """
    if not isinstance(url, str) or not re.fullmatch(r"(https?://[^\s\"'<>?#]+)?", url):
        raise ValueError(f"url must be the address of a folder such as {ADDRESS}, got {url!r}")
    folder, base = Path(str(out)), url.rstrip("/")
    for bundle in [find_bundle(str(name)) for name in names or bundle_names()]:
        stem = f"{bundle.name}_v{bundle_version(bundle)}"
        zipped = folder / f"{stem}.zip"
        before = sha256_of(zipped) if zipped.is_file() else ""
        made = build_package(bundle, folder, f"{base}/{stem}_large_files" if base else "")
        note = ": replaced one of other content; raise `version` in metadata.json if that was shared"
        sys.stdout.write(f"{made.path}{note if before not in ('', made.sha256) else ''}\n")
        sys.stdout.flush()
    releases = write_index(folder, base or ADDRESS)
    n_versions = sum(len(versions) for versions in releases.values())
    return (
        f"wrote {folder / 'model_info.json'} and {folder / 'index.html'}: bundles {len(releases)}, "
        f"versions {n_versions}\n`python -m tools zoo serve {folder}` shares them"
    )


def write_index(folder: Path, url: str = ADDRESS) -> dict[str, list[Release]]:
    """Write model_info.json and index.html for the zips of a folder that will be found at a URL; return the releases.

    Raises:
        ValueError: there is no zip, or one is not as it should be; the files stay as they were.
    """
    releases = find_releases(folder)
    if not releases:
        raise ValueError(f"{folder}: expected zips such as NAME_v0.1.0.zip, got none; name a bundle to package")
    info = model_info(releases, url)
    write_gallery(folder, releases, url)
    with atomic_path(folder / "model_info.json") as temporary:
        temporary.write_text(json.dumps(info, indent=4) + "\n", encoding="utf-8")
    return releases


def model_info(releases: Mapping[str, Sequence[Release]], url: str) -> dict[str, dict[str, str | int]]:
    """Return what `monai.bundle` and the model zoo's checks read: `NAME_v<version>` to checksum (SHA-1) and source.

    Added to it: `sha256` and `size` in bytes. Older versions come first, as in the zoo.

    Raises:
        ValueError: MONAI would not find a bundle of this name, since it cuts names at `_v`.
    """
    if bad := [name for name in releases if "_v" in name]:
        raise ValueError(
            f"{bad[0]}: expected a name without `_v`, at which MONAI cuts the names of an index; rename it"
        )
    return {
        f"{release.name}_v{release.version}": {
            "checksum": release.sha1,
            "source": f"{url}/{release.file}",
            "sha256": release.sha256,
            "size": release.size,
        }
        for versions in releases.values()
        for release in reversed(versions)
    }
