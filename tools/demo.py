"""`python -m tools demo`: what the shipped weights do, on a synthetic case of each bundle, on one page."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from monai.bundle import create_workflow

from common.metrics.case import RECONSTRUCTION
from common.metrics.cases import label
from common.phantoms.sets import make_set
from tools.command import command
from tools.report import Part, metric_means, report_runs
from tools.report.page import Command

ROOT = Path(__file__).resolve().parent.parent
EVALUATE = ("inference.json", "evaluate.json")


@dataclass(frozen=True)
class Example:
    """One synthetic case of a bundle.

    Attributes:
        heading: headline of its section.
        text: what is measured and what is shown.
        bundle: name of the bundle.
        data: name of the synthetic set.
        baseline: method that the reconstruction is compared with.
        configs: configuration files that reconstruct and measure.
        options: options of the set.
    """

    heading: str
    text: str
    bundle: str
    data: str
    baseline: str
    configs: Sequence[str] = ("inference.json",)
    options: Mapping[str, int] = field(default_factory=dict)


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
        ("inference.json", "consistent.json"),
        {"n_slices": 1},
    ),
    Example(
        "Knee MRI at 8x, with a map of what is made up",
        "The reconstruction is the mean of 16 samples that all fit the measurement. Their standard deviation, the "
        "hallucination map, is large where the measurement does not decide.",
        "knee_mri_texture_gan_reconstruction",
        "knee_mri",
        "zero_filled",
        options={"n_slices": 1},
    ),
    Example(
        "MRI image, 4 times larger",
        "The weights are those of a GAN: they restore texture. A lower perceptual distance is better; SSIM prefers the "
        "blurred bicubic image.",
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


@command
def demo(out: str = "out/demo") -> str:
    """Reconstruct one synthetic case by the shipped weights of each bundle, and write OUT/report.html.

    Args:
        out: folder of data, results and the page.
    """
    folder = Path(str(out)).resolve()
    parts = []
    for number, example in enumerate(EXAMPLES, 1):
        _say(f"{number}/{len(EXAMPLES)}  {example.bundle}")
        results = _reconstruct(example, folder)
        means = metric_means(results)
        before, after = means[example.baseline]["psnr"], means[RECONSTRUCTION]["psnr"]
        _say(f"     {label(example.baseline)} {before:.2f} dB -> {after:.2f} dB")
        parts.append(Part(example.heading, example.text, results, example.baseline, _own_data(example)))
    page = report_runs(
        parts,
        folder / "report.html",
        "Five bundles on synthetic cases",
        [
            "The shipped weights on one synthetic case each. The cases are drawn by a program: the numbers show that "
            "the software works, not how good a method is on patients. The pages of the bundles have those."
        ],
        [
            Command("Train a small network in minutes.", "make demo-train"),
            Command("Find out what is in a folder, and which bundle fits.", "python -m tools data check FOLDER"),
            Command(
                "Compare bundles and classical methods on your images.",
                "python -m tools compare FOLDER --entries zero_filled,tv,brain_mri_refinegan_reconstruction",
            ),
            Command("See all commands.", "python -m tools --help"),
        ],
    )
    return f"Open {page}"


def _reconstruct(example: Example, folder: Path) -> Path:
    """Run the bundle's own inference in this process; return the folder of its results."""
    data, results = folder / "data" / example.data, folder / example.bundle
    make_set(example.data, data, n_train=0, n_valid=0, n_test=1, **example.options)
    configs = ROOT / "bundles" / example.bundle / "configs"
    with _quiet():
        workflow = create_workflow(
            config_file=[str(configs / name) for name in example.configs],
            workflow_type="inference",
            dataset_dir=str(data),
            split="test",
            output_dir=str(results),
        )
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


def _own_data(example: Example) -> str:
    """Command line that reconstructs the files of a folder, from the root of the repository."""
    files = [f"bundles/{example.bundle}/configs/{name}" for name in example.configs if name != "evaluate.json"]
    config = files[0] if len(files) == 1 else f'"{files}"'
    return f"python -m monai.bundle run --config_file {config} --dataset_dir FOLDER --output_dir RESULTS"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
