"""`python -m tools data check DIR`: contents and problems of a data set, and the bundles that take it."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
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
from tools.data_fit import DataSet, bundle_needs, caution, commands, misfit
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
    source_options: dict[str, Any] = field(default_factory=dict)


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
    """Read a data set.

    Args:
        directory: folder with data files or with subfolders that hold some.
        source_options: options of the file formats by name, see :func:`~common.io.open_source`.

    Raises:
        OSError: there is no such folder, or no data file in it.
    """
    report = Report(directory, source_options=dict(source_options or {}))
    places = _places(directory)
    found = [(place, files) for place, all_files in places.items() for files in all_files]
    digests: dict[str, list[tuple[str, FileFacts]]] = defaultdict(list)
    # disable=None: a bar with the time to go on a terminal, silence elsewhere
    for place, (path, truth_path) in tqdm(found, desc="reading", unit="file", disable=None, leave=False):
        try:
            facts = read_facts(path, truth_path, report.source_options)
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
    _report_folders(report, list(places))
    if any(report.files.values()):
        report.bundles = _fitting_bundles(report)
    return report


def _places(directory: Path) -> dict[str, list[Files]]:
    """Subfolders to read, "" for the folder itself, and their files: that and the splits, or all that hold data."""
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: expected a folder; check the path")
    places = {place: _data_files(directory, place) for place in ("", *SPLITS)}
    if not any(places.values()):
        places = {name: _data_files(directory, name) for name in _data_folders(directory)}
    if not places:
        raise FileNotFoundError(
            f"{directory}: no file of {', '.join(DATA_SUFFIXES)} in it or its subfolders; convert the data, or draw "
            "synthetic ones with `python -m tools data make brain_mri DIR`"
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
    """Names of the subfolders that hold data files, without hidden ones and series of DICOM images."""
    folders = [path.name for path in directory.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(name for name in folders if not is_one_volume(directory / name) and _data_files(directory, name))


def _split_of(path: Path) -> str:
    """The split that the name of a file of series gives, such as valid for `input_validation.h5`; empty if none."""
    kind, _, split = split_suffix(path)[0].partition("_")
    if f"{kind}_" not in (INPUT, TRUTH):
        return ""
    return {"train": "train", "validation": "valid", "valid": "valid", "test": "test"}.get(split, "")


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


def _report_folders(report: Report, places: list[str]) -> None:
    for place in places:
        report.notes += _passed_over(report.folder / place)
    ready = [split for split in SPLITS if report.files.get(split)]
    named = {*places, *report.files}
    if named <= {""}:
        report.notes.append("no train/ and valid/ in it: the files serve inference, not training")
    elif not named & set(SPLITS):
        folders = ", ".join(f"{place}/" for place in places)
        report.notes.append(f"checked {folders}; training reads train/ and valid/: rename the folders, or link to them")
    elif missing := [f"{split}/" for split in ("train", "valid") if split not in ready]:
        report.notes.append(f"training lacks usable files in {' and '.join(missing)}")
    for split in ("train", "valid"):
        without_truth = [facts for facts in report.files.get(split, []) if not facts.has_truth]
        if n := sum(not facts.is_series for facts in without_truth):
            report.notes.append(f"training refuses undersampled k-space: {n} of the files in {split}/")
        if n := sum(facts.is_series for facts in without_truth):
            report.notes.append(f"training refuses series without truth: {n} of the files in {split}/")
    others = [name for name in _data_folders(report.folder) if name not in {*places, *SPLITS}]
    if others:
        report.notes.append(f"not read: the subfolders {', '.join(f'{name}/' for name in others)}; check them alone")


def _passed_over(folder: Path) -> Iterator[str]:
    """Describe files that no reader takes, although they may be meant as data."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    names = [path.name for path in files]
    stems = {split_suffix(name)[0] for name in names if not name.lower().endswith(MASK_ENDING)}
    for name in sorted(names):
        if name.lower().endswith(MASK_ENDING) and name[: -len(MASK_ENDING)] not in stems:
            yield f"{folder / name}: a mask without its data file"
    others = [path for path in files if not split_suffix(path, DATA_SUFFIXES)[1] and not _is_read(path)]
    unknown = Counter(path.suffix.lower() or "no suffix" for path in others)
    if unknown:
        counts = ", ".join(f"{n} of {suffix}" for suffix, n in sorted(unknown.items()))
        yield f"{folder}: passed over {counts}; readers know {', '.join(DATA_SUFFIXES)}"


def _is_read(path: Path) -> bool:
    """Return True for a DICOM file without suffix, and for the header of a BART file, which belongs to its .cfl."""
    return path.with_suffix(".cfl").exists() or (not split_suffix(path)[1] and format_of(path) is not None)


def _fitting_bundles(report: Report) -> list[dict[str, Any]]:
    splits = {split: report.files[split] for split in SPLITS if report.files.get(split)}
    if splits or report.files.get(""):
        sets = [DataSet(report.folder, splits, report.files.get("", []))]
    else:
        sets = [DataSet(report.folder / place, {}, files) for place, files in report.files.items()]
    found = []
    for name in bundle_names():
        try:
            needs = bundle_needs(BUNDLES / name)
        except ValueError as error:
            report.notes.append(f"{error}; ask `python -m tools zoo verify {name}`")
            continue
        for data in sets:
            reason = misfit(needs, data.all_files)
            found.append(
                {
                    "bundle": name,
                    "task": needs.task,
                    "folder": str(data.folder),
                    "misfit": reason,
                    "caution": "" if reason else caution(needs, data.all_files),
                    "commands": {} if reason else commands(needs, data, Path.cwd(), report.source_options),
                }
            )
    return found


def as_json(report: Report) -> str:
    """The report as JSON, a record per file."""
    files = []
    for place, all_facts in report.files.items():
        for facts in all_facts:
            record = {**asdict(facts), "path": str(facts.path), "split": place}
            del record["digests"]
            files.append(record)
    return json.dumps(
        {
            "folder": str(report.folder),
            "usable": not report.problems,
            "problems": report.problems,
            "warnings": report.warnings,
            "notes": report.notes,
            "bundles": report.bundles,
            "files": files,
        },
        indent=2,
    )


def as_text(report: Report) -> str:
    """The report for a reader; files that are alike share a line."""
    lines = []
    for place, files in report.files.items():
        folder, n = report.folder / place, len(files)
        where = folder if folder.is_dir() else f"{report.folder}, {place}"
        lines.append(f"{where}: {n} readable {'file' if n == 1 else 'files'}, {_count(files)}")
        lines += [f"  {line}" for line in _groups(files)]
    for title, entries in (("problems", report.problems), ("look at", report.warnings), ("notes", report.notes)):
        if entries:
            lines += ["", f"{title} ({len(entries)})", *_shortened(entries)]
    if report.bundles:
        lines += ["", "bundles, by format and values; whether the anatomy fits is yours to judge"]
    for bundle in report.bundles:
        lines.append(f"  {bundle['bundle']} for {bundle['folder']}: {bundle['task']}")
        lines += [f"    {word}: {bundle[word]}" for word in ("misfit", "caution") if bundle[word]]
        lines += [f"    {purpose:9} {line}" for purpose, line in bundle["commands"].items()]
    return "\n".join(lines)


def _count(files: list[FileFacts]) -> str:
    """Number of slices and of series in the files, in words."""
    kinds = ([facts for facts in files if facts.is_series is series] for series in (False, True))
    return ", ".join(kind[0].count(sum(facts.n_slices for facts in kind)) for kind in kinds if kind)


def _shortened(entries: list[str]) -> list[str]:
    lines = [f"  {entry}" for entry in entries[:MAX_LINES]]
    hidden = len(entries) - len(lines)
    return [*lines, f"  and {hidden} more; --json has them all"] if hidden else lines


def _groups(files: list[FileFacts]) -> list[str]:
    groups: dict[str, list[FileFacts]] = defaultdict(list)
    for facts in files:
        groups[_likeness(facts)].append(facts)
    lines = []
    for likeness, group in list(groups.items())[:MAX_GROUPS]:
        name = (
            group[0].path.name if len(group) == 1 else f"{group[0].path.name} to {group[-1].path.name} ({len(group)})"
        )
        low, high = min(facts.low for facts in group), max(facts.high for facts in group)
        lines.append(f"{name}: {likeness}, {low:.4g} to {high:.4g}{_scaled(group)}")
    rest = list(groups.values())[MAX_GROUPS:]
    if rest:
        n = sum(map(len, rest))
        lines.append(f"and {n} more files of {len(rest)} other shapes or types; --json has them all")
    return lines


def _scaled(group: list[FileFacts]) -> str:
    """Text with the two values that become 0 and 1, if they are the same for all files; empty if they differ."""
    ranges = {facts.range for facts in group}
    if len(ranges) > 1 or None in ranges:
        return "" if None not in ranges else ", needs --intensity_range"
    ((low, high),) = ranges  # type: ignore[misc]
    return f", 0 to 1 is {low:.4g} to {high:.4g}"


def _likeness(facts: FileFacts) -> str:
    """Describe the properties that files on one line of the report share."""
    size = f"{facts.height} x {facts.width}"
    parts = [
        f"{facts.format} {facts.kind}",
        f"{facts.n_slices} of {size}, {facts.n_frames} frames" if facts.is_series else f"{facts.n_slices} x {size}",
        *([" + ".join(facts.parts)] if facts.is_series else []),
        *([f"{facts.readouts[0]} readouts of {facts.readouts[1]} samples a frame"] if facts.readouts else []),
        *([f"{facts.n_coils} coils"] if facts.n_coils > 1 else []),
        facts.dtype,
    ]
    if facts.spacing_mm:
        oriented = " with orientation" if facts.is_oriented else ""
        parts.append(f"spacing {' x '.join(f'{size:.3g}' for size in facts.spacing_mm)} mm{oriented}")
    if facts.frame_interval_s:
        parts.append(f"{1000 * facts.frame_interval_s:.3g} ms a frame")
    if facts.kind == "kspace" and facts.sampled is None:
        parts.append("fully sampled")
    if facts.sampled is not None:
        parts.append(f"mask of {facts.sampled:.1%}")
    if facts.is_complex and not facts.is_series:
        parts.append("complex image")
    if facts.has_target:
        parts.append("with target")
    return ", ".join(parts)
