"""`python -m tools demo_train`: from no data to a trained network and a report, in a few minutes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common.phantoms.sets import make_set
from tools.command import command
from tools.comparison.bundle_runs import failure
from tools.report import report_results

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = Path("bundles") / "brain_mri_refinegan_reconstruction"
# small enough for minutes on two CPU cores, large enough to gain several dB
NETWORK = {
    "network_options#n_stages": 3,
    "network_options#widths": [16, 32],
    "network_options#memory": 8,
    "mask_family": "radial",
    "sampling_rate": 0.2,
}
TRAINING = {"val_interval": 2, "epochs#small": 6, "epochs#full": 10, "epochs#gan": 1}
COUNTS = {"n_train": 48, "n_valid": 6, "n_test": 12}


@command
def demo_train(out: str = "out/demo_train") -> str:
    """Train a small network on synthetic brains for a few minutes, and report on brains that it has not seen.

    Run the same command again to resume.

    Args:
        out: folder of data, weights, results and OUT/report.html.
    """
    folder = Path(str(out)).resolve()
    data, results = folder / "data", folder / "results"
    _say(f"1/4  draw {COUNTS['n_train']} synthetic brains to train on and {COUNTS['n_test']} to reconstruct")
    make_set("brain_mri", data, **COUNTS)
    _say("2/4  train a small network")
    places = {"dataset_dir": data, "ckpt_dir": folder / "model", **NETWORK}
    _bundle("train.json", {**places, "output_dir": folder / "training", **TRAINING})
    _say("3/4  reconstruct the test cases from 20 % of their k-space")
    _bundle("inference.json", {**places, "output_dir": results, "split": "test"})
    _say("4/4  write the report")
    (results / "history.csv").write_bytes((folder / "training" / "history.csv").read_bytes())
    page = report_results(
        results, folder / "report.html", title="A short training on synthetic brains", dataset_dir=data
    )
    return f"\nOpen {page}"


def _say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def _from_root(path: Path) -> str:
    """Return the path relative to the root of the repository, where the commands run."""
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
