"""Tables of real bundles: what is printed is what is defined, and one is measured from file to digit."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from helpers import SMALL_CASCADE, small_cascade

from tools.__main__ import commands
from tools.command import run_commands
from tools.tables.definition import read_definition
from tools.tables.measured import cells_of, names_of
from tools.tables.metadata import read_numbers
from tools.tables.readme import marked_tables, parse
from tools.tables.run import runs_of
from tools.tasks.configurations import check_known, find_config, known_keys
from tools.zoo.layout import BUNDLES, bundle_names

BRAIN = "brain_mri_refinegan_reconstruction"
DEFINITION = {
    "data": {"heads": {"make": "brain_mri", "options": {"n_train": 0, "n_valid": 0, "n_test": 3, "size": 32}}},
    "runs": {
        "network": {
            "data": "heads",
            "overrides": {"split": "test", **SMALL_CASCADE, "sampling_rate": "{rate}", "max_panels": 1},
        },
        "methods": {
            "data": "heads",
            "compare": {"entries": ["zero_filled", "net={bundle}"]},
            "overrides": {"split": "test", **SMALL_CASCADE, "sampling_rate": "{rate}"},
        },
    },
    "tables": {
        "rates": {
            "heading": "sampled",
            "cell": {"where": {"protocol": "magnitude_slice", "method": "reconstruction"}, "run": "network"},
            "columns": [
                {"title": "zero-filled", "where": {"method": "zero_filled"}, "metric": "psnr", "digits": 3},
                {"title": "PSNR", "metric": "psnr", "style": "mean ± sd", "digits": 3},
                {"title": "SSIM", "metric": "ssim", "digits": 4},
                {"title": "compared", "run": "methods", "where": {"method": "net"}, "metric": "psnr", "digits": 3},
                {
                    "title": "parameters",
                    "where": {"protocol": None},
                    "file": "network.csv",
                    "metric": "parameters",
                    "style": "count",
                },
            ],
            "rows": [{"title": "{rate}", "for": {"rate": [0.3]}}],
        }
    },
    "eval_metrics": {
        "psnr": {
            "run": "network",
            "set": {"rate": 0.3},
            "where": {"protocol": "magnitude_slice", "method": "reconstruction"},
            "metric": "psnr",
            "digits": 3,
        }
    },
}


@pytest.mark.parametrize("name", bundle_names())
def test_what_is_printed_is_what_is_defined(name):
    bundle = BUNDLES / name
    definition = read_definition(bundle)
    readme = bundle / "docs" / "README.md"
    printed = marked_tables(readme.read_text(encoding="utf-8"), readme)
    assert list(printed) == list(definition.tables)
    for table, lines in printed.items():
        header, *rows = parse(lines)
        n_titles = len(header) - len(definition.tables[table].rows[0].cells)
        assert header == list(definition.tables[table].header)
        assert [row[:n_titles] for row in rows] == [list(row.titles) for row in definition.tables[table].rows]
        assert {len(row) for row in rows} == {len(header)}
    assert set(read_numbers(bundle / "configs" / "metadata.json")) == set(definition.numbers)
    for run in runs_of(definition, [cell for one in names_of(definition, "") for cell in cells_of(definition, one)]):
        if run.compare is None:
            configs = [find_config(config, bundle, run.label) for config in run.config]
            check_known(run.overrides, known_keys(configs, run.label), configs, run.label)


@pytest.mark.slow
def test_a_table_from_weights_to_digits(tmp_path, capsys):
    bundle = tmp_path / "brain"
    shutil.copytree(BUNDLES / BRAIN, bundle, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    (bundle / "models").mkdir()
    network = small_cascade()
    torch.save(network.state_dict(), bundle / "models" / "model.pt")
    (bundle / "docs" / "tables.json").write_text(json.dumps(DEFINITION))
    (bundle / "docs" / "README.md").write_text("<!-- table: rates -->\n<!-- /table -->\n")
    words = ["tables", str(bundle), "--out", str(tmp_path / "out"), "--write"]
    assert run_commands(commands(words), "tools", words) == 0
    with (tmp_path / "out" / "runs" / "network_rate=0.3" / "predict" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["protocol"] == "magnitude_slice"]
    assert len(rows) == 6
    psnr = {
        m: np.array([float(r["psnr"]) for r in rows if r["method"] == m]) for m in ("zero_filled", "reconstruction")
    }
    ssim = np.mean([float(row["ssim"]) for row in rows if row["method"] == "reconstruction"])
    ours = psnr["reconstruction"]
    assert (ours != psnr["zero_filled"]).all()
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parse((bundle / "docs" / "README.md").read_text().splitlines()[1:-1])[1] == [
        "0.3",
        f"{psnr['zero_filled'].mean():.3f}",
        f"{ours.mean():.3f} ± {ours.std(ddof=1):.3f}",
        f"{ssim:.4f}",
        f"{ours.mean():.3f}",
        f"{n_parameters:,}",
    ]
    assert read_numbers(bundle / "configs" / "metadata.json") == {"psnr": round(float(ours.mean()), 3)}
    capsys.readouterr()
    words.remove("--write")
    assert run_commands(commands(words), "tools", words) == 0
    out = capsys.readouterr().out
    assert out.count("as before") == 2
    assert out.endswith("all 6 cells are as brain prints them\n")
