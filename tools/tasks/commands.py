"""The command `python -m tools tasks FILE.yaml`."""

from __future__ import annotations

import json
from pathlib import Path

from tools.command import command
from tools.tasks.job import run_list
from tools.tasks.mail import Mailer, read_mail_file
from tools.tasks.task_list import read_task_list


@command
def tasks(file: str, mail: str = "", check: bool = False) -> str | None:
    """Run the tasks of FILE one after another, go on where they were stopped, rank the finished ones.

    A task that fails is reported and passed over. The same command again leaves out what is done, goes on where a run
    was stopped, and tries again what failed. Exit status 0 if all tasks are done, 1 if one failed.

    Args:
        file: YAML: `tasks`, a list of `name`, `type` (train, predict, train_and_predict), `bundle`, `config`,
            `overrides`, `train`, `predict`, `weights`, `mail`; `defaults` of these; `output_dir`, `rank_by`, `mail`.
        mail: YAML: `host`, `port`, `security` (none, starttls, ssl), `user`, `sender`, `recipients` of notices; or
            RECON_SMTP_HOST ... in the environment, where alone RECON_SMTP_PASSWORD is read.
        check: only read the files, and say what would be run.
    """
    settings = read_mail_file(Path(str(mail))) if mail else {}
    job = read_task_list(Path(str(file)), mail_by_default=bool(mail))
    if check:
        lines = [
            f"{task.name}: {run.kind} {task.bundle.name} {', '.join(path.name for path in run.configs)} "
            f"{json.dumps(run.overrides)}"
            for task in job.tasks
            for run in task.runs
        ]
        return "\n".join([*lines, f"into {job.output_dir}"])
    wanted = job.mail or any(task.mail for task in job.tasks)
    run_list(job, Mailer.open(settings) if wanted else Mailer(None))
    return None
