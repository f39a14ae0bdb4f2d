"""The command `python -m tools run FILE`."""

from __future__ import annotations

import math
from pathlib import Path

from tools.command import command
from tools.run.job import Job, check_unchanged
from tools.run.mail import Mailer, read_mail_file
from tools.run.reader import read_task_list
from tools.run.records import Records, locked
from tools.run.status import interruptible, write_line
from tools.run.task_list import TaskList


@command
def run(
    file: str,
    hours: float | None = None,
    data: str = "",
    out: str = "",
    only: str | tuple[str, ...] = "",
    mail: str = "",
    shipped: bool = False,
    check: bool = False,
    install: bool = False,
) -> str | None:
    """Run the tasks of FILE one after another, resume where they were stopped, rank the finished ones.

    FILE is a list of trainings and predictions, or a bundle's recipe; docs/TASKS.md has its keys. A task that fails is
    reported and passed over. The same command again leaves out what is done, resumes runs that were stopped, and tries
    again what failed. Exit status 0 if no task failed, also at the time limit; 1 if one failed.

    Args:
        file: YAML or JSON file, such as bundles/NAME/recipe.yaml.
        hours: time limit of this call; the current run saves its state and is ended.
        data: folder of data sets by name; synthetic ones that it does not have are made in the output folder.
        out: folder for the results, instead of the `output_dir` of FILE.
        only: names of the tasks to do, separated by commas; all if empty.
        mail: YAML file of the e-mail server: `host`, `port`, `security` (none, starttls, ssl), `user`, `sender`,
            `recipients`; or RECON_SMTP_HOST ... in the environment, where alone RECON_SMTP_PASSWORD is read.
        shipped: leave out trainings and predict with the weights that the bundle ships.
        check: only read the files, and say what would be run.
        install: copy packed weights of finished trainings into the bundle.
    """
    if hours is not None and (isinstance(hours, bool) or not isinstance(hours, int | float) or not hours > 0):
        raise ValueError(f"--hours: expected a number above 0, got {hours!r}; 0.5 is half an hour")
    settings = read_mail_file(Path(str(mail))) if mail else {}
    job = read_task_list(
        Path(str(file)),
        out=Path(str(out)) if out else None,
        data=Path(str(data)) if data else None,
        only=[str(name).strip() for name in (only if isinstance(only, tuple | list) else str(only).split(",")) if name],
        shipped=shipped,
        mail_by_default=bool(mail),
    )
    if not job.selected:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in job.left_out.items())
        raise ValueError(f"{file}: no task can be done: {reasons or 'none predicts with shipped weights'}")
    if check:
        return _checked(job)
    wanted = job.mail or any(task.mail for task in job.selected)
    run_list(job, Mailer.open(settings) if wanted else None, math.inf if hours is None else hours, install)
    return None


def run_list(job: TaskList, mailer: Mailer | None = None, hours: float = math.inf, install: bool = False) -> None:
    """Do what is not done of a list, rank what is, and pack the weights that it yields.

    Args:
        job: the list.
        mailer: mailer for notices; None for none.
        hours: time limit.
        install: True to copy packed weights of finished trainings into the bundle.

    Raises:
        ValueError: a task failed; or, before anything runs, another process works in the folder, or a training was done
            with another definition.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP came; the current run was ended and can be resumed.
    """
    with locked(job.output_dir) as lock, interruptible():
        work = Job(job, mailer or Mailer(None), lock, hours)
        try:
            work.run()
        finally:
            refused = _pack(work, install) if any(task.yields for task in job.tasks) else []
    if refused:
        raise ValueError("; ".join(refused))


def _checked(job: TaskList) -> str:
    if (job.output_dir / Records.FILE).is_file():
        check_unchanged(job, Records(job.output_dir))
    lines = [data_set.describe() for data_set in job.data.values()]
    lines += [line for task in job.selected for line in task.describe()]
    lines += [f"{name}: left out, {reason}" for name, reason in job.left_out.items()]
    lines += [f"copy: {target} of {path.parents[1].name}" for target, path in job.copies.items()]
    return "\n".join([*lines, f"into {job.output_dir}"])


def _pack(work: Job, installs: bool) -> list[str]:
    """Pack the weights; return a line for each file that was refused."""
    from tools.run import packing  # takes PyTorch's seconds and memory, here for as long as a training runs

    packed = packing.pack(work)
    write_line("\n".join(packed.describe()))
    if installs:
        write_line("\n".join(packing.install(packed, work.job.tasks[0].bundle)))
    return packed.refused
