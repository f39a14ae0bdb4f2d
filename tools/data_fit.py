"""Match of bundles and data, as the bundles' own files declare it, with the commands that run them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.comparison.tasks import SERIES, task_of
from tools.data_facts import FileFacts
from tools.zoo.layout import read_json


@dataclass(frozen=True)
class BundleNeeds:
    """Requirements of a bundle on its data.

    Attributes:
        folder: folder of the bundle.
        task: task of the bundle in one line, from its metadata.json.
        takes_series: True if the bundle takes series of frames and no slices.
        reconstructs: True if the bundle takes undersampled k-space.
        several_coils: config file or option for k-space of several coils, "k-space of series" if no option is needed;
            empty if the bundle cannot take it.
        volumes: stem of the config file that enlarges whole volumes; empty without such a file or its weights.
        has_weights: True if models/model.pt exists, so that the bundle runs without a training.
        evaluated_split: split that evaluate.json reads.
    """

    folder: Path
    task: str
    takes_series: bool
    reconstructs: bool
    several_coils: str
    volumes: str
    has_weights: bool
    evaluated_split: str


@dataclass(frozen=True)
class DataSet:
    """A folder of readable data.

    Attributes:
        folder: folder to pass to bundles as `dataset_dir`.
        splits: files of the splits train, valid and test that have any, by subfolder or by the names of files.
        files: other files directly in the folder.
    """

    folder: Path
    splits: dict[str, list[FileFacts]]
    files: list[FileFacts]

    @property
    def trainable(self) -> bool:
        """True if train and valid have files, all of them with a truth."""
        return {"train", "valid"} <= self.splits.keys() and all(
            facts.has_truth for split in ("train", "valid") for facts in self.splits[split]
        )

    @property
    def all_files(self) -> list[FileFacts]:
        """Files of the folder and of all its splits."""
        return [*self.files, *(facts for files in self.splits.values() for facts in files)]


def bundle_needs(folder: Path) -> BundleNeeds:
    """Read what a bundle declares: the input of its network in metadata.json, and the options of its preparation.

    Raises:
        ValueError: if it has no readable metadata.json or inference.json, or they do not say it.
    """
    metadata = read_json(folder / "configs" / "metadata.json")
    config = read_json(folder / "configs" / "inference.json")
    try:
        image_format = metadata["network_data_format"]["inputs"]["image"]["format"]
    except (KeyError, TypeError):
        raise ValueError(f"{folder.name}: metadata.json has no network_data_format#inputs#image#format") from None
    takes_series = task_of(folder) == SERIES
    evaluation = folder / "configs" / "evaluate.json"
    return BundleNeeds(
        folder=folder,
        task=str(metadata.get("task", "")),
        takes_series=takes_series,
        reconstructs=takes_series or image_format == "kspace",
        several_coils=_several_coils(folder, config, takes_series),
        volumes=_volumes(folder),
        has_weights=(folder / "models" / "model.pt").is_file(),
        evaluated_split=str(read_json(evaluation).get("split", "valid")) if evaluation.is_file() else "valid",
    )


def _several_coils(folder: Path, config: dict[str, Any], takes_series: bool) -> str:
    if takes_series:
        return "k-space of series"
    if (folder / "configs" / "multicoil.json").is_file():
        return "multicoil.json"
    return "--coils emulated" if "coils" in config else ""


def _volumes(folder: Path) -> str:
    file = folder / "configs" / "inference_3d.json"
    if not file.is_file() or not (folder / "models" / f"{read_json(file).get('model_name', 'model')}.pt").is_file():
        return ""
    return file.stem


def misfit(needs: BundleNeeds, files: Sequence[FileFacts]) -> str:
    """Return the reason why a bundle cannot use some of the files; empty if it can use all."""
    if needs.takes_series and (bad := [facts for facts in files if not facts.is_series]):
        return f"it takes series of frames, and {_first(bad)} slices; join the frames of each slice in one file"
    if not needs.takes_series and (bad := [facts for facts in files if facts.is_series]):
        return f"it takes slices, and {_first(bad)} series of frames; save the frames to be used as images"
    if bad := [facts for facts in files if facts.two_valued]:
        return f"{_first(bad)} two values, as a mask has"
    if not needs.reconstructs and (bad := [facts for facts in files if facts.sampled is not None]):
        return f"it takes images, and {_first(bad)} undersampled k-space; reconstruct it before"
    if not needs.several_coils and (bad := [facts for facts in files if facts.n_coils > 1]):
        return f"it takes one coil, and {_first(bad)} several; combine them before"
    return ""


def caution(needs: BundleNeeds, files: Sequence[FileFacts]) -> str:
    """Return a warning about files that the bundle can use; empty if there is none."""
    if bad := [facts for facts in files if {"truth", "recon"} <= set(facts.parts) and "kspace" not in facts.parts]:
        advice = "use them with --prepare_batch#measurement stored"
        return f"{_first(bad)} aliased images, which are made anew of the truth; {advice}"
    if not needs.takes_series and (bad := [facts for facts in files if facts.n_coils > 1 and facts.parts == ()]):
        return f"{_first(bad)} several coils: the commands take {needs.several_coils}"
    return ""


def _first(files: list[FileFacts]) -> str:
    return f"{files[0].path.name} has" if len(files) == 1 else f"{len(files)} files have"


def commands(
    needs: BundleNeeds, data: DataSet, working_dir: Path, source_options: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the command lines for data that fit, by purpose; they are written to be run in `working_dir`."""
    lines = {}
    common = _options(needs, data, source_options)
    coils = needs.several_coils if not needs.takes_series and any(f.n_coils > 1 for f in data.all_files) else ""
    multicoil = coils.endswith(".json")
    if data.trainable:
        runs = f"runs/{needs.folder.name}"  # the bundle's own weights stay as they are
        options = ["--output_dir", runs, "--ckpt_dir", runs, *common]
        lines["train"] = _command(
            needs, ["train", *(["multicoil_train"] if multicoil else [])], data.folder, working_dir, options
        )
    if needs.has_weights:
        more = ["multicoil"] if multicoil else []
        if needs.evaluated_split in data.splits:
            lines["evaluate"] = _command(needs, ["inference", "evaluate", *more], data.folder, working_dir, common)
        places = [""] if data.files else [name for name in ("test", "valid", "train") if name in data.splits]
        folder, options = data.folder / places[0], common
        if not folder.is_dir():  # the names of files give their split
            folder, options = data.folder, ["--split", places[0], *common]
        lines["infer"] = _command(needs, ["inference", *more], folder, working_dir, options)
        if needs.volumes and all(facts.is_volume for facts in (data.files or data.splits[places[0]])):
            lines["infer 3-D"] = _command(needs, ["inference", needs.volumes], folder, working_dir, options)
    return lines


def _options(needs: BundleNeeds, data: DataSet, source_options: Mapping[str, Any] | None) -> list[str]:
    """Return the options that the files need in every command."""
    words = []
    if any(facts.n_coils > 1 for facts in data.all_files) and needs.several_coils.startswith("--"):
        words += needs.several_coils.split()
    if ranges := [facts.advised_range for facts in data.all_files if facts.advised_range is not None]:
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        words += ["--intensity_range", f"[{low:g}, {high:g}]"]
    if source_options:
        words += ["--source_options", str(dict(source_options))]
    return words


def _command(
    needs: BundleNeeds, configs: list[str], folder: Path, working_dir: Path, options: Sequence[str] = ()
) -> str:
    bundle = _shown(needs.folder, working_dir)
    files = [f"{bundle}/configs/{name}.json" for name in configs]
    config = files[0] if len(files) == 1 else str(files).replace(" ", "")
    words = ["python", "-m", "monai.bundle", "run", "--config_file", config, "--bundle_root", bundle]
    return " ".join(map(_quoted, [*words, "--dataset_dir", _shown(folder, working_dir), *options]))


def _quoted(word: str) -> str:
    """Quote a word for a shell; a list of files gets double quotes, which are easier to read than those of shlex."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _shown(path: Path, working_dir: Path) -> str:
    """Return the path as a user would type it: relative if it lies below `working_dir`."""
    path = path.absolute()
    return os.path.relpath(path, working_dir) if path.is_relative_to(working_dir) else str(path)
