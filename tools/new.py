"""`python -m tools new`: the skeleton of a bundle, which trains, evaluates and packages as it is."""

from __future__ import annotations

import json
import keyword
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

from tools.command import command
from tools.zoo.archive import scratch_folder
from tools.zoo.layout import BUNDLES, ROOT, bundle_names, read_json
from tools.zoo.package import with_packages

TEMPLATES = Path(__file__).with_name("templates")
SHARED = TEMPLATES / "shared"
KINDS = ("reconstruction", "super_resolution")
PLACEHOLDER = "new_bundle"  # stands for the name, in the templates' texts and file names


@command
def new(name: str, kind: str, out: str = "") -> str:
    """Write the skeleton of a new bundle: configs, scripts, docs and licence, without weights.

    It trains, evaluates, infers, verifies and packages as it is. Then replace what is in scripts/ by the method, and
    what is marked "fill in". docs/CONTRIBUTING.md has the way from there.

    Args:
        name: name of the bundle, as anatomy_modality_method_task: small letters, digits and underscores.
        kind: reconstruction (k-space to image) or super_resolution (image to larger image).
        out: folder in which the bundle's own folder is made; bundles/ of the repository if empty.
    """
    folder = write_skeleton(str(name), str(kind), Path(str(out)) if out else BUNDLES)
    path = os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)
    configs = f"\"['{path}/configs/train.json','{path}/configs/smoke.json']\""
    places = f"--dataset_dir out/brains --output_dir out/{name} --ckpt_dir out/{name}"
    return "\n".join(
        [
            f"wrote {path}",
            "try it:",
            "  python -m tools data make brain_mri out/brains",
            f"  python -m monai.bundle run --config_file {configs} {places}",
            f"  python -m tools zoo verify {path}",
            f"then write the method into {path}/scripts, and what `grep -rn 'fill in' {path}` finds",
        ]
    )


def write_skeleton(name: str, kind: str, out: Path) -> Path:
    """Write a bundle's folder; it appears whole or not at all."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    _check_name(name)
    folder = out / name
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists; choose another name, or remove it")
    with scratch_folder(out) as scratch:
        for source in (SHARED, TEMPLATES / kind):
            _copy_template(source, scratch / name, name)
        shutil.copy(ROOT / "LICENSE", scratch / name)
        (scratch / name / "models").mkdir()
        _write_versions(scratch / name)
        (scratch / name).replace(folder)
    return folder


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ValueError(
            f"name must be of small letters, digits and single underscores, such as knee_mri_unet_reconstruction, "
            f"and no word of Python, got {name!r}"
        )
    if re.search(r"_v\d", name):
        raise ValueError(f"name must not hold _v and a digit, which begins the version in {name!r}_v1.zip; rename it")
    if name in bundle_names():
        raise ValueError(f"{name}: this repository has a bundle of that name; choose another")


def _copy_template(source: Path, target: Path, name: str) -> None:
    """Copy texts, with the name in place of the placeholder in them and in the names of the files."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = target / path.relative_to(source).as_posix().replace(PLACEHOLDER, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text(encoding="utf-8").replace(PLACEHOLDER, name), encoding="utf-8")


def _write_versions(bundle: Path) -> None:
    """Put the packages that the bundle needs into its metadata, in the versions that are installed here."""
    path = bundle / "configs" / "metadata.json"
    metadata = read_json(path)
    for key, package in (("monai_version", "monai"), ("pytorch_version", "torch"), ("numpy_version", "numpy")):
        metadata[key] = version(package).partition("+")[0]
    path.write_text(json.dumps(with_packages(metadata), indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
