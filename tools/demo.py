"""`python -m tools demo`: from nothing to a report, in the few minutes before a newcomer loses patience."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common.data.synthetic import make_brain_set
from tools.command import command
from tools.results_report import report_results

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = Path("bundles") / "brain_mri_refinegan_reconstruction"
# small enough for minutes on two CPU cores, large enough to gain several dB
NETWORK = {"width": 16, "sampling_rate": 0.2}
TRAINING = {"val_interval": 10, "epochs#pixel": 20, "epochs#refine": 10, "epochs#gan": 2}
COUNTS = {"n_train": 48, "n_valid": 6, "n_test": 12}


@command
def demo(out: str = "out/demo") -> str:
    """Make synthetic brains, train RefineGAN briefly, reconstruct unseen cases, write OUT/report.html.

    Takes minutes on two CPU cores. Run again, it goes on where it was stopped.

    Args:
        out: folder for data, weights, results and report.
    """
    folder = Path(str(out)).resolve()
    data, results = folder / "data", folder / "results"
    _say(f"1/4  synthetic brains: {COUNTS['n_train']} to train on, {COUNTS['n_test']} to reconstruct")
    make_brain_set(str(data), **COUNTS)
    _say("2/4  training")
    places = {"dataset_dir": data, "ckpt_dir": folder / "model", **NETWORK}
    _bundle("train.json", {**places, "output_dir": folder / "training", **TRAINING})
    _say("3/4  reconstructing the test cases from 20 % of their k-space")
    _bundle("inference.json", {**places, "output_dir": results, "split": "test"})
    _say("4/4  report")
    (results / "history.csv").write_bytes((folder / "training" / "history.csv").read_bytes())
    report = report_results(
        results, folder / "report.html", title="RefineGAN, a short training on synthetic brains", dataset_dir=data
    )
    return f"\nOpen {report}"


def _say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


def _bundle(config: str, overrides: dict[str, object]) -> None:
    """Run the bundle as a user would, showing the command and what its own log says."""
    arguments = ["-m", "monai.bundle", "run", "--config_file", str(BUNDLE / "configs" / config)]
    for name, value in {"bundle_root": BUNDLE, **overrides}.items():
        shown_value = os.path.relpath(ROOT / value, ROOT) if isinstance(value, Path) else value
        arguments += [f"--{name}", str(shown_value)]
    _say(f"$ python {shlex.join(arguments)}")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert process.stdout is not None  # for the type checker
    heard = []
    shown = False
    for line in process.stdout:
        heard.append(line)
        # a record of the bundle's log begins with its time; MONAI's own begin with a date
        shown = bool(re.match(r"\d\d:\d\d:\d\d ", line)) or (shown and not re.match(r"\d{4}-", line))
        if shown:
            sys.stdout.write(line)
            sys.stdout.flush()
    if process.wait() != 0:
        sys.stderr.write("".join(heard[-30:]))
        raise ValueError(f"the command above ended with status {process.returncode}")
