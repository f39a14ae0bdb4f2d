"""`python -m tools data check DIR`: contents and problems of a data set, and the bundles that take it."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.data import find_files
from common.data.finding import DATA_SUFFIXES, MASK_ENDING, is_one_volume
from common.data.series import INPUT, TRUTH, Files, paired
from common.io import format_of, split_suffix
from tools.command import command
from tools.data_facts import FileFacts, read_facts
from tools.data_fit import DataSet, Needs
from tools.zoo.layout import BUNDLES, bundle_names

SPLITS = ("train", "valid", "test")
MAX_LINES = 40
MAX_GROUPS = 12


@dataclass
class Report:
    """Findings of a check; folders and files are named by their path below the checked folder."""

    folder: Path
    files: dict[str, list[FileFacts]] = field(default_factory=dict)  # by subfolder or split, "" for the folder itself
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bundles: list[dict[str, Any]] = field(default_factory=list)


@command
def check(directory: str, json: bool = False, source_options: dict[str, Any] | None = None) -> str:
    """Read every file of DIRECTORY and of its train/, valid/ and test/ as inference does, and report what it finds.

    Of each file: format, axes and size, pixel size, values and those that become 0 and 1, masks, frames, duplicates.
    Files are of slices, or of series of frames. Reports which files cannot be used and why, which bundles take the
    data, and the commands that run them. Exit status 0 if all can be used, 1 otherwise.

    Args:
        directory: folder with data files, or with train/, valid/ and test/ that hold some; of series also with
            input_train.h5 and truth_train.h5, and likewise validation and test.
        json: print everything as JSON, each file on its own.
        source_options: options of the formats, such as "{'frame': 0}", as bundles take them.
    """
    report = check_folder(Path(str(directory)), source_options)
    text = as_json(report) if json else as_text(report)
    if not report.problems:
        return text
    sys.stdout.write(f"{text}\n")
    n = len(report.problems)
    raise ValueError(f"{directory}: {n} {'problem' if n == 1 else 'problems'}, listed above")


def check_folder(directory: Path, source_options: Mapping[str, Any] | None = None) -> Report:
    """Read a data set."""
    report = Report(directory)
    places = _places(directory)
    found = [(place, files) for place, all_files in places.items() for files in all_files]
    digests: dict[str, list[tuple[str, FileFacts]]] = defaultdict(list)
    # disable=None: a bar with the time to go on a terminal, silence elsewhere
    for place, (path, truth_path) in tqdm(found, desc="reading", unit="file", disable=None, leave=False):
        try:
            facts = read_facts(path, truth_path, source_options)
        except (ValueError, OSError) as error:
            report.problems.append(str(error))
            continue
        if not place and facts.is_series:
            place = _split_of(facts.path)
        report.files.setdefault(place, []).append(facts)
        report.warnings += [f"{facts.path}: {warning}" for warning in facts.warnings]
        for digest, _ in facts.digests:
            digests[digest].append((place, facts))
    report.files = {place: report.files[place] for place in ("", *SPLITS, *places) if place in report.files}
    _report_duplicates(report, digests)
    report.notes += _folder_notes(report, list(places))
    if any(report.files.values()):
        _report_bundles(report, source_options or {})
    return report


def _places(directory: Path) -> dict[str, list[Files]]:
    """Return the subfolders to read and their files: the folder itself as "" and the splits, or all that hold data."""
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: expected a folder; check the path")
    places = {place: _data_files(directory, place) for place in ("", *SPLITS)}
    if any(places[split] for split in SPLITS):  # a volume beside them is none of their files, such as a folder of masks
        places[""] = [files for files in places[""] if not files[0].is_dir()]
    if not any(places.values()):
        places = {name: _data_files(directory, name) for name in _data_folders(directory)}
    if not places:
        raise FileNotFoundError(
            f"{directory}: no file of {', '.join(DATA_SUFFIXES)} in it or its subfolders; convert the data, or draw "
            "synthetic ones: `python -m tools data make --help` has the sets"
        )
    return {place: files for place, files in places.items() if files}


def _data_files(directory: Path, place: str) -> list[Files]:
    """List data files with the files of their truths; a split that is a DICOM folder is not a file of its parent."""
    try:
        found = paired(find_files(directory / place))
    except FileNotFoundError:
        return []
    return [files for files in found if place or files[0].name not in SPLITS]


def _data_folders(directory: Path) -> list[str]:
    """Return the names of the subfolders that hold data files, without hidden ones and series of DICOM images."""
    folders = [path.name for path in directory.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(name for name in folders if not is_one_volume(directory / name) and _data_files(directory, name))


def _split_of(path: Path) -> str:
    """Return the split in the name of a file of series, such as valid of `input_validation.h5`; empty if none."""
    kind, _, split = split_suffix(path)[0].partition("_")
    known = {"train": "train", "validation": "valid", "valid": "valid", "test": "test"}
    return known.get(split, "") if f"{kind}_" in (INPUT, TRUTH) else ""


def _report_duplicates(report: Report, digests: dict[str, list[tuple[str, FileFacts]]]) -> None:
    """Report files that share equal slices or series: leakage between two splits, a duplicate within one."""
    shared: Counter[tuple[tuple[str, Path], tuple[str, Path]]] = Counter()
    by_path = {facts.path: facts for found in digests.values() for _, facts in found}
    for (first_place, first), *others in digests.values():
        shared.update(((first_place, first.path), (place, facts.path)) for place, facts in others)
    for ((first_place, first_path), (place, path)), n in shared.items():
        where = f"{path} has the content of {first_path}, {by_path[path].count(n)}"
        if place != first_place and {place, first_place} <= set(SPLITS):
            report.problems.append(f"leakage: {where}; keep it in one of {first_place}/ and {place}/")
        else:
            report.warnings.append(f"duplicate: {where}")


def _folder_notes(report: Report, places: list[str]) -> Iterator[str]:
    for place in places:
        yield from _unread_files(report.folder / place)
    named = {*places, *report.files}
    if named <= {""}:
        yield "no train/ and valid/ in it: the files serve inference, not training"
    elif not named & set(SPLITS):
        folders = ", ".join(f"{place}/" for place in places)
        yield f"checked {folders}; training reads train/ and valid/: rename the folders, or link to them"
    elif missing := [f"{split}/" for split in ("train", "valid") if not report.files.get(split)]:
        yield f"training lacks usable files in {' and '.join(missing)}"
    for split in ("train", "valid"):
        without_truth = [facts for facts in report.files.get(split, []) if not facts.has_truth]
        for word, series in (("undersampled k-space", False), ("series without truth", True)):
            if n := sum(facts.is_series == series for facts in without_truth):
                yield f"training refuses {word}: {n} of the files in {split}/"
    if others := [name for name in _data_folders(report.folder) if name not in {*places, *SPLITS}]:
        yield f"not read: the subfolders {', '.join(f'{name}/' for name in others)}; check them alone"


def _unread_files(folder: Path) -> Iterator[str]:
    """Describe files that no reader takes, although they may be meant as data."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    masks = [path.name for path in files if path.name.lower().endswith(MASK_ENDING)]
    stems = {split_suffix(path.name)[0] for path in files if path.name not in masks}
    for name in (name for name in masks if name[: -len(MASK_ENDING)] not in stems):
        yield f"{folder / name}: a mask without its data file"
    others = [path for path in files if not split_suffix(path, DATA_SUFFIXES)[1] and not _is_read(path)]
    if unknown := Counter(path.suffix.lower() or "no suffix" for path in others):
        counts = ", ".join(f"{n} of {suffix}" for suffix, n in sorted(unknown.items()))
        yield f"{folder}: passed over {counts}; readers know {', '.join(DATA_SUFFIXES)}"


def _is_read(path: Path) -> bool:
    """Return True for a DICOM file without suffix, and for the header of a BART file, which belongs to its .cfl."""
    return path.with_suffix(".cfl").exists() or (not split_suffix(path)[1] and format_of(path) is not None)


def _report_bundles(report: Report, source_options: Mapping[str, Any]) -> None:
    """Report how each bundle can use the data: the splits and the folder as one set, or each other subfolder."""
    splits = {split: report.files[split] for split in SPLITS if report.files.get(split)}
    if splits or report.files.get(""):
        sets = [DataSet(report.folder, splits, report.files.get("", []), source_options)]
    else:
        sets = [DataSet(report.folder / place, {}, files, source_options) for place, files in report.files.items()]
    for name in bundle_names():
        try:
            needs = Needs(BUNDLES / name)
        except ValueError as error:
            report.notes.append(f"{error}; ask `python -m tools zoo verify {name}`")
            continue
        for data in sets:
            fit: dict[str, Any] = {"misfit": needs.misfit(data.all_files), "caution": "", "commands": {}}
            if not fit["misfit"]:
                fit |= {"caution": needs.caution(data.all_files), "commands": needs.commands(data, Path.cwd())}
            report.bundles.append({"bundle": name, "task": needs.task, "folder": str(data.folder), **fit})
    report.bundles.sort(key=lambda bundle: (bool(bundle["misfit"]), bool(bundle["caution"])))


def as_json(report: Report) -> str:
    """Return the report as JSON, a record per file."""
    files = []
    for place, all_facts in report.files.items():
        for facts in all_facts:
            record = {**asdict(facts), "path": str(facts.path), "split": place}
            del record["digests"]
            files.append(record)
    content = {"folder": str(report.folder), "usable": not report.problems, "problems": report.problems}
    content |= {"warnings": report.warnings, "notes": report.notes, "bundles": report.bundles, "files": files}
    return json.dumps(content, indent=2)


def as_text(report: Report) -> str:
    """Return the report for a reader; files that are alike share a line."""
    lines = []
    for place, files in report.files.items():
        folder, n = report.folder / place, len(files)
        where = folder if folder.is_dir() else f"{report.folder}, {place}"
        kinds = ([facts for facts in files if facts.is_series is series] for series in (False, True))
        counts = ", ".join(kind[0].count(sum(facts.n_slices for facts in kind)) for kind in kinds if kind)
        lines += [f"{where}: {n} readable {'file' if n == 1 else 'files'}, {counts}", *_groups(files)]
    for title, entries in (("problems", report.problems), ("look at", report.warnings), ("notes", report.notes)):
        if entries:
            lines += ["", f"{title} ({len(entries)})", *(f"  {entry}" for entry in entries[:MAX_LINES])]
            if (hidden := len(entries) - MAX_LINES) > 0:
                lines.append(f"  and {hidden} more; --json has them all")
    if report.bundles:
        lines += ["", "bundles, by format and values; whether the anatomy fits is yours to judge"]
    for bundle in report.bundles:
        lines.append(f"  {bundle['bundle']} for {bundle['folder']}: {bundle['misfit'] or bundle['task']}")
        lines += [f"    caution: {bundle['caution']}"] if bundle["caution"] else []
        lines += [f"    {purpose:9} {line}" for purpose, line in bundle["commands"].items()]
    return "\n".join(lines)


def _groups(files: Sequence[FileFacts]) -> list[str]:
    groups: dict[str, list[FileFacts]] = defaultdict(list)
    for facts in files:
        groups[facts.describe()].append(facts)
    lines = []
    for likeness, group in list(groups.items())[:MAX_GROUPS]:
        name = group[0].path.name
        if len(group) > 1:
            name = f"{name} to {group[-1].path.name} ({len(group)})"
        low, high = min(facts.low for facts in group), max(facts.high for facts in group)
        ranges = {facts.range for facts in group}
        scaled = ", needs --intensity_range" if None in ranges else ""
        if len(ranges) == 1 and group[0].range is not None:  # those of the files may differ
            scaled = ", 0 to 1 is {:.4g} to {:.4g}".format(*group[0].range)
        lines.append(f"  {name}: {likeness}, {low:.4g} to {high:.4g}{scaled}")
    if rest := list(groups.values())[MAX_GROUPS:]:
        n = sum(map(len, rest))
        lines.append(f"  and {n} more files of {len(rest)} other shapes or types; --json has them all")
    return lines
