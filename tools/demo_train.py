"""`python -m tools demo_train`: from no data to a trained network and a report, in a few minutes."""

from __future__ import annotations

from pathlib import Path

from tools.command import command
from tools.report.command import report_results
from tools.run.command import run_list
from tools.run.reader import read_task_list

LIST = Path(__file__).with_suffix(".yaml")


@command
def demo_train(out: str = "out/demo_train") -> str:
    """Train a small network on synthetic brains for a few minutes, and report on brains that it has not seen.

    Run the same command again to resume.

    Args:
        out: folder of data, weights, results and OUT/report.html.
    """
    folder = Path(str(out)).resolve()
    job = read_task_list(LIST, out=folder)
    run_list(job)
    (task,) = job.tasks
    title = "A short training on synthetic brains"
    page = report_results(task.folder, folder / "report.html", title=title, dataset_dir=folder / "data" / "brains")
    return f"\nOpen {page}"
