"""`python -m tools docs --measure`, with a program in the place of MONAI's that copies a table."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from quick_bundle import PROGRAM, table, write_quick_bundle

from common.inferers import SamplingInferer
from tools.docs import measure
from tools.docs.command import docs
from tools.docs.measure import measure_bundle, setting_of
from tools.docs.results import digest, read_results, write_results
from tools.docs.speed import note_speed
from tools.run import process

RECIPE = {
    "data": {"hearts": {"folder": "hearts"}, "far": {"folder": "far", "optional": True}},
    "defaults": {"bundle": "bundle", "data": "hearts"},
    "tasks": [
        {"name": "train_best", "type": "train", "yields": {"models/model.pt": "model.pt"}},
        {"name": "train_large", "type": "train", "yields": {"models/model_large.pt": "model.pt"}},
        {
            "name": "best",
            "type": "predict",
            "weights": "train_best/model.pt",
            "each": {
                "a": {"table": "a.csv", "mask_family": "radial"},
                "b": {"table": "b.csv", "mask_family": "spiral"},
            },
        },
        {"name": "far", "type": "predict", "data": "far", "weights": "train_best/model.pt"},
        {"name": "large", "type": "predict", "weights": "train_large/model.pt"},
    ],
    "comparisons": [
        {
            "name": "compare",
            "data": "hearts",
            "entries": ["tv", "model", "model_large@wide"],
            "perceptual_weights": "other/models/vgg.pt",
            "overrides": {"mask_family": "radial"},
        }
    ],
}
README = """<!-- table:
where: {metric: ssim}
rows: {mask: [radial, spiral]}
columns: {before: {method: aliased}, after: {method: model}}
-->
<!-- /table -->
"""


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.setattr(process, "POLL_S", 0.02)
    folder = write_quick_bundle(tmp_path / "bundle")
    inference = json.loads((folder / "configs" / "inference.json").read_text())
    (folder / "configs" / "inference.json").write_text(json.dumps({**inference, "mask_family": "", "device": ""}))
    (folder / "configs" / "metadata.json").write_text('{"version": "0.1.0",\n"eval_metrics": {}\n}')
    for name, content in {
        "recipe.yaml": yaml.safe_dump(RECIPE),
        "docs/README.md": README,
        "models/model.pt": "w",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (tmp_path / "data" / "hearts").mkdir(parents=True)
    (tmp_path / "data" / "hearts" / "one.h5").touch()
    table(tmp_path / "a.csv", [0.8, 0.9])
    table(tmp_path / "b.csv", [0.7, 0.9])
    asked = []

    def compare_entries(dataset_dir, texts, out, **options):
        asked.append((dataset_dir, texts, options))
        out.mkdir(parents=True)
        Path(table(out / "metrics.csv", [0.6])).write_text(
            (out / "metrics.csv").read_text().replace("aliased", "tv").replace("reconstruction", "model")
        )

    monkeypatch.setattr(measure, "compare_entries", compare_entries)
    return folder, asked


def run(bundle, only=(), **options):
    return measure_bundle(bundle, Path("out").absolute(), Path("data").absolute(), only, **options)


def numbers(bundle):
    frame = read_results(bundle)
    ssim = frame[frame["metric"] == "ssim"]
    return dict(zip(ssim["mask"] + " " + ssim["method"], ssim["mean"], strict=True))


def test_each_evaluation_is_measured_once_for_its_weights(bundle):
    folder, asked = bundle
    lines = run(folder)
    measured = [line.partition(":")[0] for line in lines if line.startswith("measured")]
    assert measured == ["measured best_a", "measured best_b", "measured compare"]
    assert [line for line in lines if "left out" in line and line.startswith(("far", "large"))] == lines[:2]
    assert numbers(folder) == pytest.approx(
        {"radial aliased": 0.5, "radial model": 0.85, "spiral aliased": 0.5, "spiral model": 0.8, "radial tv": 0.5}
    )
    ((_, texts, options),) = asked
    # the weights of `large` are not shipped, and what an evaluation has measured is not taken from a comparison
    assert texts == ["tv", f"model={folder}:{folder / 'models' / 'model.pt'}"]
    assert options["measure_like"] == ""  # the first bundle says how data are measured
    assert options["perceptual_weights"].endswith("bundles/other/models/vgg.pt")
    assert (options["device"], options["mask_family"]) == ("cpu", "radial")
    given = json.loads(Path("out/shipped/best_a/predict.json").read_text())
    assert given["checkpoint"] == str(folder / "models" / "model.pt")
    assert given["+run"][0]["_target_"] == "tools.docs.speed.note_speed"
    assert [line for line in run(folder) if line.startswith("measured")] == []

    table(Path("a.csv"), [0.9, 0.9])
    assert [line for line in run(folder, ["best_a"], fresh=True) if "measured" in line] == ["measured best_a: 4 rows"]
    assert numbers(folder)["radial model"] == pytest.approx(0.9)
    (folder / "models" / "model.pt").write_text("new weights")
    table(Path("b.csv"), [0.6, 0.8])
    run(folder, ["best_b"])
    frame = read_results(folder)
    assert numbers(folder)["spiral model"] == pytest.approx(0.7)
    hashes = frame[frame["method"] == "model"].groupby("mask")["sha256"].unique()
    assert hashes["spiral"].tolist() == [digest(folder / "models" / "model.pt")]
    assert hashes["radial"].tolist() != hashes["spiral"].tolist()


def test_speed_is_measured_in_the_first_evaluation_of_weights(bundle):
    folder, _ = bundle

    def steps(name):
        run(folder, [name], fresh=True)
        added = json.loads(Path(f"out/shipped/{name}/predict.json").read_text()).get("+run", [])
        return [step["_target_"] for step in added]

    assert steps("best_b") == []
    assert steps("best_a") == ["tools.docs.speed.note_speed"]
    frame = read_results(folder)
    frame.loc[frame["evaluation"] == "best_b", "protocol"] = "speed"
    write_results(folder, frame)
    # else its rows of the speed would be lost
    assert steps("best_b") == ["tools.docs.speed.note_speed"]


def test_an_evaluation_that_fails_keeps_the_others(bundle):
    folder, _ = bundle
    recipe = json.loads(json.dumps(RECIPE))
    recipe["tasks"][2]["each"]["a"]["how"] = "fails"
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ValueError, match=r"best_a: data: expected images, got none; draw some \(log in .*tries them"):
        run(folder)
    assert read_results(folder)["evaluation"].unique().tolist() == ["best_b", "compare"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert [line for line in run(folder) if "measured" in line] == ["measured best_a: 4 rows"]


def test_names_that_are_not_in_the_recipe_are_refused(bundle):
    folder, _ = bundle
    with pytest.raises(ValueError, match="bundle has no evaluation worst, but best_a, best_b, compare"):
        run(folder, ["worst"])
    with pytest.raises(ValueError, match=r"no evaluation large, .*not shipped"):
        run(folder, ["large"])


def test_the_command_writes_what_was_measured_into_the_document(bundle, capsys):
    folder, _ = bundle
    docs("bundle", measure=True, data="data")._run()
    lines = (folder / "docs" / "README.md").read_text().splitlines()
    assert lines[-3:-1] == ["| radial | 0.500 | 0.850 |", "| spiral | 0.500 | 0.800 |"]
    assert docs("bundle", check=True)._run() == "every printed number is as measured"
    (folder / "docs" / "README.md").write_text("\n".join(lines).replace("0.850", "0.851") + "\n")
    with pytest.raises(ValueError, match=r"README\.md differs from docs/results\.csv"):
        docs("bundle", check=True)._run()
    (folder / "models" / "model.pt").write_text("new weights")
    assert "measure again with --only best_a,best_b" in docs("bundle")._run()


@pytest.mark.parametrize(
    ("config", "mask", "rate"),
    [
        ({"mask_family": "radial", "sampling_rate": 0.1, "mask#options": "$dict()"}, "radial", "0.1"),
        ({"mask_family": "radial", "sampling_rate": 0.1, "mask#file": "$@dataset_dir + '/m/r_10.png'"}, "r_10.png", ""),
        ({"accelerations": [8], "center_fractions": [0.04]}, "", "8"),
        ({"accelerations": [4, 8.5]}, "", "4,8.5"),
        ({"mask_family": "radial_golden", "n_spokes": 13, "accel": 8}, "radial_golden", "13"),
        (
            {"degradation_name": "mr", "degradation#options": {"noise_std": 0.0, "aligned": False}, "upscale": 4},
            "mr noise_std=0 aligned=False",
            "4",
        ),
    ],
)
def test_mask_and_rate_of_an_evaluation(tmp_path, config, mask, rate):
    (tmp_path / "inference.json").write_text(json.dumps({"mask_family": "cartesian", "mask#file": None}))
    (tmp_path / "plain.json").write_text("{}")
    assert setting_of([tmp_path / "plain.json"], config) == {"mask": mask, "rate": rate}
    changed = setting_of([tmp_path / "inference.json"], {**config, "mask_family": "spiral", "mask#file": None})
    assert changed["mask"].startswith("spiral")


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, image):
        return image * self.weight.sum()

    def samples(self, measurement, noise):
        return noise * self.weight.sum()


def test_size_and_speed_are_noted(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.docs.speed.SECONDS", 0.01)

    def prepare_batch(batch, device, non_blocking):
        return batch["image"], batch["image"]

    def rows(inferer):
        evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=[{"image": torch.ones(2, 1, 4, 4)}],
            network=Scaled(),
            prepare_batch=prepare_batch,
            inferer=inferer,
        )
        note_speed(evaluator, tmp_path)
        return [line.split(",") for line in (tmp_path / "speed.csv").read_text().splitlines()[1:]]

    ((protocol, file, _, method, parameters, milliseconds),) = rows(SimpleInferer())
    assert (protocol, file, method, parameters) == ("speed", "1x1x4x4", "reconstruction", "3")
    assert 0 < float(milliseconds) < 1000
    inferer = SamplingInferer(4)
    assert [row[3] for row in rows(inferer)] == ["reconstruction", "sample"]
    assert inferer.n_samples == 4
