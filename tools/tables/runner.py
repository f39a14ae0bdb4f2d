"""Does the runs of tables, each in a process, and keeps their results until something that they depend on changes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from tools.compare import compare_entries
from tools.comparison.entries import BundleEntry, find_entry
from tools.tables.fingerprint import Fingerprint, comparison_fingerprint, evaluation_fingerprint
from tools.tables.network import note_network
from tools.tables.run import TableRun
from tools.tables.sets import DataFolders
from tools.tasks.configurations import check_known, find_config, known_keys
from tools.tasks.process import LOG, run_process
from tools.tasks.records import Lock
from tools.tasks.running import duration, say, shown
from tools.tasks.task_list import PREDICT, Run, Task
from tools.zoo.archive import scratch_folder
from tools.zoo.layout import read_json

DONE = "done.json"
"""In the folder of a run that has ended well."""
Work = Callable[[Path, Callable[[str], None]], None]
"""Does a run: the folder for it, and what is told the last line of its log."""
NOTE = {
    "_target_": f"{note_network.__module__}.{note_network.__name__}",
    "network": "@network_def",
    "output_dir": "@output_dir",
}
"""Step of a bundle's start."""


class TableRunner:
    """Does runs of one bundle.

    Args:
        bundle: its folder.
        data: where data are.
        out: for a folder of each run.
        device: that networks run on.
        lock: that processes hold too.
        fresh: whether results of before are not used.
    """

    def __init__(
        self, bundle: Path, data: DataFolders, out: Path, device: str, lock: Lock, fresh: bool = False
    ) -> None:
        self.bundle = bundle
        self.data = data
        self.out = out
        self.device = device
        self.lock = lock
        self.fresh = fresh

    def run_all(self, runs: Sequence[TableRun]) -> dict[str, Path]:
        """Do what is not done; the folder of the results of each, by label.

        Raises:
            ValueError: a run cannot be done or failed; with its own words.
            OSError: a file cannot be read or written.
        """
        self.data.check({run.data for run in runs})
        for run in runs:  # before anything takes its time
            if run.compare is None:
                self._configs(run)
        found = {}
        with tqdm(total=len(runs), desc="runs", unit="run", leave=False, disable=None) as bar:
            for number, run in enumerate(runs, start=1):
                found[run.label] = self._results(run, f"[{number}/{len(runs)}] {run.label}", bar)
                with suppress(OSError):
                    bar.update()
        return found

    def _configs(self, run: TableRun) -> tuple[list[Path], set[str]]:
        """The files of an evaluation, and the keys they know, all overrides among them."""
        where = f"run {run.label}"
        configs = [find_config(name, self.bundle, where) for name in run.config]
        known = known_keys(configs, where)
        check_known(run.overrides, known, configs, where)
        return configs, known

    def _results(self, run: TableRun, label: str, bar: tqdm[Any]) -> Path:
        """Do a run if need be; the folder of its results."""
        data, folder = self.data.folder(run.data), self.out / run.folder_name
        work, now = self._evaluation(run, data) if run.compare is None else self._comparison(run, data)
        done = folder / DONE
        if not self.fresh and done.is_file() and now.fits(read_json(done)):
            say(f"{label}: as before, from {shown(folder)}")
            return folder / PREDICT
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        say(f"{label}: runs, in {shown(folder)}")
        start = perf_counter()
        work(folder, lambda line: bar.set_postfix_str(line[-60:]))
        seconds = perf_counter() - start
        content = {"run": run.label, "seconds": round(seconds, 1), **now.record()}
        done.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        say(f"{label}: done in {duration(seconds)}")
        return folder / PREDICT

    def _evaluation(self, run: TableRun, data: Path) -> tuple[Work, Fingerprint]:
        configs, known = self._configs(run)
        told, _ = run.told(data, self.bundle)
        if "device" in known:
            told = {"device": self.device, **told}
        if {"initialize", "network_def"} <= known:
            told["+initialize"] = [NOTE]
        told["dataset_dir"] = str(data)

        def work(folder: Path, tell: Callable[[str], None]) -> None:
            one = Run(PREDICT, tuple(configs), told, {})
            end = run_process(Task(run.label, self.bundle, (one,), folder, mail=False), one, self.lock, tell)
            if end.error:
                sys.stderr.write("".join(f"    | {line}\n" for line in end.tail))
                raise ValueError(f"run {run.label}: {end.error} (log in {shown(folder / LOG)})")

        return work, evaluation_fingerprint(told, self.bundle, configs, data)

    def _comparison(self, run: TableRun, data: Path) -> tuple[Work, Fingerprint]:
        overrides, compare = run.told(data, self.bundle)
        told = {"device": self.device, **overrides}
        texts = compare.pop("entries")
        # a bundle that only measures counts as an entry
        named = [*texts, *filter(None, [compare.get("measure_like")])]
        with scratch_folder(self.out) as scratch:
            entries = [find_entry(text, scratch / str(number)) for number, text in enumerate(named)]
        bundles = [entry for entry in entries if isinstance(entry, BundleEntry)]

        def work(folder: Path, tell: Callable[[str], None]) -> None:
            try:
                compare_entries(data, texts, folder / PREDICT, **compare, n_cases=1, overrides=told)
            except ValueError as error:
                raise ValueError(f"run {run.label}: {error}") from None

        return work, comparison_fingerprint({**told, **compare, "entries": texts}, bundles, data)
