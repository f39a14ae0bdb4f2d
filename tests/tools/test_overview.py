"""`python -m tools overview`: the README's table over all bundles."""

import json
import re

import pytest

from tools import overview as module
from tools.__main__ import commands
from tools.command import run_commands
from tools.network_speed import SPEC, read_networks
from tools.overview import render_overview
from tools.tables.readme import parse
from tools.zoo.layout import BUNDLES, bundle_names, read_json

BRAIN, KNEE = "brain_mri_refinegan_reconstruction", "knee_mri_texture_gan_reconstruction"
ROW = {"task": "a task", "data": "some", "protocol": "`p`", "baseline": "none", "ours": "best", "network": "refinegan"}
SPEED = {
    "networks": {
        "refinegan": {"parameters": 7_498_948, "milliseconds": 321.4},
        "knee_baseline": {"parameters": 231_563, "milliseconds": 2345},
        "knee_samples": {"parameters": 1, "milliseconds": 0.6},
    }
}


@pytest.fixture
def readme(tmp_path, monkeypatch):
    """A README with marks, and a spec of one row."""
    for name, content in {"overview": {BRAIN: [ROW]}, "speed": SPEED}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        monkeypatch.setattr(module, {"overview": "SPEC", "speed": "SPEED"}[name], tmp_path / f"{name}.json")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    module.README.write_text("# Title\n\n<!-- table: overview -->\n<!-- /table -->\n\nEnd.\n")
    return module.README


def rendered(tmp_path, **bundles):
    (tmp_path / "spec.json").write_text(json.dumps(bundles))
    (tmp_path / "speeds.json").write_text(json.dumps(SPEED))
    return render_overview(tmp_path / "spec.json", tmp_path / "speeds.json")


def run(*arguments):
    words = ["overview", *arguments]
    return run_commands(commands(words), "tools", words)


def test_words_come_from_the_spec_numbers_from_metadata_and_the_benchmark(tmp_path):
    psnr = read_json(BUNDLES / BRAIN / "configs" / "metadata.json")["eval_metrics"]["magnitude_slice_mean_psnr_db"]
    header, rule, row = rendered(tmp_path, **{BRAIN: [{**ROW, "ours": "{magnitude_slice_mean_psnr_db:.3f} dB"}]})
    assert header.count("|") == rule.count("|") == row.count("|") == 9
    link = f"[`{BRAIN}`](bundles/{BRAIN}/docs/README.md)"
    assert row == f"| {link} | a task | some | `p` | none | {psnr:.3f} dB | 7.5 M | 321 |"


def test_a_row_says_only_what_is_not_as_in_the_one_before(tmp_path):
    first = {**ROW, "network": "knee_baseline"}
    lines = rendered(tmp_path, **{KNEE: [first, {"ours": "better", "network": "knee_samples"}]})
    _, first_row, second_row = parse(lines)
    assert first_row[1:] == ["a task", "some", "`p`", "none", "best", "0.23 M", "2,345"]
    assert second_row == ["", "", "", "", "", "better", "0.00 M", "1"]


@pytest.mark.parametrize(
    ("bundle", "entry", "message"),
    [
        (BRAIN, {**ROW, "ours": "{none:.2f} dB"}, "the bundle's eval_metrics have no 'none', but magnitude_slice_mean"),
        (BRAIN, {**ROW, "network": "knee_baseline"}, "docs/networks.json has no 'knee_baseline' of this bundle"),
        (BRAIN, {**ROW, "tasks": "x"}, "unknown key 'tasks'; expected task, data, protocol"),
        (BRAIN, {"task": "x"}, "row 1: no key 'data'; add it"),
        (KNEE, {**ROW, "network": "knee_unet"}, "no network knee_unet; run `python -m tools benchmark"),
        ("none", ROW, "none: expected the name of a bundle"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, bundle, entry, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rendered(tmp_path, **{bundle: [entry]})


def test_the_readme_is_compared_and_written(readme, capsys):
    assert run() == 1
    assert "the overview is not up to date, first | bundle | task |" in capsys.readouterr().err
    assert run("--write") == 0
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- table: overview -->\n| bundle | task |")
    assert text.endswith(" 7.5 M | 321 |\n<!-- /table -->\n\nEnd.\n")
    assert run() == 0
    readme.write_text(text.replace("321", "320"))
    assert run() == 1
    assert "| 321 |; give --write" in capsys.readouterr().err


def test_a_readme_without_marks_is_refused(readme, capsys):
    readme.write_text("# Title\n")
    assert run("--write") == 1
    assert "expected <!-- table: overview --> and <!-- /table -->, got no such marks" in capsys.readouterr().err
    assert readme.read_text() == "# Title\n"


def test_the_committed_overview_speaks_of_every_trained_bundle_and_of_networks_that_are_timed():
    spec, networks = read_json(module.SPEC), read_networks(SPEC)
    assert list(spec) == [name for name in bundle_names() if (BUNDLES / name / "models" / "model.pt").is_file()]
    named = {entry["network"] for entries in spec.values() for entry in entries}
    assert named <= set(networks)
    assert named <= set(read_json(module.SPEED)["networks"])


def test_the_readme_has_the_overview_of_today(capsys):
    assert run() == 0, capsys.readouterr().err
