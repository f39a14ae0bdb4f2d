"""`python -m tools zoo verify`: check that a bundle works alone, and is what the MONAI Model Zoo asks of one."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from common.phantoms.sets import make_tiny_set
from tools.command import command
from tools.zoo.archive import sha256_of, unpack
from tools.zoo.example_input import TensorFormat, example_input
from tools.zoo.export import export_bundle
from tools.zoo.export_formats import FORMATS
from tools.zoo.layout import bundle_version, find_bundle, read_json, read_metadata
from tools.zoo.package import stage_bundle
from tools.zoo.probe import Check, Doubt, Skip, run_check
from tools.zoo.probe_process import make_venv, run_group, venv_python
from tools.zoo.run_results import check_results, check_weights
from tools.zoo.static_checks import static_checks

GROUPS = ("network", "exports", "training", "inference")
SIZES = {1: ((33,), (47,)), 2: ((33, 45), (47, 35)), 3: ((17, 21, 13), (23, 19, 15))}
"""Odd sizes that networks are tried with, by the number of axes, where the metadata allow them."""
EXPORTS = {"torch.export": "pt2", "ONNX": "onnx"}
"""Formats that the network is exported to beside MONAI's own TorchScript, in a process that sees this repository."""
RESULTS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "training": ("trained", check_weights),
    "inference": ("inference", check_results),
}
"""By the name of a check, the folder in `work` that it has written, and the function that looks at it."""


@command
def verify(
    target: str, python: str = "", fresh_venv: bool = False, sha256: str = "", json: bool = False, quick: bool = False
) -> str | None:
    """Check a bundle as the MONAI Model Zoo does and beyond, in a temporary folder, without network access.

    The bundle's code runs in processes that see the unpacked bundle and nothing of this repository; torch.export and
    ONNX files are made and compared as `zoo export` does it. Verify bundles that you trust: these processes keep a
    bundle from mistakes, not from malice. Exit status 1 if a check fails.

    Args:
        target: name of a bundle in this repository, its folder, or a packaged bundle (.zip).
        python: interpreter to run the bundle's code with; default is this one.
        fresh_venv: run the bundle's code in a new virtual environment with just the packages that the metadata name.
        sha256: checksum that the zip must have.
        json: print the results as JSON.
        quick: check files and the network, without exports, training and inference.
    """
    start = perf_counter()
    target = str(target)
    options = {"python": str(python), "sha256": str(sha256)}
    report = (lambda check: None) if json else print_check
    found = verify_bundle(target, **options, fresh_venv=fresh_venv, quick=quick, report=report)
    if json:
        sys.stdout.write(f"{_as_json(target, found)}\n")
    if failed := [check.name for check in found if check.status == "fail"]:
        raise ValueError(f"{target}: {len(failed)} of {len(found)} checks failed: {', '.join(failed)}")
    counts = Counter(check.status for check in found)
    summary = (
        f"{target}: {counts['pass']} checks passed, {counts['warn']} warned, {counts['skip']} skipped "
        f"in {perf_counter() - start:.0f} s"
    )
    return None if json else summary


def print_check(check: Check) -> None:
    """Print a line about a check."""
    line = f"{check.status}  {check.name:<21} {check.seconds:6.1f} s  {check.detail}"
    sys.stdout.write(f"{line.rstrip()}\n")
    sys.stdout.flush()


def _as_json(target: str, found: list[Check]) -> str:
    passed = all(check.status != "fail" for check in found)
    checks = [{**check._asdict(), "seconds": round(check.seconds, 2)} for check in found]
    return json.dumps({"target": target, "passed": passed, "checks": checks}, indent=2)


def verify_bundle(
    target: str,
    *,
    python: str = "",
    fresh_venv: bool = False,
    sha256: str = "",
    quick: bool = False,
    report: Callable[[Check], None] = lambda check: None,
) -> list[Check]:
    """Make all checks of a bundle and return them in order; those that need what failed before are not made.

    Arguments are those of `verify`; `report` is given each check as it ends.

    Raises:
        ValueError: there is no such bundle or interpreter, or options contradict each other.
    """
    zipped = target.endswith(".zip")
    bundle = Path(target) if zipped else find_bundle(target)
    if not bundle.exists():
        raise ValueError(f"{target}: no such file; make one with `python -m tools zoo package NAME`")
    if sha256 and not zipped:
        raise ValueError(f"--sha256 is the checksum of a zip, and {target} is none; leave it out")
    if python and (fresh_venv or shutil.which(python) is None):
        raise ValueError(f"expected one Python interpreter, got {python}{' and --fresh-venv' if fresh_venv else ''}")
    found = []
    with tempfile.TemporaryDirectory(prefix="verify_") as temporary:
        work = Path(temporary).resolve()
        for check in _checks(bundle, sha256, work, python, fresh_venv, quick):
            found.append(check._replace(detail=check.detail.replace(f"{work / 'bundle'}{os.sep}", "")))
            report(found[-1])
    return found


def _unpack(bundle: Path, sha256: str, folder: Path) -> str:
    """Put the bundle into a folder, as users get it."""
    if bundle.suffix == ".zip":
        root = unpack(bundle, folder, sha256)
        expected = f"{root.name}_v{bundle_version(root)}.zip"
        if bundle.name != expected:
            raise Doubt(f"{bundle.name} holds what should be called {expected}")
        return sha256_of(bundle)
    if (bundle / "common").is_dir():  # a package that was unpacked
        return f"copied to {shutil.copytree(bundle, folder / bundle.name).name}"
    return f"packaged to {stage_bundle(bundle, folder).name}"


def _checks(bundle: Path, sha256: str, work: Path, python: str, fresh_venv: bool, quick: bool) -> Iterator[Check]:
    check = run_check("unpacking", partial(_unpack, bundle, sha256, work / "bundle"))
    yield check
    if check.status == "fail":
        return
    (folder,) = (work / "bundle").iterdir()
    for check in static_checks(folder):
        yield check
        if (check.name, check.status) == ("weights file", "fail"):
            (folder / "models" / "model.pt").unlink()  # the bundle's own code might execute it
    if fresh_venv:
        check = run_check("fresh environment", lambda: make_venv(work / "venv", read_metadata(folder)))
        yield check
        if check.status == "fail":
            return
        python = str(venv_python(work / "venv"))
    yield run_check("example input", partial(_write_examples, folder, work))
    yield run_check("tiny data", partial(_make_data, folder, work / "data"))
    for group in GROUPS[:1] if quick else GROUPS:
        for check in run_group(group, folder, work, python or sys.executable):
            yield check
            if (check.name, check.status) == ("network definition", "fail"):
                return
            if check.status == "pass" and check.name in RESULTS:
                written, look = RESULTS[check.name]
                yield run_check(f"{check.name} results", partial(look, work / written))
        if group == "exports":
            for name, file_format in EXPORTS.items():
                yield run_check(name, partial(_export, folder, work, file_format))


def _export(folder: Path, work: Path, file_format: str) -> str:
    """Check that an exported file gives the numbers of the network."""
    if missing := FORMATS[file_format].missing:
        raise Skip(f"{', '.join(missing)} not installed")
    tensor = TensorFormat.from_metadata(read_metadata(folder), "inputs")
    size = tensor.fit_size(SIZES[len(tensor.spatial_shape)][0])
    # the weights are those that the export to TorchScript used, fresh ones if the bundle has none
    report = export_bundle(folder, work / f"model.{file_format}", work / "weights.pt", file_format, size=size)
    return f"differs by {max(parity.difference for parity in report.parity):.1e}"


def _write_examples(folder: Path, work: Path) -> str:
    """Write inputs of the network, for the process that will run it."""
    tensor = TensorFormat.from_metadata(read_metadata(folder), "inputs")
    sizes = dict.fromkeys(tensor.fit_size(size) for size in SIZES[len(tensor.spatial_shape)])
    for i, size in enumerate(sizes):
        np.save(work / f"example_{i}.npy", example_input(tensor, 1, size, seed=i).numpy())
    return ", ".join("x".join(map(str, size)) for size in sizes)


def _make_data(folder: Path, data: Path) -> str:
    """Make the smallest data set of the kind that smoke.json names, and return the kind."""
    path = folder / "configs" / "smoke.json"
    name = read_json(path).get("synthetic_data") if path.is_file() else None
    if name is None:
        raise Skip("no configs/smoke.json that names `synthetic_data`")
    make_tiny_set(name, data)
    return name
