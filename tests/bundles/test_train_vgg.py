"""The texture network's training as its user starts it: commands on small textures."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from bundle_commands import ROOT, Result, WarmPython, overrides
from scripts.classifier_objective import ClassifierObjective

from common.networks import Vgg19Classifier, Vgg19Features
from common.phantoms.sets import make_set
from common.phantoms.texture_phantom import TEXTURES

BUNDLE = ROOT / "bundles" / "ct_mri_srgan_d_super_resolution"
WIDTH = 4


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vgg")


@pytest.fixture(scope="module")
def textures(scratch: Path) -> Path:
    make_set("textures", scratch / "textures", n_train=2, n_valid=1, n_test=0, size=48)
    return scratch / "textures"


def train(python: WarmPython, textures: Path, folder: Path, epochs: int = 2) -> Result:
    options = {
        "config_file": str(BUNDLE / "configs" / "train_vgg.json"),
        "bundle_root": str(BUNDLE),
        "logging_file": str(BUNDLE / "configs" / "logging.conf"),
        "dataset_dir": str(textures),
        "output_dir": str(folder / "out"),
        "ckpt_dir": str(folder / "models"),
        "device": "cpu",
        "width": WIDTH,
        "image_size": 48,
        "patch_size": {"small": 32, "large": 48},
        "batch_size": 8,
        "epochs": {"small": 1, "large": epochs - 1},
        "val_interval": 1,
    }
    return python("monai.bundle", "run", *overrides(**options))


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "out" / "history.csv").open(newline="") as file:
        return [{name: float(row[name]) for name in ("epoch", "loss", "accuracy")} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(python: WarmPython, textures: Path, scratch: Path) -> Path:
    result = train(python, textures, scratch / "run")
    assert result.status == 0, result.stderr
    return scratch / "run"


def test_training_is_logged_epoch_by_epoch(trained: Path) -> None:
    rows = history(trained)
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert 0 < row["loss"] < 1.5 * math.log(len(TEXTURES))
        assert 0 <= row["accuracy"] <= 1


def test_weights_are_those_of_a_perceptual_loss(trained: Path) -> None:
    path = trained / "models" / "vgg19_textures.pt"
    state = torch.load(path, weights_only=True)
    classifier = Vgg19Classifier(len(TEXTURES), width=WIDTH)
    assert state.keys() == classifier.state_dict().keys()
    assert {value.dtype for value in state.values()} == {torch.float16}
    classifier.load_state_dict(state)
    features = Vgg19Features(path, width=WIDTH, activation=True)
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = features(image)
    assert maps.shape == (2, 8 * WIDTH, 2, 2)
    torch.testing.assert_close(classifier.eval()(image), classifier.classifier(maps.mean((2, 3))))


def test_same_command_goes_on(python: WarmPython, textures: Path, trained: Path) -> None:
    before = history(trained)
    result = train(python, textures, trained, epochs=3)
    assert result.status == 0, result.stderr
    assert "resuming after iteration 8" in result.stdout + result.stderr
    rows = history(trained)
    assert rows[:2] == before
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_missing_textures_are_one_line(python: WarmPython, tmp_path: Path) -> None:
    result = train(python, tmp_path / "none", tmp_path)
    assert result.status == 1
    (line,) = result.errors
    assert line.startswith(f"error: dataset_dir: no folder {tmp_path / 'none'}; make synthetic textures with `python ")


def test_equal_logits_give_the_logarithm_of_the_number_of_classes() -> None:
    terms = ClassifierObjective().generator_terms({"label": torch.tensor([0, 4, 7])}, torch.full((3, 8), 2.5))
    assert {name: value.item() for name, value in terms.items()} == {"cross_entropy": pytest.approx(math.log(8))}
