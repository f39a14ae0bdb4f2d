"""Recipes are read whole and checked before anything runs; those of the bundles give every file that is shipped."""

import json
from pathlib import Path

import pytest
from quick_bundle import write_quick_bundle

from tools.__main__ import commands
from tools.command import run_commands
from tools.zoo.layout import BUNDLES, bundle_names

RECIPES = BUNDLES.parent / "recipes"
PICTURES = {"folder": "pictures", "splits": ["train"], "source": "pictures of a museum"}
STEP = {"name": "one", "data": "pictures", "yields": {"models/model.pt": "model.pt"}}
EVALUATION = {"name": "far", "data": "pictures", "weights": {"checkpoint": "one/model.pt"}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    (tmp_path / "data" / "pictures" / "train").mkdir(parents=True)
    (tmp_path / "data" / "pictures" / "train" / "1.png").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(name, *words):
    words = ["train", name, "--check", *map(str, words)]
    return run_commands(commands(words), "tools", words)


def written(folder, **changes):
    content = {"data": {"pictures": PICTURES}, "steps": [STEP], "evaluate": [EVALUATION], **changes}
    (folder / "recipe.json").write_text(json.dumps(content))
    return "recipe.json"


@pytest.mark.parametrize("name", bundle_names())
def test_the_recipe_of_each_bundle_gives_what_it_ships(name, tmp_path, capsys):
    recipe = json.loads((RECIPES / f"{name}.json").read_text())
    for entry in recipe["data"].values():
        for split in entry.get("splits", [""]) if "folder" in entry else []:
            (tmp_path / "data" / entry["folder"] / split).mkdir(parents=True)
            (tmp_path / "data" / entry["folder"] / split / "1").touch()
    assert check(name, "--data", tmp_path / "data", "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("step ") for line in lines) == len(recipe["steps"])
    assert sum(line.startswith("evaluation ") for line in lines) == len(recipe["evaluate"])
    given = {target for step in recipe["steps"] for target in step["yields"]} | set(recipe.get("copies", {}))
    # a recipe may also train a variant whose weights are not shipped yet
    assert given >= {f"models/{path.name}" for path in (BUNDLES / name / "models").glob("*.pt")}
    assert not (tmp_path / "out").exists()


def test_the_recipes_pass_on_the_shared_data(shared_data, tmp_path):
    for name in bundle_names():
        assert check(name, "--data", shared_data, "--out", tmp_path) == 0


def test_check_says_what_would_be_run(folder, capsys):
    textures = {"make": "textures", "options": {"n_train": 3, "seed": 1}}
    steps = [STEP, {"name": "two", "data": "textures", "weights": {"initial_weights": "one/model.pt"}}]
    path = written(folder, data={"pictures": PICTURES, "textures": textures}, steps=steps)
    assert check("bundle", "--recipe", path, "--data", "data", "--out", "out") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"data pictures: {folder / 'data' / 'pictures'} (pictures of a museum)",
        f"data textures: {folder / 'out' / 'data' / 'textures'} (synthetic, to be made: python -m tools data make "
        "textures --n_train 3 --seed 1)",
        "step one: train.json on pictures, gives models/model.pt",
        "step two: train.json on textures, initial_weights of one/model.pt",
        "evaluation far: inference.json, evaluate.json on pictures, checkpoint of one/model.pt",
        f"into {folder / 'out'}",
    ]


def step(**changes):
    return {"steps": [{**STEP, **changes}]}


def evaluation(**changes):
    return {"evaluate": [{**EVALUATION, **changes}]}


WRONG = [
    ({"step": []}, "unknown key 'step'; expected data, steps, evaluate, copies"),
    ({"steps": []}, "steps: expected at least one, got none"),
    ({"steps": {}}, "steps: expected a list, got {}"),
    ({"steps": ["one"]}, "expected a step as an object, got 'one'"),
    ({"steps": [STEP, STEP]}, "step: name: expected a name of its own (letters, digits, . _ -), got 'one'"),
    (step(name="a=b"), "step: name: expected a name of its own"),
    (step(epochs=3), "step one: unknown key 'epochs'; expected name, config, data, overrides, weights, yields"),
    (step(overrides={"epoch": 3}), "step one: overrides: unknown key 'epoch', train.json have"),
    (step(overrides={"phases#pixle": 3}), "overrides: unknown key 'phases#pixle', phases has pixel"),
    (step(overrides={"dataset_dir": "x"}), "overrides: dataset_dir follows from --data and --out; remove it"),
    (step(overrides={"ckpt_dir": "x"}), "overrides: unknown key 'ckpt_dir'"),
    (step(overrides=[]), "overrides: expected an object, got []"),
    (step(config="train.json"), "config: expected a list of files, got 'train.json'"),
    (step(config=["trian.json"]), "config: no file trian.json, bundle has evaluate.json, inference.json"),
    (step(data="photos"), "data: expected one of pictures, got 'photos'; add it"),
    (step(weights={"weights": "models/model.pt"}), "weights: unknown key 'weights'"),
    (
        step(weights={"initial_weights": "two/model.pt"}),
        "initial_weights: expected STEP/FILE of an earlier step (none)",
    ),
    (step(weights={"initial_weights": "models/model.pt"}), "or models/NAME.pt of the bundle, got 'models/model.pt'"),
    (step(yields={"../model.pt": "model.pt"}), "expected a file models/NAME.pt of the bundle, got '../model.pt'"),
    (evaluation(yields={}), "evaluation far: unknown key 'yields'"),
    (evaluation(weights={"checkpoint": "two/model.pt"}), "of an earlier step (one) or models/NAME.pt"),
    ({"copies": {"models/a.pt": "bundle/models/none.pt"}}, "expected BUNDLE/models/NAME.pt of this repository"),
    ({"data": {"pictures": {}}}, "data pictures: expected folder, splits, source, optional of a real set, or make"),
    ({"data": {"pictures": {**PICTURES, "seed": 1}}}, "data pictures: unknown key 'seed'; expected folder"),
    ({"data": {"pictures": {"make": "cats"}}}, "make: expected one of brain_mri, cardiac_cine"),
    ({"data": {"pictures": {"make": "rock", "options": {"dim": 3}}}}, "options: unknown key 'dim'; rock has dims"),
    ({"data": {"pictures": {"make": "rock", "options": {"workers": 3}}}}, "options: unknown key 'workers'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_run_is_refused_in_one_line(folder, capsys, changes, message):
    path = written(folder, **changes)
    assert check("bundle", "--recipe", path, "--data", "data", "--out", "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: recipe.json: ")
    assert message in error
    assert error.count("\n") == 1


def test_missing_data_are_named_with_what_to_do(folder, capsys):
    path = written(folder)
    (folder / "data" / "pictures" / "train" / "1.png").unlink()
    assert check("bundle", "--recipe", path, "--data", "data") == 1
    assert capsys.readouterr().err == (
        f"error: recipe.json: one: data pictures: nothing in {folder / 'data' / 'pictures' / 'train'}; put there: "
        "pictures of a museum; or give another --data\n"
    )
    assert check("bundle", "--recipe", path) == 1
    assert capsys.readouterr().err == (
        "error: recipe.json: data pictures: needs pictures (pictures of a museum); give --data FOLDER\n"
    )


@pytest.mark.parametrize("words", [(), ("--data", "data")])
def test_evaluations_on_optional_data_are_left_out_where_these_are_missing(folder, capsys, words):
    sets = {"pictures": {"make": "textures"}, "moon": {"folder": "moon", "optional": True}}
    path = written(folder, data=sets, evaluate=[{**EVALUATION, "data": "moon"}])
    assert check("bundle", "--recipe", path, "--out", "out", *words) == 0
    assert "evaluation far: left out, " in capsys.readouterr().out
    path = written(folder, data=sets, steps=[{**STEP, "data": "moon"}])
    assert check("bundle", "--recipe", path, "--out", "out", *words) == 1  # to train on they are needed


@pytest.mark.parametrize("hours", ["0", "-1", "soon", "True"])
def test_hours_are_a_number_above_zero(folder, capsys, hours):
    assert check("bundle", "--recipe", written(folder), "--data", "data", "--hours", hours) == 1
    assert "--hours: expected a number above 0, got" in capsys.readouterr().err


def test_a_bundle_without_a_recipe_is_told_where_one_is_expected(folder, capsys):
    assert check("bundle", "--data", Path("data")) == 1
    assert f"{RECIPES / 'bundle.json'}: expected a JSON file, got" in capsys.readouterr().err
