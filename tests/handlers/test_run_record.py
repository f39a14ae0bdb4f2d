"""RunRecord inside MONAI's evaluator, with the masks that a bundle draws."""

import csv
import hashlib
import json
import logging

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator

from common.handlers import CaseTableHandler, RunRecord
from common.operators.fourier import complex_to_channels, ifft2c
from common.operators.masks import AccelerationMasks, FixedMask, MaskSampler, MixedMasks
from common.operators.masks.kt import KtMasks
from common.operators.measurement import unpack_measurement
from common.transforms import PrepareAcquisition, PrepareCine


class ZeroFilled(torch.nn.Module):
    def forward(self, measurement):
        return complex_to_channels(ifft2c(unpack_measurement(measurement)[0]))


class First(torch.nn.Module):
    def forward(self, series):
        return series[:, :1]


def image(name, index=0):
    values = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(index))
    return {"image": values, "path": f"folder/{name}", "slice": index}


def evaluate(items, prepare, handlers, network=None):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=2),
        network=network or ZeroFilled(),
        prepare_batch=prepare,
        val_handlers=handlers,
    )
    evaluator.run()


MASKS = AccelerationMasks([4, 8], [0.08, 0.04])


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "some_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text('{"version": "1.2.3"}')
    (folder / "model.pt").write_bytes(b"weights")
    return folder


def test_a_run_says_what_it_was_made_with(bundle, tmp_path):
    items = [image(f"scan_{n}.npy", index) for n in range(6) for index in range(2)]
    record = RunRecord(tmp_path / "out", bundle, bundle / "model.pt", ["magnitude_slice"], {"noise_std": 0.1})
    killed = [tmp_path / "out" / place / f".tmp-{'a' * 32}-x.png" for place in (".", "panels")]
    for path in (*killed, tmp_path / "out" / "kept.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    evaluate(items, PrepareAcquisition(MASKS, by_file=True), [record])
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["kept.png", "run.json"]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["bundle"], run["version"]) == ("some_bundle", "1.2.3")
    assert run["weights"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert run["protocols"] == ["magnitude_slice"]
    assert run["settings"] == {"noise_std": 0.1}
    assert run["versions"]["torch"] == torch.__version__
    assert [entry["file"] for entry in run["files"]] == [f"folder/scan_{n}.npy" for n in range(6)]
    for n, entry in enumerate(run["files"]):
        mask = MASKS((32, 32), seed=[f"scan_{n}.npy"])
        assert entry["mask"] == "cartesian"
        assert entry["sampled"] == pytest.approx(float(mask.mean()), abs=1e-6)
        assert entry["rate"] == pytest.approx(float(mask.mean()), abs=0.02)
        assert entry["acceleration"] * entry["rate"] == pytest.approx(1)
    assert {entry["acceleration"] for entry in run["files"]} == {4.0, 8.0}


def test_a_measured_file_has_the_rate_of_its_own_mask(bundle, tmp_path):
    mask = torch.zeros(1, 32, 32)
    mask[..., ::2] = 1
    items = [{"kspace": torch.ones(1, 32, 32, dtype=torch.complex64), "mask": mask, "path": "a.h5", "slice": 0}]
    evaluate(items, PrepareAcquisition(MASKS, by_file=True), [RunRecord(tmp_path, bundle)])
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["weights"] is None
    assert run["files"] == [{"file": "a.h5", "mask": "measured", "rate": 0.5, "acceleration": 2.0, "sampled": 0.5}]


def test_spokes_have_the_rate_that_they_sample(bundle, tmp_path):
    series = [{"truth": torch.rand(1, 32, 32, 4), "path": "heart.h5", "slice": 0}]
    prepare = PrepareCine(KtMasks("radial_golden", n_spokes=5), by_file=True)
    evaluate(series, prepare, [RunRecord(tmp_path, bundle)], First())
    (entry,) = json.loads((tmp_path / "run.json").read_text())["files"]
    assert entry["mask"] == "radial_golden"
    assert entry["rate"] == pytest.approx(entry["sampled"], abs=1e-4)
    assert 0.1 < entry["rate"] < 0.2


def test_no_record_of_an_earlier_run_stands_beside_a_failed_one(bundle, tmp_path):
    (tmp_path / "run.json").write_text("{}")

    def fail(*_, **__):
        raise ValueError("bad file")

    with pytest.raises(ValueError, match="bad file"):
        evaluate([image("a.npy")], fail, [RunRecord(tmp_path, bundle)])
    assert not (tmp_path / "run.json").exists()


def test_the_table_has_the_rate_of_each_case_and_a_summary_for_each(tmp_path, caplog):
    items = [image(f"scan_{n}.npy") for n in range(6)]
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(items, PrepareAcquisition(MASKS, by_file=True), [CaseTableHandler(tmp_path)])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["rate"]) == MASKS.drawn(row["file"].removeprefix("folder/"))[1]
    for rate, name in ((0.25, "rate 0.25, acceleration 4"), (0.125, "rate 0.125, acceleration 8")):
        mine = [row for row in rows if float(row["rate"]) == rate and row["method"] == "reconstruction"]
        summary = caplog.text[caplog.text.index(name) :]
        line = next(line for line in summary.splitlines() if line.startswith("reconstruction "))
        assert line.split()[1] == str(len(mine))
        mean = sum(float(row["psnr"]) for row in mine) / len(mine)
        assert float(line.split()[2]) == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize(
    ("masks", "shape"),
    [
        (MaskSampler("radial", 0.2), (48, 40)),
        (MixedMasks(["cartesian", "gaussian"], [0.2, 0.4]), (50, 50)),
        (MASKS, (40, 200)),
        (KtMasks("cartesian_random", accel=5), (50, 40, 6)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_drawn_rate_is_that_of_the_mask(masks, shape):
    for seed in ("a.npy", "b.npy", "c.npy"):
        assert masks.drawn(seed)[1] == pytest.approx(float(masks(shape, seed=[seed]).mean()), abs=0.006)


def test_a_mask_file_is_named(tmp_path):
    from PIL import Image

    mask = torch.zeros(16, 16, dtype=torch.uint8)
    mask[8] = 255
    Image.fromarray(mask.numpy()).save(tmp_path / "line.png")
    assert FixedMask(tmp_path / "line.png").drawn("any") == ("line.png", 1 / 16)
