"""`python -m tools tables` at work: what is done again and what not, what differs, what is written."""

import json
import os

import pytest
from quick_bundle import PROGRAM, table, write_quick_bundle

from tools.__main__ import commands
from tools.command import run_commands
from tools.tables import fingerprint, runner
from tools.tables.command import tables
from tools.tasks import process

DEFINITION = {
    "data": {"hearts": {"real": "hearts", "what": "2 hearts"}},
    "runs": {"network": {"data": "hearts", "overrides": {"table": "{data}/{name}.csv"}}},
    "tables": {
        "losses": {
            "heading": "loss",
            "cell": {"run": "network", "where": {"method": "reconstruction"}},
            "columns": [
                {"title": "SSIM", "metric": "ssim", "digits": 3},
                {"title": "PSNR", "metric": "psnr", "digits": 1, "style": "mean ± sd"},
                {"title": "seconds", "timing": True},
            ],
            "rows": [
                {"title": "none", "set": {"name": "a"}, "where": {"method": "aliased"}, "cells": {"PSNR": ""}},
                {"title": "{name}", "for": {"name": ["a", "b"]}},
            ],
        },
        "short": {
            "columns": [{"title": "SSIM", "metric": "ssim", "digits": 1}],
            "rows": [{"title": "b", "run": "network", "set": {"name": "b"}, "where": {"method": "reconstruction"}}],
        },
    },
    "eval_metrics": {
        "ssim": {
            "run": "network",
            "set": {"name": "a"},
            "where": {"method": "reconstruction"},
            "metric": "ssim",
            "digits": 3,
        }
    },
}
README = """# Quick

## Performance

<!-- table: losses -->
| loss | SSIM | PSNR | seconds |
|---|---|---|---|
| none | 0.500 | | 0.1 |
| a | 0.800 | 32.0 ± 5.7 | 0.2 |
| b | 0.950 | 38.0 ± 2.8 | 0.3 |
<!-- /table -->

And:

<!-- table: short -->
| | SSIM |
|---|---|
| b | 0.9 |
<!-- /table -->
"""
METADATA = '{\n    "name": "quick",\n    "eval_metrics": {\n        "ssim": 0.8\n    }\n}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    bundle = write_quick_bundle(tmp_path / "bundle")
    (bundle / "docs").mkdir()
    (bundle / "docs" / "tables.json").write_text(json.dumps(DEFINITION))
    (bundle / "docs" / "README.md").write_text(README)
    (bundle / "configs" / "metadata.json").write_text(METADATA)
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").write_bytes(b"weights")
    hearts = tmp_path / "data" / "hearts"
    hearts.mkdir(parents=True)
    table(hearts / "a.csv", [0.7, 0.9])
    table(hearts / "b.csv", [0.9, 1.0])
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.setattr(process, "POLL_S", 0.05)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    words = ["tables", "bundle", "--data", "data", "--out", "out", *words]
    return run_commands(commands(words), "tools", words)


def done(folder):
    """Times at which the runs were done, by run."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (folder / "out" / "runs").glob("*/done.json")}


def test_what_is_printed_is_measured_again(folder, capsys):
    assert run("--only", "losses") == 0
    out = capsys.readouterr().out
    assert "[1/2] network name=a: runs, in out/runs/network_name=a" in out
    assert "\n| a | 0.800 | 32.0 ± 5.7 | 0.2 |\n" in out
    assert out.endswith("all 9 cells are as bundle prints them\n")
    assert (folder / "out" / "tables.md").read_text() == "losses:\n\n" + README.split("-->\n")[1].partition("<!--")[0]
    assert (folder / "bundle" / "docs" / "README.md").read_text() == README
    told = json.loads((folder / "out" / "runs" / "network_name=b" / "predict.json").read_text())
    assert told["table"] == str(folder / "data" / "hearts" / "b.csv")
    assert told["dataset_dir"] == str(folder / "data" / "hearts")


def test_a_digit_that_differs_is_shown_and_replaced_on_demand(folder, capsys):
    readme = folder / "bundle" / "docs" / "README.md"
    metadata = folder / "bundle" / "configs" / "metadata.json"
    readme.write_text(README.replace("0.950", "0.951"))
    metadata.write_text(METADATA.replace("0.8", "0.81"))
    assert run() == 1
    out, error = capsys.readouterr()
    assert "\nlosses: b, SSIM: printed 0.951, now 0.950\n" in out
    assert "\nshort: " not in out
    assert "\neval_metrics: ssim: printed 0.81, now 0.8\n" in out
    assert error == "error: bundle: 2 differences in 11 cells, listed above; --write prints what was measured\n"
    assert "0.951" in readme.read_text()
    assert run("--write") == 0
    assert "wrote what was measured, 2 differences in 11 cells, into bundle/docs/README.md" in capsys.readouterr().out
    assert (readme.read_text(), metadata.read_text()) == (README, METADATA)
    times = readme.stat().st_mtime_ns, metadata.stat().st_mtime_ns
    assert run("--write") == 0
    assert capsys.readouterr().out.endswith("all 11 cells are as bundle prints them\n")
    assert (readme.stat().st_mtime_ns, metadata.stat().st_mtime_ns) == times


def test_an_empty_place_is_filled(folder):
    readme = folder / "bundle" / "docs" / "README.md"
    begin, end = README.index("| loss"), README.index("<!-- /table")
    readme.write_text(README[:begin] + README[end:])
    assert run("--only", "losses") == 1
    assert run("--only", "losses", "--write") == 0
    assert readme.read_text() == README.replace("| 0.1 |", "| |").replace("| 0.2 |", "| |").replace("| 0.3 |", "| |")


def test_only_what_has_changed_is_run_again(folder, capsys):
    assert run() == 0
    before = done(folder)
    assert set(before) == {"network_name=a", "network_name=b"}

    def changed():
        nonlocal before
        assert run() == 0
        after = done(folder)
        found = {name for name in after if after[name] != before[name]}
        before = after
        return found

    assert changed() == set()
    assert "[2/2] network name=b: as before, from out/runs/network_name=b" in capsys.readouterr().out
    bundle, both = folder / "bundle", {"network_name=a", "network_name=b"}
    (bundle / "models" / "model.pt").write_bytes(b"other weights")
    assert changed() == both
    definition = json.loads(json.dumps(DEFINITION))
    definition["runs"]["network"]["overrides"]["network_name"] = "B{name}"
    (bundle / "docs" / "tables.json").write_text(json.dumps(definition))
    assert changed() == both
    (bundle / "configs" / "evaluate.json").write_text('{"split": "test"}')
    assert changed() == both
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "method.py").write_text("WIDTH = 2\n")
    assert changed() == both
    os.utime(folder / "data" / "hearts" / "a.csv", (1, 1))
    assert changed() == both
    (bundle / "configs" / "train.json").write_text("{}")
    (bundle / "docs" / "other.md").write_text("prose")
    assert changed() == set()
    (folder / "out" / "runs" / "network_name=b" / "done.json").unlink()
    assert run() == 0
    assert "network_name=b" in {name for name, time in done(folder).items() if time != before.get(name)}
    before = done(folder)
    assert run("--fresh") == 0
    assert all(time != before[name] for name, time in done(folder).items())


def test_of_common_only_what_a_bundle_reaches_counts(folder, monkeypatch):
    bundle = folder / "bundle"
    now = fingerprint.evaluation_fingerprint({}, bundle, [], folder / "data")
    record = now.record()
    common = folder / "common"
    common.mkdir()
    monkeypatch.setattr(fingerprint, "COMMON", common)
    (common / "new.py").write_text("A = 1\n")
    later = fingerprint.evaluation_fingerprint({}, bundle, [], folder / "data")
    assert later.common != now.common
    assert later.fits(record)
    monkeypatch.setattr(fingerprint, "_reached", lambda bundle, common: "other sources")
    assert not later.fits(record)
    assert now.fits(record)  # nothing of common has changed, so what is reached is not looked for


def test_a_run_that_fails_says_so_in_a_line_and_is_tried_again(folder, capsys):
    definition = json.loads(json.dumps(DEFINITION))
    definition["runs"]["network"]["overrides"]["how"] = "fails"
    (folder / "bundle" / "docs" / "tables.json").write_text(json.dumps(definition))
    for _ in range(2):
        assert run() == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            "error: run network name=a: data: expected images, got none; draw some "
            "(log in out/runs/network_name=a/log.txt)"
        )
    assert done(folder) == {}


def test_mistakes_are_told_before_anything_runs(folder, capsys):
    def fails(*words, **changes):
        (folder / "bundle" / "docs" / "tables.json").write_text(json.dumps({**DEFINITION, **changes}))
        assert run(*words) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert not (folder / "out" / "runs").exists()
        return error

    network = DEFINITION["runs"]["network"]
    wrong = {"network": {**network, "overrides": {"table": "{data}/{name}.csv", "mask": 3}}}
    assert fails(runs=wrong).startswith(
        "error: run network name=a: unknown key 'mask', inference.json and evaluate.json have "
    )
    wrong = {"network": {**network, "config": ["inference.json", "evaluate_3d.json"]}}
    assert "run network name=a: config: no file evaluate_3d.json, bundle has evaluate.json, " in fails(runs=wrong)
    assert "no table 'lost', it has losses, short, eval_metrics; correct it" in fails("--only", "lost")
    assert "README.md: the table short is not defined in" in fails(tables={"losses": DEFINITION["tables"]["losses"]})
    more = {**DEFINITION["tables"], "more": DEFINITION["tables"]["short"]}
    assert "README.md: expected a place for the table more, got none; write the two lines" in fails(tables=more)


def test_data_that_are_not_there_are_named(folder, capsys):
    for words, message in [
        ((), "needs the data hearts (2 hearts); give --data the folder that holds hearts"),
        (
            ("--data", "elsewhere"),
            "elsewhere: expected a folder hearts (2 hearts), got none; give --data another folder",
        ),
    ]:
        words = ["tables", "bundle", "--out", "out", *words]
        assert run_commands(commands(words), "tools", words) == 1
        assert message in capsys.readouterr().err


def test_a_synthetic_set_is_drawn_once(folder, capsys):
    definition = {
        "data": {"heads": {"make": "brain_mri", "options": {"n_train": 0, "n_valid": 0, "n_test": 1, "size": 32}}},
        "runs": {"network": {"data": "heads", "overrides": {"table": f"{folder}/data/hearts/b.csv"}}},
        "tables": {"short": DEFINITION["tables"]["short"]},
    }
    (folder / "bundle" / "docs" / "tables.json").write_text(json.dumps(definition))
    readme = "<!-- table: short -->\n| | SSIM |\n|---|---|\n| b | 0.9 |\n<!-- /table -->\n"
    (folder / "bundle" / "docs" / "README.md").write_text(readme)
    words = ["tables", "bundle", "--out", "out"]
    assert run_commands(commands(words), "tools", words) == 0
    assert "heads: drawing the synthetic set into out/data/heads" in capsys.readouterr().out
    assert (folder / "out" / "data" / "heads" / "test" / "00001.png").is_file()
    assert run_commands(commands(words), "tools", words) == 0
    out = capsys.readouterr().out
    assert "drawing" not in out
    assert "[1/1] network: as before" in out


def test_a_comparison_is_one_of_the_bundles_named(folder, monkeypatch):
    asked = []

    def compare_entries(dataset_dir, texts, out, **options):
        asked.append((dataset_dir, texts, options))
        out.mkdir()
        table(out / "metrics.csv", [0.9, 1.0])

    monkeypatch.setattr(runner, "compare_entries", compare_entries)
    compare = {"entries": ["zero_filled", "net={bundle}"], "perceptual_weights": "{bundle}/models/model.pt"}
    definition = {
        **DEFINITION,
        "runs": {"network": {"data": "hearts", "compare": compare, "overrides": {"network_name": "{name}"}}},
        "tables": {"short": DEFINITION["tables"]["short"]},
        "eval_metrics": {},
    }
    (folder / "bundle" / "docs" / "tables.json").write_text(json.dumps(definition))
    readme = "<!-- table: short -->\n| | SSIM |\n|---|---|\n| b | 0.9 |\n<!-- /table -->\n"
    (folder / "bundle" / "docs" / "README.md").write_text(readme)
    assert run("--only", "short") == 0
    bundle = folder / "bundle"
    options = {
        "perceptual_weights": f"{bundle}/models/model.pt",
        "n_cases": 1,
        "overrides": {"device": "cpu", "network_name": "b"},
    }
    assert asked == [(folder / "data" / "hearts", ["zero_filled", f"net={bundle}"], options)]
    assert run("--only", "short") == 0
    assert len(asked) == 1
    (bundle / "configs" / "inference.json").write_text(json.dumps({"network_name": "A"}))
    assert run("--only", "short") == 0
    assert run("--only", "short", "--device", "cuda") == 0
    assert [options["overrides"]["device"] for _, _, options in asked] == ["cpu", "cpu", "cuda"]

    def fails(*arguments, **options):
        raise ValueError("net: unknown option --network_name")

    monkeypatch.setattr(runner, "compare_entries", fails)
    with pytest.raises(ValueError, match=r"^run network name=b: net: unknown option --network_name$"):
        tables("bundle", data="data", out="out", fresh=True)._run()


def test_check_tells_what_would_run(folder, capsys):
    assert run("--check") == 0
    assert capsys.readouterr().out == (
        "network name=a: inference.json + evaluate.json, on hearts\n"
        "network name=b: inference.json + evaluate.json, on hearts\n"
    )
    assert not (folder / "out").exists()
