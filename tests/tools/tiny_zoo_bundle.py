"""The smallest bundle that passes every check, to be tampered with, and its checks in a forked process."""

from __future__ import annotations

import json
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from tools.zoo import probe
from tools.zoo.layout import BUNDLES, bundle_names
from tools.zoo.probe import Check
from tools.zoo.static_checks import README_SECTIONS

NAME = "tiny_super_resolution"

SCRIPT = '''"""A network, a data set and a handler of a few lines each."""

from pathlib import Path

import numpy as np
import torch
from ignite.engine import Events
from PIL import Image

from common.sizes import enlarge


class TinyNetwork(torch.nn.Module):
    def __init__(self, width: int, upscale: int) -> None:
        super().__init__()
        self.upscale = upscale
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return enlarge(image + self.layers(image), self.upscale)


class TinyDataset(torch.utils.data.Dataset):
    def __init__(self, data, upscale):
        self.data = data
        self.upscale = upscale

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        with Image.open(self.data[index]) as image:
            label = np.array(image, dtype=np.float32)[None, :32, :32] / 255
        return {"image": label[:, :: self.upscale, :: self.upscale].copy(), "label": label, "name": self.data[index]}


class SaveArrays:
    def __init__(self, output_dir):
        self.output_dir = Path(output_dir)

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.save)

    def save(self, engine):
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for item in engine.state.output:
            np.save(self.output_dir / f"{engine.state.iteration}.npy", item["pred"].numpy())


def find_images(folder):
    return sorted(str(path) for path in Path(folder).glob("*.png"))
'''

SIZES = '''"""What several bundles could use."""

import torch


def enlarge(image: torch.Tensor, upscale: int) -> torch.Tensor:
    return image.repeat_interleave(upscale, -1).repeat_interleave(upscale, -2)
'''


def _target(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, **arguments}


def _data(folder: str, block: str = "") -> dict[str, Any]:
    """Data set, loader and inferer of a block of a config."""
    images = _target("scripts.tiny.find_images", folder=folder)
    return {
        "dataset": _target("scripts.tiny.TinyDataset", data=images, upscale="@upscale"),
        "dataloader": _target("DataLoader", dataset=f"@{block}dataset", batch_size=2),
        "inferer": _target("SimpleInferer"),
    }


def _evaluator(block: str, **arguments: Any) -> dict[str, Any]:
    data = {
        "val_data_loader": f"@{block}dataloader",
        "inferer": f"@{block}inferer",
        "val_handlers": f"@{block}handlers",
    }
    return _target("SupervisedEvaluator", **ENGINE, **data, **arguments)


ENGINE = {"device": "@device", "network": "@network"}
START: dict[str, Any] = {
    "imports": ["$import sys", "$import traceback"],
    "bundle_root": json.loads((BUNDLES / bundle_names()[0] / "configs" / "train.json").read_text())["bundle_root"],
    "dataset_dir": "/workspace/data/tiny",
    "output_dir": "$@bundle_root + '/eval'",
    "ckpt_dir": "$@bundle_root + '/models'",
    "width": 2,
    "upscale": 2,
    "device": "cpu",
    "network_def": _target("scripts.tiny.TinyNetwork", width="@width", upscale="@upscale"),
    "network": "$@network_def.to(@device)",
}
SAVED = {"save_dir": "@ckpt_dir", "save_dict": {"model": "@network"}, "save_final": True, "final_filename": "model.pt"}
TRAIN: dict[str, Any] = {
    **START,
    "epochs": 2,
    "val_interval": 1,
    "train": {
        **_data("$@dataset_dir + '/train'", "train#"),
        "optimizer": _target("torch.optim.Adam", params="$@network.parameters()"),
        "handlers": [
            _target("ValidationHandler", validator="@validate#evaluator", interval="@val_interval", epoch_level=True),
            _target("CheckpointSaver", **SAVED),
        ],
        "trainer": _target(
            "SupervisedTrainer",
            **{**ENGINE, "max_epochs": "@epochs", "train_data_loader": "@train#dataloader"},
            **{"optimizer": "@train#optimizer", "loss_function": _target("torch.nn.L1Loss")},
            **{"inferer": "@train#inferer", "train_handlers": "@train#handlers"},
        ),
    },
    "validate": {
        **_data("$@dataset_dir + '/valid'", "validate#"),
        "handlers": [],
        "key_metric": None,
        "evaluator": _evaluator("validate#", key_val_metric="@validate#key_metric"),
    },
    "initialize": ["$sys.path.insert(1, @bundle_root)"],
    "run": ["$@train#trainer.run()"],
}
LOAD = "$@network_def.load_state_dict(torch.load(@checkpoint, weights_only=True)) if @load_pretrain else None"
INFERENCE: dict[str, Any] = {
    **START,
    "load_pretrain": True,
    "checkpoint": "$@ckpt_dir + '/model.pt'",
    **_data("@dataset_dir"),
    "handlers": [_target("scripts.tiny.SaveArrays", output_dir="@output_dir")],
    "evaluator": _evaluator(""),
    "initialize": ["$sys.path.insert(1, @bundle_root)", LOAD],
    "run": ["$@evaluator.run()"],
}
TENSOR: dict[str, Any] = {
    **{"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "spatial_shape": ["*", "*"]},
    **{"dtype": "float32", "value_range": [0, 1], "is_patch_data": False, "channel_def": {"0": "image"}},
}
TEXTS = (
    *("name", "task", "description", "authors", "copyright", "data_source", "data_type"),
    *("image_classes", "label_classes", "pred_classes", "intended_use"),
)
PACKAGES = {"fire": "0.7.1", "pillow": "13.0.0", "pytorch-ignite": "0.5.5"}
METADATA: dict[str, Any] = {
    "schema": "https://example.org/meta_schema.json",
    "version": "0.2.0",
    "changelog": {"0.2.0": "second", "0.1.0": "first"},
    **{"monai_version": "1.6.1", "pytorch_version": "2.13.0", "numpy_version": "2.4.6"},
    **{"required_packages_version": PACKAGES, "supported_apps": {}, **dict.fromkeys(TEXTS, "tiny")},
    **{"eval_metrics": {"psnr_db": 30.5}, "references": []},
    "network_data_format": {"inputs": {"image": TENSOR}, "outputs": {"pred": TENSOR}},
}
FILES = {
    "LICENSE": "Apache License 2.0",
    "common/__init__.py": '"""Shared."""\n',
    "common/sizes.py": SIZES,
    "scripts/tiny.py": SCRIPT,
    "docs/README.md": "".join(f"## {section}\n" for section in README_SECTIONS) + "TensorRT has not been tried.\n",
    "docs/data_license.txt": "drawn by a program",
    "configs/logging.conf": "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n"
    "[logger_root]\nlevel=WARNING\nhandlers=\n",
}


def write_tiny_bundle(parent: Path) -> Path:
    """Write the bundle, with weights of a network of two channels."""
    import torch

    folder = parent / NAME
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    smoke = {"synthetic_data": "brain_mri", "epochs": 1}
    for name, config in {"metadata": METADATA, "train": TRAIN, "inference": INFERENCE, "smoke": smoke}.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
    (folder / "models").mkdir()
    torch.save(tiny_weights(2), folder / "models" / "model.pt")
    return folder


def tiny_weights(width: int) -> dict[str, Any]:
    """Weights of the network, of a width."""
    import torch

    shapes = {"0.weight": (width, 1, 3, 3), "0.bias": (width,), "2.weight": (1, width, 3, 3), "2.bias": (1,)}
    generator = torch.Generator().manual_seed(0)
    return {f"layers.{name}": torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def change_config(folder: Path, name: str, **values: Any) -> None:
    """Set keys of a config, `__` for `#`; `...` removes one."""
    path = folder / "configs" / name
    config = json.loads(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        *outer, last = key.split("__")
        inner = config
        for part in outer:
            inner = inner[part]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    path.write_text(json.dumps(config), encoding="utf-8")


def change_text(folder: Path, name: str, old: str, new: str) -> None:
    """Replace a text that is in a file."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def probe_checks(processes: ForkServerContext, folder: Path, group: str, work: Path) -> dict[str, Check]:
    """The checks of a group by name, made in a process forked from one that has imported PyTorch and MONAI."""
    process = processes.Process(target=probe.main, args=(group, str(folder), str(work)))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    lines = [json.loads(line) for line in (work / f"{group}.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["name"]: Check(**line) for line in lines if "begin" not in line}
