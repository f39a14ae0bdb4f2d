"""Lists and recipes of `tools run`: what they mean, and everything that cannot be run, before anything runs."""

import json
import re

import pytest
import yaml
from quick_bundle import write_list, write_quick_bundle

from tools.__main__ import commands
from tools.command import run_commands
from tools.run.reader import read_task_list
from tools.run.reading import read_mapping
from tools.zoo.layout import BUNDLES, ROOT, bundle_names, read_json


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder, tasks, **further):
    return read_task_list(write_list(folder / "list.yaml", tasks, **further))


def by_name(job):
    return {task.name: task for task in job.tasks}


def test_overrides_reach_the_runs_that_know_them(folder):
    job = read(
        folder,
        [
            {"name": "a", "overrides": {"loss": "SSIM", "network_name": "B"}, "predict": {"split": "test"}},
            {"name": "b", "type": "train", "overrides": {"run#0": 1, "epochs": 3}, "mail": True},
        ],
        defaults={"overrides": {"epochs": 5, "dataset_dir": "d"}, "train": {"pause": 1}, "predict": {"table": "x"}},
    )
    a, b = job.tasks
    assert [run.kind for run in a.runs] == ["train", "predict"]
    assert a.runs[0].overrides == {"epochs": 5, "dataset_dir": "d", "loss": "SSIM", "network_name": "B", "pause": 1}
    assert a.runs[1].overrides == {"dataset_dir": "d", "network_name": "B", "table": "x", "split": "test"}
    assert [path.name for path in a.runs[1].configs] == ["inference.json", "evaluate.json"]
    assert [run.overrides for run in b.runs] == [{"run#0": 1, "epochs": 3, "dataset_dir": "d", "pause": 1}]
    assert (a.mail, b.mail, job.mail) == (False, True, False)
    models = str(folder / "out" / "a" / "models")
    assert [a.places(run)["ckpt_dir"] for run in a.runs] == [models, models]
    places = [task.places(run)["output_dir"] for task in job.tasks for run in task.runs]
    assert places == [str(folder / "out" / name) for name in ("a/train", "a/predict", "b/train")]


def test_weights_are_of_an_earlier_training_the_bundle_or_a_file(folder):
    (folder / "w.pt").touch()
    (folder / "bundle" / "models").mkdir()
    (folder / "bundle" / "models" / "model.pt").touch()
    found = by_name(
        read(
            folder,
            [
                {"name": "own", "type": "predict", "config": "inference.json"},
                {"name": "first", "type": "train", "weights": "w.pt", "yields": {"models/model.pt": "best.pt"}},
                {"name": "second", "weights": {"initial_weights": "first/best.pt", "phases#pixel": "first/best.pt"}},
                {"name": "path", "type": "predict", "weights": "out/first/models/best.pt"},
                {"name": "old", "type": "predict", "weights": "models/model.pt"},
            ],
        )
    )
    best = str(folder / "out" / "first" / "models" / "best.pt")
    assert "ckpt_dir" not in found["own"].places(found["own"].runs[0])
    assert found["own"].runs[0].overrides == {}
    assert found["first"].runs[0].overrides == {"initial_weights": str(folder / "w.pt")}
    nested = {"initial_weights": best, "phases#pixel": best}
    assert [run.overrides for run in found["second"].runs] == [nested, {}]
    assert found["path"].runs[0].overrides == {"checkpoint": best}
    assert found["old"].runs[0].overrides == {"checkpoint": str(folder / "bundle" / "models" / "model.pt")}
    assert [task.needs for task in found.values()] == [(), (), ("first",), ("first",), ()]
    # a prediction is another one when the training behind its weights is defined otherwise
    made_by = found["path"].runs[0].definition["made_by"]
    changed = read(folder, [{"name": "first", "type": "train"}, {"name": "path", "type": "predict", "weights": best}])
    assert changed.tasks[1].runs[0].definition["made_by"] != made_by
    assert str(folder) not in json.dumps(found["path"].runs[0].definition["weights"])
    (folder / "bundle" / "models" / "model.pt").write_text("another")
    again = read(folder, [{"name": "old", "type": "predict", "weights": "models/model.pt"}]).tasks[0]
    assert again.runs[0].definition["made_by"] != found["old"].runs[0].definition["made_by"]


def test_each_makes_a_task_for_every_end_of_the_name(folder):
    task = {"name": "a", "overrides": {"loss": "MSE", "epochs": 1}, "each": {"x": {"epochs": 2}, "y": {}}}
    found = by_name(read(folder, [task]))
    assert {name: one.runs[0].overrides["epochs"] for name, one in found.items()} == {"a_x": 2, "a_y": 1}


def test_numbers_are_read_as_their_writer_means_them(tmp_path):
    (tmp_path / "a.yaml").write_text("values: [1e-4, 1.5e3, -2E5, 1e, none]\n")
    assert read_mapping(tmp_path / "a.yaml")["values"] == [1e-4, 1500, -200000, "1e", "none"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", r"a\.yaml: .*c is given twice.*line 3"),
        ("a: [1\n", r"a\.yaml: .*line 2"),
        ("a: !!python/object:os.system {}\n", r"a\.yaml: .*line 1"),
        ("a: 2024-01-01\n", r"a\.yaml: .*date"),
        ("", r"a\.yaml: .*NoneType"),
        ("- a\n", r"a\.yaml: .*list"),
        (None, r"a\.yaml: .*No such file"),
    ],
)
def test_files_that_are_no_mapping_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_mapping(tmp_path / "a.yaml")


def one(**changes):
    return {"tasks": [{"name": "a", **changes}]}


PICTURES = {"pictures": {"folder": "pictures", "source": "a museum"}}
WRONG = [
    ({"task": []}, "unknown key 'task'; expected output_dir"),
    ({"mail": {"password": "x1y2"}}, "mail: .*got a mapping"),
    ({"defaults": {"name": "x"}}, "defaults: .*without a name"),
    ({"defaults": {"overrides": {"los": 1}}}, "defaults: overrides: unknown key 'los'"),
    ({"tasks": []}, "tasks: .*at least one task"),
    ({"tasks": [{"type": "train"}]}, "task 1: name: missing"),
    ({"tasks": [{"name": "a"}, {"name": "A"}]}, "task A: an earlier task"),
    (one(epoch=1), "task a: unknown key 'epoch'; expected name, type"),
    *((one(name=name), "task .*name: .*folder") for name in ("a/b", 7, "tasks.json")),
    (one(bundle="heart"), "task a: bundle: heart"),
    (one(type="train", predict={}), "task a: predict: .*no such run"),
    (one(type="predict", yields={"models/a.pt": "a.pt"}), "task a: yields"),
    (one(yields={"../a.pt": "a.pt"}), r"task a: yields: .*'\.\./a\.pt'"),
    (one(config="train.json"), "task a: config: .*which run"),
    (one(type="train", config="x.json"), r"task a: config: no file x\.json, bundle has"),
    (one(type="predict", config="evaluate.json"), "task a: config: .*cannot run alone"),
    (one(type="train", config="damaged.json"), r"task a: config: .*damaged\.json"),
    (one(overrides={"network": "B"}), "task a: overrides: unknown key 'network'"),
    (one(overrides={"phases#pixle": 3}), "task a: overrides: unknown key 'phases#pixle', phases has pixel"),
    (one(train={"split": 1}), "task a: train: unknown key 'split'"),
    (one(weights="none.pt"), "task a: weights: .*'none.pt'"),
    (one(weights="a/model.pt"), "task a: weights: .*earlier training"),
    (one(weights={"weight": "list.yaml"}), "task a: weights: unknown key 'weight'"),
    (one(weights="list.yaml", train={"initial_weights": "x"}), "task a: initial_weights follows"),
    (one(data="photos"), "task a: data: .*pictures.*'photos'"),
    (one(data="pictures"), "task a: data pictures: nothing in .*a museum.*--data"),
    (one(type="train", config=["train.json", "places.json"], overrides={"output_dir": "y"}), "task a: output_dir"),
    ({"data": {"p": {}}}, "data: p: folder: missing"),
    ({"data": {"p": {"make": "cats"}}}, "data: p: make: .*brain_mri"),
    ({"data": {"p": {"make": "rock", "options": {"dim": 3}}}}, "data: p: options: unknown key 'dim'"),
    ({"data": {"p": {"sets": ["q"]}, "q": {"folder": "q"}}}, "data: p: sets: .*'q'"),
    ({"copies": {"models/a.pt": "bundle/models/none.pt"}}, "copies: .*none.pt"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_what_cannot_be_run_is_refused_in_one_line(folder, changes, message):
    (folder / "bundle" / "configs" / "damaged.json").write_text("{")
    (folder / "bundle" / "configs" / "places.json").write_text('{"output_dir": "x"}')
    content = {"data": PICTURES, **one(), **changes}
    with pytest.raises(ValueError, match=message) as caught:
        read(folder, content.pop("tasks"), **content)
    assert str(caught.value).startswith(f"{folder / 'list.yaml'}: ")
    assert "\n" not in str(caught.value)
    assert "x1y2" not in str(caught.value)
    assert not (folder / "out").exists()


def test_a_task_takes_several_sets_and_sets_of_measured_pores(folder):
    (folder / "one").mkdir()
    (folder / "one" / "a.png").touch()
    (folder / "rock.npz").touch()
    data = {
        "one": {"folder": "one"},
        "pores": {"make": "rock", "options": {"size": 32, "pores": "rock.npz"}},
        "all": {"sets": ["one", "pores"]},
    }
    run = read(folder, [{"name": "a", "type": "train", "data": "all"}], data=data).tasks[0].runs[0]
    assert run.overrides["dataset_dir"] == [str(folder / "one"), str(folder / "out" / "data" / "pores")]
    (folder / "rock.npz").unlink()
    with pytest.raises(ValueError, match=r"data all: nothing in .*rock\.npz"):
        read(folder, [{"name": "a", "type": "train", "data": "all"}], data=data)


def test_predictions_on_optional_data_are_left_out_where_these_are_missing(folder):
    moon = {"moon": {"folder": "moon", "optional": True}}
    tasks = [{"name": "a"}, {"name": "far", "type": "predict", "data": "moon"}]
    job = read(folder, tasks, data=moon)
    assert [task.name for task in job.selected] == ["a"]
    assert job.left_out == {"far": f"{folder / 'moon'} is not there"}
    (folder / "moon").mkdir()
    (folder / "moon" / "1.png").touch()
    job = read(folder, tasks, data=moon)
    assert job.selected[1].runs[0].overrides == {"dataset_dir": str(folder / "moon")}
    again = read(folder, tasks, data={"moon": {"folder": "moon", "source": "words"}})
    assert again.selected[1].runs[0].definition == job.selected[1].runs[0].definition


def test_only_selects_tasks(folder):
    path = write_list(folder / "list.yaml", [{"name": "a"}, {"name": "b"}])
    assert [task.name for task in read_task_list(path, only=["b"]).selected] == ["b"]
    with pytest.raises(ValueError, match="--only: no task c, expected some of a, b"):
        read_task_list(path, only=["c"])


@pytest.mark.parametrize("name", bundle_names())
def test_the_recipe_of_each_bundle_gives_what_it_ships(name, tmp_path):
    path = BUNDLES / name / "recipe.yaml"
    for entry in read_mapping(path)["data"].values():
        for split in entry.get("splits", [""]) if "folder" in entry else []:
            (tmp_path / "data" / entry["folder"] / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / entry["folder"] / split / "1").touch()
        if pores := entry.get("options", {}).get("pores"):
            (tmp_path / "data" / pores).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / pores).touch()
    job = read_task_list(path, data=tmp_path / "data", out=tmp_path / "out")
    given = {target for task in job.tasks for target in task.yields} | set(job.copies)
    shipped = {f"models/{path.name}" for path in (BUNDLES / name / "models").glob("*.pt")}
    assert given >= shipped  # a recipe may also train a variant whose weights are not shipped yet
    found = [task for task in job.tasks if task.predicts]
    weights = [one.predicts_with for one in found if one.predicts_with]  # a method without weights has none
    assert {path.parent.parent.name for path in weights} <= {task.name for task in job.tasks if task.trains}

    now = read_task_list(path, data=tmp_path / "data", out=tmp_path / "out", shipped=True)
    weights = [one.predicts_with for one in now.tasks if one.predicts_with]
    assert {path.relative_to(BUNDLES / name).as_posix() for path in weights} <= shipped
    assert {task.name for task in now.tasks} | set(now.left_out) == {one.name for one in found}
    assert not any(task.trains for task in now.tasks)
    assert now.output_dir == tmp_path / "out" / "shipped"


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/docs/*.yaml")), ids=lambda path: path.name)
def test_the_lists_beside_documents_can_be_run(path, tmp_path):
    for split in ("train", "valid"):
        (tmp_path / "brain_ixi" / split).mkdir(parents=True)
        (tmp_path / "brain_ixi" / split / "1").touch()
    assert read_task_list(path, data=tmp_path).selected


SEED = """
[task_name, task_type, email_notification, input_data_path, x_train, y_train, x_test, y_test, x_val, y_val,
saved_network_weights, network_settings, network_type, batch_size, epochs, loss, metrics, optimizer, type,
learning_rate, regularization, parameters, early_stopping, use, patience, min_delta, output_data_dir]
"""
"""Keys of the task in UNet-MRI-Reconstruction's training_config.yaml."""


def test_the_documented_list_has_a_place_for_every_key_of_the_translation(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "TASKS.md").read_text()
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "list.yaml").write_text(blocks[0])
    job = read_task_list(tmp_path / "list.yaml")
    assert len(job.tasks) == 4
    configs = BUNDLES / "cardiac_cine_unet_reconstruction" / "configs"
    schema = read_json(ROOT / "tools" / "run" / "schema.json")
    train = read_json(configs / "train.json") | read_json(configs / "magnitudes.json")
    keys = {*train, *read_json(configs / "inference.json"), *schema["properties"]}
    keys |= {*schema["$defs"]["task"]["properties"], "train", "valid", "test", "null"}
    rows = [line.split("|")[1:3] for line in text[text.index("## From") :].splitlines() if line.startswith("| `")]
    given = {key for left, _ in rows for key in re.findall(r"`([a-z_]+)`", left)}
    assert given >= set(yaml.safe_load(SEED))
    for key in {key for _, right in rows for key in re.findall(r"`([a-z_#]+)[:`]", right)}:
        block, _, inner = key.partition("#")
        assert block in keys
        assert not inner or inner in train[block]


def test_check_only_says_what_would_be_run(folder, capsys):
    textures = {"textures": {"make": "textures", "options": {"n_train": 3, "seed": 1}}}
    tasks = [
        {"name": "a", "type": "train", "overrides": {"loss": "SSIM"}, "data": "textures"},
        {"name": "b", "type": "predict", "weights": "a/model.pt"},
    ]
    words = ["run", str(write_list(folder / "list.yaml", tasks, data=textures)), "--check"]
    assert run_commands(commands(words), "tools", words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"data textures: {folder}/out/data/textures (synthetic, to be made: python -m tools data make textures "
        "--n_train 3 --seed 1)",
        'a: train bundle train.json {"loss": "SSIM"} on textures',
        "b: predict bundle inference.json, evaluate.json {}, checkpoint of a/model.pt",
        f"into {folder / 'out'}",
    ]
    assert not (folder / "out").exists()
    for hours in ("0", "soon", "True"):
        assert run_commands(commands(words), "tools", [*words, "--hours", hours]) == 1
        assert "--hours: expected a number above 0" in capsys.readouterr().err
