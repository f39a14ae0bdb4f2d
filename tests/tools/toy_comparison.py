"""A bundle that brings its own `common`, and runs of bundles whose results are prepared."""

import csv
import json
import zipfile

import numpy as np
import torch

from common.operators import fft2c, pack_measurement
from tools.command import run_commands
from tools.compare import compare
from tools.comparison import runs
from tools.comparison.capture import CaseFolder

BUNDLE = "brain_mri_refinegan_reconstruction"

TOY = """
from pathlib import Path
import numpy as np
import torch

def centred(transform, image):
    return np.fft.fftshift(transform(np.fft.ifftshift(image), norm="ortho"))

class Slices(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.paths = sorted(str(path) for path in Path(folder).glob("*.npy"))
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, number):
        image = np.load(self.paths[number])
        mask = np.zeros(image.shape)
        mask[:, ::2] = 1
        kspace = mask * centred(np.fft.fft2, image)
        stacked = np.stack([kspace.real, kspace.imag, mask]).astype(np.float32)
        truth = np.stack([image, 0 * image]).astype(np.float32)
        return {"image": stacked, "label": truth, "path": self.paths[number], "slice": 0, "n_slices": 1}

class Scaled(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor
    def forward(self, measurement):
        shifted = torch.fft.ifftshift(torch.complex(measurement[:, 0], measurement[:, 1]), dim=(1, 2))
        image = self.factor * torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(1, 2))
        return torch.stack((image.real, image.imag), 1)
"""

TOY_CONFIG = {
    "imports": ["$import sys"],
    "bundle_root": ".",
    "dataset_dir": "/workspace/data/toy",
    "load_pretrain": True,
    "factor": 1.0,
    "dataset": {"_target_": "common.toy.Slices", "folder": "@dataset_dir"},
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 2},
    "network_def": {"_target_": "common.toy.Scaled", "factor": "@factor"},
    "handlers": [],
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "cpu",
        "val_data_loader": "@dataloader",
        "network": "@network_def",
        "val_handlers": "@handlers",
    },
    "initialize": ["$sys.path.insert(1, @bundle_root)"],
    "run": ["$@evaluator.run()"],
}


def toy_archive(path, **configs):
    """The zip of the toy; `configs` are further files of its folder configs."""
    with zipfile.ZipFile(path, "w") as file:
        for name, config in {"inference": TOY_CONFIG, "metadata": {"version": "0.1.0"}, **configs}.items():
            file.writestr(f"toy/configs/{name}.json", json.dumps(config))
        file.writestr("toy/common/__init__.py", "")
        file.writestr("toy/common/toy.py", TOY)
    return path


def fake_run(monkeypatch, bundle=BUNDLE, **folders):
    """Entries whose inference gives prepared cases.

    By label lists of (path, slice, n_slices, arrays), or a function of the overrides that gives such a list.
    """

    def run(bundle, dataset_dir, overrides, folder):
        cases = CaseFolder(folder)
        prepared = folders[bundle.label]
        prepared = prepared(overrides) if callable(prepared) else prepared
        for number, (path, slice_index, n_slices, arrays) in enumerate(prepared):
            place = {"path": np.asarray(path), "slice": np.asarray(slice_index), "n_slices": np.asarray(n_slices)}
            cases.write(number, {**arrays, **place})
        return cases

    monkeypatch.setattr(runs, "run_captured", run)
    return [f"{label}={bundle}" for label in folders]


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refused(monkeypatch, capsys, folder, *words):
    """The last line of a comparison that is refused before anything runs and leaves nothing."""
    monkeypatch.setattr(runs, "run_captured", None)
    before = sorted(folder.iterdir())
    words = ["compare", folder, "--out", folder / "results" / "out", "--entries", *words]
    assert run_commands({"compare": compare}, "tools", list(map(str, words))) == 1
    assert sorted(folder.iterdir()) == before
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ")
    return captured.err.splitlines()[-1]


def case(seed=0, path="a.png", slice_index=0, n_slices=1, label=True, shift=0.0):
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(seed)).to(torch.complex64)
    mask = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(100 + seed)) < 0.5).float()
    truth = torch.view_as_real(image)[0, 0].permute(2, 0, 1)
    arrays = {"image": pack_measurement(mask * fft2c(image) + shift * mask, mask)[0], "pred": 0.9 * truth}
    return path, slice_index, n_slices, {**arrays, "label": truth} if label else arrays
