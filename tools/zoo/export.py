"""`python -m tools zoo export`: write a bundle's network to one file that runs without it, and compare the two."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common.io.atomic import atomic_path
from common.networks.weights import read_weights
from tools.command import command
from tools.zoo.archive import unpack
from tools.zoo.export_formats import FORMATS
from tools.zoo.export_worker import RUNS, Report, export_network, prepare_process
from tools.zoo.layout import bundle_version, find_bundle
from tools.zoo.triton import check_format, model_config, write_model

LIMIT, HALF_LIMIT = 1e-3, 1e-2
"""Largest difference between file and network, relative to the largest output, with which a file is kept."""


@command
def export(
    name: str,
    format: str = "ts",
    fp16: bool = False,
    dynamic: bool = False,
    size: int | Sequence[int] = (),
    out: str = "",
    checkpoint: str = "",
    triton: str = "",
    compare: bool = False,
) -> str:
    """Write a bundle's network with its weights, metadata and configs to one file, and compare the two.

    The file is loaded and run. It is kept if its output differs from that of the network in float32 by at most 1e-3 of
    the largest output value, with --fp16 by 1e-2.

    Args:
        name: name of a bundle in this repository, or the path of a bundle's folder or of a packaged zip.
        format: ts (TorchScript), pt2 (torch.export) or onnx (needs the extra `export`, runs in ONNX Runtime).
        fp16: store the weights of convolutions and linear layers in half precision (onnx: those of more than 8192
            numbers), about half the file. Input, output and all computing stay float32, which Fourier transforms and
            data consistency need.
        dynamic: let batch, height and width be free where the metadata allow it, and compare at three sizes. Without
            it pt2 and onnx take one sample of the one size; TorchScript is as free, but compared at that size only.
        size: HEIGHT,WIDTH of the example, or one number for all axes; 256 where the metadata leave it free, 64 in
            volumes.
        out: file, or folder for model.ts, model_fp16.ts and so on; default is models/ of the bundle, for a zip here.
        checkpoint: the weights; default is models/model.pt of the bundle.
        triton: folder of a Triton model repository (ts and onnx) that gets the model with its config.pbtxt; another
            file is written only if `out` is given too.
        compare: time the network in TorchScript, ONNX Runtime and OpenVINO too, as far as they are installed.
    """
    file_format, sizes = str(format), [*size] if isinstance(size, Sequence) else [size]
    if file_format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {file_format!r}")
    for option, value in {"fp16": fp16, "dynamic": dynamic, "compare": compare}.items():
        if not isinstance(value, bool):
            raise ValueError(
                f"--{option} is a switch and takes no value, got {value!r}; put it last or give --{option}=true"
            )
    if not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(f"--size must be positive integers such as 256 or 320,256, got {size!r}")
    if triton:
        check_format(file_format)
    if missing := FORMATS[file_format].missing:
        raise ValueError(f"--format {file_format} needs {', '.join(missing)}: pip install 'recon-bundles[export]'")
    with tempfile.TemporaryDirectory() as temporary:
        scratch, zipped = Path(temporary), str(name).endswith(".zip")
        bundle = find_bundle(str(unpack(Path(str(name)), scratch / "unpacked") if zipped else name))
        file = scratch / f"model{'_fp16' if fp16 else ''}{FORMATS[file_format].suffix}"
        target = _target(str(out), Path() if zipped else bundle / "models", file.name)
        title = f"{bundle.name} {bundle_version(bundle)}, {FORMATS[file_format].title}"
        sys.stdout.write(f"exporting {title}; large networks take a minute with --dynamic\n")
        sys.stdout.flush()
        weights = Path(str(checkpoint)) if checkpoint else bundle / "models" / "model.pt"
        options: dict[str, Any] = {"half": fp16, "dynamic": dynamic, "compare": compare}
        report = export_bundle(bundle, file, weights, file_format, size=sizes, **options)
        places = []
        if triton:
            config = model_config(bundle.name, file_format, report.image, report.pred, title)
            places.append(write_model(Path(str(triton)), bundle.name, file_format, file, config))
        if out or not triton:
            with atomic_path(target) as beside:
                shutil.copyfile(file, beside)
            places.append(target)
        size_mb = f"{file.stat().st_size / 1e6:.1f} MB"
        return "\n".join([*_described(report), *(f"wrote {place}, {size_mb}" for place in places)])


def export_bundle(bundle: Path, file: Path, weights: Path, file_format: str, **options: Any) -> Report:
    """Run `export_network` in a process of its own, whose `common` is that of a packaged bundle, and return its report.

    Raises:
        ValueError: in one line, if there are no such weights, the export fails, or the file differs too much.
    """
    places = (bundle.resolve(), file.resolve(), weights.resolve())
    new_process: dict[str, Any] = {"mp_context": get_context("spawn"), "initializer": prepare_process}
    try:
        read_weights(weights)  # checked here, because a bundle's own `common` may not know checksums
        with ProcessPoolExecutor(1, initargs=(str(places[0]),), **new_process) as executor:
            report = executor.submit(export_network, *places, file_format, **options).result()
    except BrokenProcessPool:
        raise ValueError(f"{bundle.name}: the process of the export ended before it was done") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{bundle.name}: {' '.join(str(error).split())}") from None
    limit = HALF_LIMIT if options.get("half") else LIMIT
    for parity in report.parity:
        if not parity.difference <= limit:  # nor if it is no number
            raise ValueError(
                f"{bundle.name}: the exported file differs from the network by {parity.difference:.1e} of its largest "
                f"output at {_by(parity.input_shape)}, expected at most {limit:g}; it was not kept"
            )
    return report


def _target(out: str, folder: Path, name: str) -> Path:
    """Return the file to write: `out` if it is a file, else one of that name in `out`, or in the default folder.

    Raises:
        ValueError: if `out` has the suffix of something else.
    """
    path = Path(out) if out else folder
    if path.is_dir() or out.endswith("/") or not path.suffix:
        return path / name
    if path.suffix != Path(name).suffix:
        raise ValueError(f"--out {out}: expected a folder or a file that ends in {Path(name).suffix}")
    return path


def _described(report: Report) -> Iterator[str]:
    for side, array in (("input ", report.image), ("output", report.pred)):
        yield f"{side} {array.name}, float32, {_by(array.dims)}"
    if report.half:
        yield f"{100 * report.half:.1f} % of the parameters are in layers stored in half precision"
    yield "largest difference from the network in float32, relative to its largest output:"
    for parity in report.parity:
        yield f"  {parity.difference:.1e} at {_by(parity.input_shape)}"
    yield f"time at the first of these sizes, median of {RUNS} runs:"
    for runtime, milliseconds, difference in report.timings:
        wrong = "" if difference <= (HALF_LIMIT if report.half else LIMIT) else ": wrong, do not use it"
        yield f"  {runtime:<20} {milliseconds:8.1f} ms, differs by {difference:.1e}{wrong}"


def _by(shape: Sequence[int]) -> str:
    return " x ".join("any" if n == -1 else str(n) for n in shape)
