"""CaseTableHandler inside MONAI's evaluator."""

import csv
import logging

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys

from common.handlers.case_table import CaseTableHandler
from common.metrics import get_protocol
from common.operators.fourier import complex_to_channels, fft2c, ifft2c
from common.operators.measurement import pack_measurement, unpack_measurement


class ShrunkZeroFilled(torch.nn.Module):
    def forward(self, measurement):
        kspace, _ = unpack_measurement(measurement)
        return 0.9 * complex_to_channels(ifft2c(kspace))


def item(path, index, size=16, label=True):
    generator = torch.Generator().manual_seed(index + len(path))
    target = torch.rand(1, 1, size, size, generator=generator).to(torch.complex64)
    mask = (torch.rand(1, 1, size, size, generator=generator) < 0.5).float()
    measurement = pack_measurement(mask * fft2c(target), mask)[0]
    case = {"image": measurement, "path": path, "slice": index}
    return {**case, "label": complex_to_channels(target)[0]} if label else case


def prepare_batch(batch, device, non_blocking, **_):
    return batch["image"].to(device), batch["label"].to(device) if "label" in batch else None


def evaluate(items, handler, **options):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=options.pop("batch_size", 2)),
        network=ShrunkZeroFilled(),
        prepare_batch=prepare_batch,
        val_handlers=[handler],
        **options,
    )
    evaluator.run()
    return evaluator


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_evaluator_writes_a_row_per_slice_and_method(tmp_path, caplog):
    items = [item(path, index) for path in ("scan_b.h5", "a.h5") for index in range(3)]
    protocols = ("magnitude_slice", "refinegan_shifted", "fastmri_volume")
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(items, CaseTableHandler(tmp_path / "eval", protocols))
    rows = read(tmp_path / "eval" / "metrics.csv")
    assert [row["protocol"] for row in rows] == ["magnitude_slice"] * 12 + ["refinegan_shifted"] * 12 + [
        "fastmri_volume"
    ] * 4
    assert [(row["file"], row["slice"], row["method"]) for row in rows[:3]] == [
        ("a.h5", "0", "zero_filled"),
        ("a.h5", "0", "reconstruction"),
        ("a.h5", "1", "zero_filled"),
    ]
    kspace, _ = unpack_measurement(items[3]["image"][None])
    target = torch.complex(*items[3]["label"])[None]
    for row, prediction in ((rows[0], ifft2c(kspace)[:, 0]), (rows[1], 0.9 * ifft2c(kspace)[:, 0])):
        for metric, value in get_protocol("magnitude_slice").evaluate(prediction, target).items():
            assert float(row[metric]) == pytest.approx(value.item(), rel=1e-5)
    for name in protocols:
        assert f"protocol {name}: " in caplog.text
    assert "reconstruction - zero_filled" in caplog.text


def test_each_run_starts_a_new_table(tmp_path):
    handler = CaseTableHandler(tmp_path)
    evaluator = evaluate([item("a.h5", 0)], handler)
    evaluator.run()
    assert len(read(tmp_path / "metrics.csv")) == 2


def test_without_labels_nothing_is_written(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate([item("a.h5", i, label=False) for i in range(3)], CaseTableHandler(tmp_path / "eval"))
    assert "no case has a target image" in caplog.text
    assert not (tmp_path / "eval").exists()


def test_files_of_several_sizes_in_one_batch(tmp_path):
    items = [item("a.h5", 0), item("a.h5", 1), item("big.h5", 0, size=20), item("c.h5", 0), item("c.h5", 1)]
    handler = CaseTableHandler(tmp_path, ["fastmri_volume"], filename="volumes.csv")

    def network_per_item(engine, batch):
        output = []
        for case in batch:
            prediction = engine.network(case["image"][None])[0]
            output.append({CommonKeys.IMAGE: case["image"], CommonKeys.LABEL: case["label"], "pred": prediction})
        return output

    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[items[:4], items[4:]],
        epoch_length=2,
        network=ShrunkZeroFilled(),
        iteration_update=network_per_item,
        val_handlers=[handler],
        decollate=False,
    )
    evaluator.run()
    assert [row["file"] for row in read(tmp_path / "volumes.csv")[::2]] == ["a.h5", "big.h5", "c.h5"]


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown protocol"):
        CaseTableHandler(tmp_path, ["psnr"])
    nameless = {key: value for key, value in item("a.h5", 0).items() if key != "slice"}
    with pytest.raises(
        ValueError, match=r"item of the evaluator's batch, missing \['slice'\], got \['image', 'label', 'path'\]"
    ):
        evaluate([nameless], CaseTableHandler(tmp_path))
    with pytest.raises(ValueError, match="decollate=True"):
        evaluate([item("a.h5", 0)], CaseTableHandler(tmp_path), decollate=False)
