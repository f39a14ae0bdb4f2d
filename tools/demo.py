"""`python -m tools demo`: what the shipped weights do, in seconds, and from nothing to a report, in a few minutes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common.metrics.cases import label, read_cases
from common.phantoms.sets import make_set
from tools.command import command
from tools.comparison.bundle_runs import failure
from tools.report import report_results

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = Path("bundles") / "brain_mri_refinegan_reconstruction"
SHIPPED = {"mask_family": "radial", "sampling_rate": 0.1}
# small enough for minutes on two CPU cores, large enough to gain several dB
NETWORK = {
    "network_options#n_stages": 3,
    "network_options#widths": [16, 32],
    "network_options#memory": 8,
    "mask_family": "radial",
    "sampling_rate": 0.2,
}
TRAINING = {"val_interval": 10, "epochs#small": 10, "epochs#full": 20, "epochs#gan": 1}
COUNTS = {"n_train": 48, "n_valid": 6, "n_test": 12}


@command
def demo(out: str = "out/demo") -> str:
    """Reconstruct a synthetic brain by the shipped weights; then train briefly, and report on unseen cases.

    The first takes seconds, the rest minutes on two CPU cores. Run again, it goes on where it was stopped.

    Args:
        out: folder for data, weights, results and OUT/report.html.
    """
    folder = Path(str(out)).resolve()
    _show_shipped(folder / "shipped")
    return f"\nOpen {_train(folder)}"


def _show_shipped(folder: Path) -> None:
    """The bundle as it is: its weights, its inference, one case."""
    _say("1/5  a synthetic brain, reconstructed from 10 % of its k-space by the shipped weights")
    make_set("brain_mri", folder / "data", n_train=0, n_valid=0, n_test=1)
    _bundle(
        "inference.json", {"dataset_dir": folder / "data", "output_dir": folder / "results", "split": "test", **SHIPPED}
    )
    lines = [
        f"{label(row.method):14}  PSNR {row.psnr:.2f} dB  SSIM {row.ssim:.3f}"
        for row in read_cases(folder / "results" / "metrics.csv").itertuples()
    ]
    _say("\n".join([*lines, f"picture         {_from_root(folder / 'results' / 'panels' / '00001_0.png')}"]))


def _train(folder: Path) -> Path:
    """A training from nothing, too short for more than to show the way; returns its report."""
    data, results = folder / "data", folder / "results"
    _say(f"2/5  now from nothing: {COUNTS['n_train']} synthetic brains to train on, {COUNTS['n_test']} to reconstruct")
    make_set("brain_mri", data, **COUNTS)
    _say("3/5  training a smaller network for a few minutes")
    places = {"dataset_dir": data, "ckpt_dir": folder / "model", **NETWORK}
    _bundle("train.json", {**places, "output_dir": folder / "training", **TRAINING})
    _say("4/5  reconstructing the test cases from 20 % of their k-space")
    _bundle("inference.json", {**places, "output_dir": results, "split": "test"})
    _say("5/5  report")
    (results / "history.csv").write_bytes((folder / "training" / "history.csv").read_bytes())
    return report_results(
        results, folder / "report.html", title="A short training on synthetic brains", dataset_dir=data
    )


def _say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def _from_root(path: Path) -> str:
    """From the root of the repository, where the commands run."""
    return os.path.relpath(ROOT / path, ROOT)


def _bundle(config: str, overrides: dict[str, object]) -> None:
    """Run the bundle as a user would, showing the command and what its own log says."""
    arguments = ["-m", "monai.bundle", "run", "--config_file", str(BUNDLE / "configs" / config)]
    for name, value in {"bundle_root": BUNDLE, **overrides}.items():
        arguments += [f"--{name}", _from_root(value) if isinstance(value, Path) else str(value)]
    _say(f"$ python {shlex.join(arguments)}")
    heard: list[str] = []
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None  # for the type checker
        tell = False
        for line in process.stdout:
            heard.append(line)
            # a record of the bundle's log begins with its time; MONAI's own begin with a date
            is_record = bool(re.match(r"\d\d:\d\d:\d\d ", line))
            tell = is_record or (tell and not re.match(r"\d{4}-", line))
            if tell:
                sys.stdout.write(line)
                sys.stdout.flush()
    if process.returncode:
        raise ValueError(failure(heard, process.returncode))
