"""`python -m tools demo`: what the shipped weights do, on a synthetic case of each bundle, on one page."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import create_workflow

from common.metrics.case import RECONSTRUCTION
from common.metrics.cases import DECIMALS, by_method, heading, label, read_cases, summaries
from common.phantoms.sets import make_set
from tools.command import command
from tools.report.command import open_run
from tools.report.page import Command, Part, Section, Table, write_page
from tools.zoo.layout import BUNDLES

METRICS = ("psnr", "ssim", "perceptual")
EVALUATE = ("inference.json", "evaluate.json")


class Example(NamedTuple):
    """One synthetic case of a bundle."""

    heading: str
    text: str
    bundle: str
    data: str
    baseline: str
    configs: Sequence[str] = ("inference.json",)
    options: Mapping[str, int] = {}


EXAMPLES = (
    Example(
        "Brain MRI from 10 % of k-space",
        "A radial mask keeps a tenth of the samples. The baseline is the inverse Fourier transform of those.",
        "brain_mri_refinegan_reconstruction",
        "brain_mri",
        "zero_filled",
    ),
    Example(
        "Beating heart from 13 spokes a frame",
        "Golden-angle spokes differ from frame to frame. View sharing, the baseline, fills each frame from its "
        "neighbours. The network keeps the measured samples.",
        "cardiac_cine_unet_reconstruction",
        "cardiac_cine",
        "view_shared",
        options={"n_slices": 1},
    ),
    Example(
        "Knee MRI at 8x, with a map of what is made up",
        "Beside the reconstruction, 8 samples all fit the measurement. Their deviation from it, the hallucination "
        "map, is large where the measurement does not decide.",
        "knee_mri_texture_gan_reconstruction",
        "knee_mri",
        "zero_filled",
        options={"n_slices": 1},
    ),
    Example(
        "MRI image, 4 times larger",
        "The weights are those of a GAN: they restore texture. A lower perceptual distance is better.",
        "ct_mri_srgan_d_super_resolution",
        "brain_mri",
        "bicubic",
        EVALUATE,
    ),
    Example(
        "Micro-CT of rock, 4 times larger",
        "Grain boundaries become sharp again, and with them pore sizes and porosity.",
        "micro_ct_srgan_super_resolution",
        "rock",
        "bicubic",
        EVALUATE,
    ),
)
NEXT = [
    Command("Train a small network in minutes.", "make demo-train"),
    Command("Find out what is in a folder, and which bundle fits.", "python -m tools data check FOLDER"),
    Command(
        "Compare bundles and classical methods on your images.",
        "python -m tools compare FOLDER --entries zero_filled,tv,brain_mri_refinegan_reconstruction",
    ),
    Command("See all commands.", "python -m tools --help"),
]


@command
def demo(out: str = "out/demo") -> str:
    """Reconstruct one synthetic case by the shipped weights of each bundle, and write OUT/report.html.

    Args:
        out: folder of data, results and the page.
    """
    folder = Path(str(out)).resolve()
    rows, sections = [], list[Section]()
    for number, example in enumerate(EXAMPLES, 1):
        _print(f"{number}/{len(EXAMPLES)}  {example.bundle}")
        results, name = _reconstruct(example, folder), label(example.baseline)
        before, after = (metric_means(results)[method] for method in (example.baseline, RECONSTRUCTION))
        _print(f"     {name} {before['psnr']:.2f} dB -> {after['psnr']:.2f} dB")
        pairs = [[f"{one[m]:.{DECIMALS[m]}f}" for one in (before, after) if m in before] for m in METRICS]
        rows.append([example.heading, name, *(" → ".join(pair) for pair in pairs)])
        with open_run(results) as run:
            images: list[Part] = [part for _, parts in run.cases() for part in parts]
        own = Command("Do the same with your own data:", _command_line(example))
        sections.append((example.heading, [example.text, images[0], own]))
    table = Table("Baseline → reconstruction", ["", "baseline", *map(heading, METRICS)], rows)
    page = write_page(
        folder / "report.html",
        "Five bundles on synthetic cases",
        [
            "The shipped weights on one synthetic case each. The cases are drawn by a program: the numbers show that "
            "the software works, not how good a method is on patients. The pages of the bundles have those."
        ],
        [("Numbers", [table]), *sections, ("How to go on", NEXT)],
    )
    return f"Open {page}"


def metric_means(folder: Path) -> dict[str, dict[str, float]]:
    """Return the mean of each metric over the cases of a run, by method, in the first protocol of its table."""
    table = read_cases(folder / "metrics.csv")
    found = summaries(table[table["protocol"] == table["protocol"].iloc[0]])
    return {method: dict(values["mean"]) for method, values in by_method(found)}


def _reconstruct(example: Example, folder: Path) -> Path:
    """Run the bundle's own inference in this process; return the folder of its results."""
    data, results = folder / "data" / example.data, folder / example.bundle
    make_set(example.data, data, n_train=0, n_valid=0, n_test=1, **example.options)
    configs = BUNDLES / example.bundle / "configs"
    overrides: dict[str, Any] = {"dataset_dir": str(data), "split": "test", "output_dir": str(results)}
    with _quiet():
        files = [str(configs / name) for name in example.configs]
        workflow = create_workflow(config_file=files, workflow_type="inference", **overrides)
        workflow.run()
        workflow.finalize()
    return results


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the tables and paths that a run logs, and MONAI's note that a configuration is code."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "parsing config_file")
            yield
    finally:
        logging.disable(disabled)


def _command_line(example: Example) -> str:
    """Return the command that reconstructs the files of a folder, from the root of the repository."""
    files = [f"bundles/{example.bundle}/configs/{name}" for name in example.configs if name != "evaluate.json"]
    config = files[0] if len(files) == 1 else f'"{files}"'
    return f"python -m monai.bundle run --config_file {config} --dataset_dir FOLDER --output_dir RESULTS"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
