"""Options of the command line that no configuration of a bundle has, and another version of the shared package."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from common.start import check_options, check_package

ROOT = Path(__file__).parents[1]
BUNDLES = {path.name.split("_")[0]: path / "configs" for path in (ROOT / "bundles").glob("*_*_*")}


def configs(bundle, *names):
    return ["--config_file", json.dumps([str(BUNDLES[bundle] / f"{name}.json") for name in names])]


@pytest.mark.parametrize(
    ("bundle", "names", "option", "nearest"),
    [
        ("brain", ["inference"], "sampling_rates", "sampling_rate"),
        ("brain", ["train"], "epochs#ful", "epochs#full"),
        ("brain", ["train", "paper"], "train#trainer#gradient_clp", "train#trainer#gradient_clip"),
        ("knee", ["inference"], "acceleration", "accelerations"),
        ("knee", ["inference", "evaluate"], "network_def#widhts", "network_def#widths"),
        ("cardiac", ["train", "smoke"], "epoch", "epochs"),
        ("cardiac", ["inference"], "spokes", "n_spokes"),
        ("ct", ["inference"], "tilesize", "tile_size"),
        ("ct", ["train"], "ckptdir", "ckpt_dir"),
        ("micro", ["inference", "evaluate"], "degredation_name", "degradation_name"),
        ("micro", ["train", "train_3d"], "logingfile", "logging_file"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(bundle, names, option, nearest):
    with pytest.raises(ValueError, match=rf"--{option}, .*--{nearest}: .*{names[-1]}\.json"):
        check_options([*configs(bundle, *names), f"--{option}", "2", "--bundle_root", "."])


@pytest.mark.parametrize(
    "words",
    [
        ["--dataset-dir=somewhere", "--epochs#gan", "0", "--learning_rate", "-1"],
        ["training", "--meta_file", "none.json", "--logging_file", "none.conf"],
        ["--train#trainer#accumulation_steps", "2", "--train#handlers#0#_disabled_", "true"],
        ["--source_options#channel", "2"],
        ["--tracking", "mlflow", "--experiment_name", "a", "--tracking_uri", "sqlite:///a.db"],
    ],
    ids=lambda words: words[0],
)
def test_options_of_the_configuration_of_components_and_of_monai_pass(words):
    check_options([*configs("brain", "train"), *words])


def test_a_whole_mapping_replaces_the_known_keys():
    check_options([*configs("brain", "train"), "--epochs", "{'large': 1}", "--epochs#large", "2"])
    with pytest.raises(ValueError, match=r"epochs#full, .*epochs#large"):
        check_options([*configs("brain", "train"), "--epochs", "{'large': 1}", "--epochs#full", "2"])


def test_options_of_tracking_are_unknown_without_it():
    with pytest.raises(ValueError, match="experiment_name"):
        check_options([*configs("brain", "train"), "--experiment_name", "a"])


def test_options_of_an_arguments_file_are_checked_too(tmp_path):
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"config_file": str(BUNDLES["brain"] / "train.json"), "bach_size": 2}))
    with pytest.raises(ValueError, match=r"bach_size.*batch_size"):
        check_options(["--args_file", str(arguments)])


def test_a_package_of_other_sources_is_refused_in_one_line(tmp_path):
    shipped = shutil.copytree(ROOT / "common", tmp_path / "bundle" / "common")
    check_package(shipped)
    check_package(tmp_path / "none")
    with open(shipped / "errors.py", "a") as file:
        file.write("# newer\n")
    with pytest.raises(ValueError, match="expected the version of `common`") as error:
        check_package(shipped)
    assert str(shipped) in str(error.value)
    assert "\n" not in str(error.value)


def printed_commands():
    """Commands of the bundles' documents that run a bundle, with the folder that they are run in."""
    shared = (ROOT / "docs" / "RUNNING.md").read_text(encoding="utf-8")
    for configs in BUNDLES.values():
        own = (configs.parent / "docs" / "README.md").read_text(encoding="utf-8")
        for line in (own + shared.replace("NAME", configs.parent.name)).splitlines():
            if " monai.bundle run " in line and line.startswith(("python", "torchrun")):
                yield pytest.param(configs.parent, line, id=f"{configs.parent.name}: {line[:80]}")


@pytest.mark.parametrize(("bundle", "command"), list(printed_commands()))
def test_every_option_of_a_printed_command_is_known(bundle, command, monkeypatch):
    words = shlex.split(command)
    configs = words[words.index("--config_file") + 1]
    monkeypatch.chdir(bundle if "bundles/" not in configs else bundle.parents[1])
    check_options(words[words.index("run") + 1 :])
