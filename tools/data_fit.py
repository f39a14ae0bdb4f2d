"""Match of bundles and data, as the bundles' own files declare it, with the commands that run them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.comparison.entries import SERIES, task_of
from tools.data_facts import FileFacts
from tools.zoo.layout import read_json


@dataclass(frozen=True)
class DataSet:
    """A folder of readable data.

    Attributes:
        folder: folder to pass to bundles as `dataset_dir`.
        splits: files of the splits train, valid and test that have any, by subfolder or by the names of files.
        files: other files directly in the folder.
        source_options: options of the file formats that all commands need.
    """

    folder: Path
    splits: Mapping[str, Sequence[FileFacts]]
    files: Sequence[FileFacts]
    source_options: Mapping[str, Any]

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


class Needs:
    """Requirements of a bundle on its data, as its metadata and its configurations declare them.

    Attributes:
        task: task of the bundle in one line.
        takes_series: True if the bundle takes series of frames and no slices.
        reconstructs: True if the bundle takes undersampled k-space.
        coils: configuration or option for k-space of several coils; empty if the bundle cannot take it, or needs none.
        volumes: stem of the configuration that enlarges whole volumes; empty without such a file or its weights.
        evaluated_split: split that evaluate.json reads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, configs = folder, folder / "configs"
        metadata, inference = read_json(configs / "metadata.json"), read_json(configs / "inference.json")
        try:
            image_format = metadata["network_data_format"]["inputs"]["image"]["format"]
        except (KeyError, TypeError):
            raise ValueError(f"{folder.name}: metadata.json has no network_data_format#inputs#image#format") from None
        self.task = str(metadata.get("task", ""))
        self.takes_series = task_of(folder) == SERIES
        self.reconstructs = self.takes_series or image_format == "kspace"
        names = ("multicoil", "inference_multicoil")  # the second serves no training
        self.multicoil = next((name for name in names if (configs / f"{name}.json").is_file()), "")
        self.coils = "--coils emulated" if "coils" in inference and not self.takes_series else ""
        if self.multicoil:
            self.coils = f"{self.multicoil}.json"
        evaluate = configs / "evaluate.json"
        self.evaluated_split = str(read_json(evaluate).get("split", "valid")) if evaluate.is_file() else "valid"
        self.volumes = "inference_3d" if self.has_weights("inference_3d") else ""

    def has_weights(self, config: str) -> bool:
        """Return True if a configuration exists and the weights that it names, so that it runs without a training."""
        path = self.folder / "configs" / f"{config}.json"
        name = read_json(path).get("model_name", "model") if path.is_file() else ""
        return (self.folder / "models" / f"{name}.pt").is_file()

    def misfit(self, files: Sequence[FileFacts]) -> str:
        """Return the reason why the bundle cannot use some of the files; empty if it can use all."""
        several = [facts for facts in files if facts.n_coils > 1] if not self.takes_series and not self.coils else []
        undersampled = [facts for facts in files if facts.sampled is not None] if not self.reconstructs else []
        other_kind = [facts for facts in files if facts.is_series != self.takes_series]
        if other_kind and self.takes_series:
            return f"it takes series, and {_have(other_kind)} slices; join the frames of each slice in one file"
        if other_kind:
            return f"it takes slices, and {_have(other_kind)} series; save the frames to be used as images"
        if masks := [facts for facts in files if facts.two_valued]:
            return f"{_have(masks)} two values, as a mask has"
        if undersampled:
            return f"it takes images, and {_have(undersampled)} undersampled k-space; reconstruct it before"
        return f"it takes one coil, and {_have(several)} several; combine them before" if several else ""

    def caution(self, files: Sequence[FileFacts]) -> str:
        """Return a warning about files that the bundle can use; empty if there is none."""
        if bad := [facts for facts in files if {"truth", "recon"} <= set(facts.parts) and "kspace" not in facts.parts]:
            advice = "use them with magnitudes.json and --prepare_batch#measurement stored"
            return f"{_have(bad)} aliased images, which are made anew of the truth; {advice}"
        if self.coils and (bad := [facts for facts in files if facts.n_coils > 1]):
            return f"{_have(bad)} several coils: the commands take {self.coils}"
        if self.reconstructs and (bad := [facts for facts in files if facts.kind == "image"]):
            return f"{_have(bad)} images, of which k-space is simulated"
        return ""

    def commands(self, data: DataSet, working_dir: Path) -> dict[str, str]:
        """Return the command lines for data that fit, by purpose, to be run in `working_dir`."""
        lines, coils = {}, self.coils if any(facts.n_coils > 1 for facts in data.all_files) else ""
        options = coils.split() if coils.startswith("--") else []
        if ranges := [facts.advised_range for facts in data.all_files if facts.advised_range is not None]:
            low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
            options += ["--intensity_range", f"[{low:g}, {high:g}]"]
        if data.source_options:
            options += ["--source_options", str(dict(data.source_options))]

        def command(configs: list[str], folder: Path, *further: str) -> str:
            bundle = _short(self.folder, working_dir)
            files = [f"{bundle}/configs/{name}.json" for name in configs]
            config = files[0] if len(files) == 1 else str(files).replace(" ", "")
            words = ["python", "-m", "monai.bundle", "run", "--config_file", config, "--dataset_dir"]
            return " ".join(map(_quoted, [*words, _short(folder, working_dir), *further, *options]))

        more = [self.multicoil] if coils.endswith(".json") else []
        variants = {
            "radial": all(facts.readouts for facts in data.all_files),
            "magnitudes": all(set(facts.parts) == {"recon"} for facts in data.all_files),
        }
        more += [name for name, fits in variants.items() if fits and self.has_weights(name)]
        if data.trainable and "inference_multicoil" not in more:
            runs = f"runs/{self.folder.name}"  # the bundle's own weights stay as they are
            configs = ["train", *(f"{name}_train" for name in more)]
            lines["train"] = command(configs, data.folder, "--output_dir", runs, "--ckpt_dir", runs)
        if self.has_weights("inference"):
            if self.evaluated_split in data.splits:
                lines["evaluate"] = command(["inference", "evaluate", *more], data.folder)
            place = "" if data.files else next(name for name in ("test", "valid", "train") if name in data.splits)
            folder, split = data.folder / place, list[str]()
            if not folder.is_dir():  # the names of files give their split
                folder, split = data.folder, ["--split", place]
            lines["infer"] = command(["inference", *more], folder, *split)
            if self.volumes and all(facts.is_volume for facts in (data.files or data.splits[place])):
                lines["infer 3-D"] = command(["inference", self.volumes], folder, *split)
        return lines


def _have(files: list[FileFacts]) -> str:
    return f"{files[0].path.name} has" if len(files) == 1 else f"{len(files)} files have"


def _quoted(word: str) -> str:
    """Quote a word for a shell; a list of files gets double quotes, which are easier to read than those of shlex."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _short(path: Path, working_dir: Path) -> str:
    """Return the path as a user would type it: relative if it lies below `working_dir`."""
    path = path.absolute()
    return os.path.relpath(path, working_dir) if path.is_relative_to(working_dir) else str(path)
