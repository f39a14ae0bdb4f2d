"""Files of tasks: what they mean, and every way in which they cannot be run."""

import pytest
from quick_bundle import write_list, write_quick_bundle

from tools.tasks.strict_yaml import read_yaml
from tools.tasks.task_list import read_task_list


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder, tasks, **further):
    return read_task_list(write_list(folder / "list.yaml", tasks, **further))


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
    assert (a.mail, b.mail, job.mail, job.rank_by) == (False, True, False, "ssim")
    assert a.folder == folder / "out" / "a"
    models = str(folder / "out" / "a" / "models")
    assert [a.places(run)["ckpt_dir"] for run in a.runs] == [models, models]
    assert a.places(a.runs[1])["output_dir"] == str(folder / "out" / "a" / "predict")


def test_a_prediction_alone_has_the_weights_of_the_bundle_or_those_named(folder):
    (folder / "w.pt").touch()
    own, named, earlier, trained = read(
        folder,
        [
            {"name": "own", "type": "predict", "config": "inference.json"},
            {"name": "named", "type": "predict", "weights": "w.pt"},
            {"name": "earlier", "type": "predict", "weights": "out/own/models/model.pt"},
            {"name": "trained", "type": "train", "weights": "w.pt"},
        ],
    ).tasks
    assert "ckpt_dir" not in own.places(own.runs[0])
    assert [path.name for path in own.runs[0].configs] == ["inference.json"]
    assert named.runs[0].overrides == {"checkpoint": str(folder / "w.pt")}
    assert named.runs[0].definition["overrides"] == {"checkpoint": "w.pt"}
    assert earlier.runs[0].overrides == {"checkpoint": str(folder / "out" / "own" / "models" / "model.pt")}
    assert trained.runs[0].overrides == {"initial_weights": str(folder / "w.pt")}


def test_defaults_go_to_the_tasks_that_know_them(folder):
    train, predict = read(
        folder,
        [
            {"name": "a", "type": "train", "overrides": {"pause": 3}},
            {"name": "b", "type": "predict", "predict": {"split": "x"}},
        ],
        defaults={
            "overrides": {"epochs": 5, "table": "t"},
            "train": {"loss": "SSIM", "pause": 2},
            "predict": {"split": "test"},
        },
    ).tasks
    assert train.runs[0].overrides == {"epochs": 5, "loss": "SSIM", "pause": 3}
    assert predict.runs[0].overrides == {"table": "t", "split": "x"}


def test_mail_is_on_by_default_if_settings_are_given(folder):
    path = write_list(folder / "list.yaml", [{"name": "a"}, {"name": "b", "mail": False}])
    job = read_task_list(path, mail_by_default=True)
    assert (job.mail, [task.mail for task in job.tasks]) == (True, [True, False])
    job = read_task_list(write_list(path, [{"name": "a"}], mail=False), mail_by_default=True)
    assert (job.mail, [task.mail for task in job.tasks]) == (False, [False])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5e3", 1500.0),
        ("1.0e-04", 1e-4),
        ("-2E5", -2e5),
        ("1e", "1e"),
        ("e4", "e4"),
        ("none", "none"),
    ],
)
def test_numbers_are_read_as_their_writer_means_them(tmp_path, text, value):
    (tmp_path / "a.yaml").write_text(f"learning_rate: {text}\n")
    found = read_yaml(tmp_path / "a.yaml")["learning_rate"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", r"a\.yaml, line 4: expected YAML, got: c is given twice; mend it"),
        ("a: [1\n", r"a\.yaml, line 2: expected YAML"),
        (
            "a: !!python/object:os.system {}\n",
            r"a\.yaml, line 1: expected YAML, got: could not determine a constructor",
        ),
        ("", r"a\.yaml: expected `key: value` lines, got NoneType; mend it"),
        ("- a\n", r"a\.yaml: expected `key: value` lines, got list; mend it"),
        ("1: a\n", r"a\.yaml: expected `key: value` lines, got dict; mend it"),
        (None, r"a\.yaml: expected a YAML file, got: No such file or directory; check the path"),
    ],
)
def test_files_that_are_no_mapping_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_yaml(tmp_path / "a.yaml")


WRONG_TASKS = [
    ([], r"list\.yaml: tasks: expected a list of at least one task, got \[\]; add `- name: \.\.\.`"),
    ("a", r"tasks: expected a list of at least one task, got 'a'"),
    (["a"], r"task 1: expected `key: value` lines, got 'a'"),
    ([{"name": "a", "epoch": 1}], r"task 1: unknown key 'epoch'; expected name, type, bundle, config"),
    ([{"type": "train"}], r"task 1: name: expected the name of a folder .*, got None"),
    ([{"name": "a/b"}], r"task 1: name: expected the name of a folder .*, got 'a/b'"),
    ([{"name": ".."}], r"name: expected the name of a folder .*, got '\.\.'"),
    ([{"name": 7}], r"name: expected the name of a folder .*, got 7; quote a number"),
    ([{"name": "tasks.json"}], r"name: expected the name of a folder .*, got 'tasks\.json'"),
    ([{"name": "a"}, {"name": "A"}], r"task 2: an earlier task is called A too; give it another name"),
    (
        [{"name": "a", "type": "fit"}],
        r"task a: type: expected train, predict, train_and_predict, got 'fit'; choose one",
    ),
    ([{"name": "a", "type": ["train"]}], r"task a: type: expected train, predict"),
    ([{"name": "a", "bundle": "heart"}], r"task a: bundle: heart: expected the name of a bundle \(.*\) or a folder"),
    ([{"name": "a", "mail": "x@y"}], r"task a: mail: expected true or false; where"),
    ([{"name": "a", "type": "train", "predict": {}}], r"task a: predict: a task of type train has no such run"),
    ([{"name": "a", "config": "train.json"}], r"task a: config: expected `train: \.\.\.` and `predict: \.\.\.`"),
    ([{"name": "a", "config": {"test": "a"}}], r"task a: config: unknown key 'test'; expected train, predict"),
    ([{"name": "a", "type": "train", "config": []}], r"task a: config: expected a file or a list of files, got \[\]"),
    (
        [{"name": "a", "type": "train", "config": "x.json"}],
        r"task a: config: no file x\.json, bundle has damaged\.json, evaluate\.json, .*, train\.json; correct it or",
    ),
    (
        [{"name": "a", "type": "predict", "config": "evaluate.json"}],
        r"task a: config: evaluate\.json cannot run alone, .*: \[inference\.json, \.\.\.\]",
    ),
    ([{"name": "a", "type": "train", "config": "damaged.json"}], r"task a: config: .*damaged\.json: expected a JSON"),
    ([{"name": "a", "overrides": ["loss"]}], r"task 1: overrides: expected keys of a configuration and values, got \["),
    ([{"name": "a", "overrides": {1: 2}}], r"task 1: overrides: expected keys of a configuration and values"),
    (
        [{"name": "a", "overrides": {"network": "B"}}],
        r"task a: overrides: unknown key 'network', train\.json and inference\.json and evaluate\.json have "
        "checkpoint, dataset_dir, epochs, evaluated,",
    ),
    ([{"name": "a", "train": {"split": 1}}], r"task a: train: unknown key 'split', train\.json have dataset_dir"),
    ([{"name": "a", "overrides": {"output_dir": "x"}}], r"task a: overrides: unknown key 'output_dir'"),
    ([{"name": "a", "weights": 3}], r"task a: weights: expected the path of a file, got 3"),
    ([{"name": "a", "weights": "none.pt"}], r"task a: weights: no file none\.pt, and none of an earlier task"),
    ([{"name": "a", "weights": "out/a/models/model.pt"}], r"task a: weights: no file out/a/models/model\.pt"),
    (
        [{"name": "a", "type": "predict", "weights": "list.yaml", "overrides": {"checkpoint": "x"}}],
        r"task a: weights: checkpoint is among the overrides too; keep one of them",
    ),
]


@pytest.mark.parametrize(("tasks", "message"), WRONG_TASKS)
def test_wrong_tasks_are_refused(folder, tasks, message):
    (folder / "bundle" / "configs" / "damaged.json").write_text("{")
    with pytest.raises(ValueError, match=message) as caught:
        read(folder, tasks)
    assert str(caught.value).startswith(str(folder / "list.yaml"))
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"task": []}, r"list\.yaml: unknown key 'task'; expected output_dir, rank_by, mail, defaults, tasks"),
        ({"output_dir": 3}, r"list\.yaml: output_dir: expected a folder, got 3; give its path"),
        ({"rank_by": "dice"}, r"list\.yaml: rank_by: expected one of psnr, ssim, mse, .*, got 'dice'"),
        ({"rank_by": ["ssim"]}, r"list\.yaml: rank_by: expected one of psnr"),
        ({"mail": {"password": "x"}}, r"list\.yaml: mail: expected true or false"),
        ({"defaults": {"name": "x"}}, r"list\.yaml: defaults: unknown key 'name'"),
        (
            {"defaults": {"overrides": {"los": 1}}},
            r"list\.yaml: defaults: overrides: unknown key 'los', no task has it in its configuration; correct it",
        ),
        ({"defaults": {"train": {"split": 1}}}, r"list\.yaml: defaults: train: unknown key 'split', no task has it"),
    ],
)
def test_wrong_settings_of_a_list_are_refused(folder, further, message):
    with pytest.raises(ValueError, match=message):
        read(folder, [{"name": "a"}], **further)


def test_keys_that_the_list_sets_are_no_overrides(folder):
    (folder / "bundle" / "configs" / "places.json").write_text('{"output_dir": "x"}')
    task = {"name": "a", "type": "train", "config": ["train.json", "places.json"], "overrides": {"output_dir": "y"}}
    with pytest.raises(ValueError, match=r"task a: output_dir is set by the task list, for a folder each; remove it"):
        read(folder, [task])
