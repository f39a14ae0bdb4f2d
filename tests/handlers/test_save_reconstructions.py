"""Reconstructions on disk: complete volumes, in stored units, in the format that came."""

import logging

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch import nn

from common.data import DataError, SliceDataset, find_slices
from common.data.loading import evaluation_loader
from common.handlers import SaveReconstructions
from common.operators import complex_to_channels


def evaluate(loader, output_dir, **options):
    """Reconstructs each slice as itself, with a phase that its magnitude does not show."""

    def prepare_batch(batch, device, non_blocking, **_):
        return complex_to_channels(batch["image"] * torch.tensor(0.6 + 0.8j)), None

    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=nn.Identity(),
        prepare_batch=prepare_batch,
        val_handlers=[SaveReconstructions(output_dir, **options)],
    ).run()


@pytest.fixture
def volumes(tmp_path):
    """A 16-bit PNG and a volume of three slices."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 4000, (6, 5)).astype(np.uint16)
    volume = rng.random((3, 6, 5)).astype(np.float32) * 7
    folder = tmp_path / "data"
    folder.mkdir()
    Image.fromarray(picture).save(folder / "picture.png")
    np.save(folder / "volume.npy", volume)
    return folder, picture, volume


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("options", [{}, {"intensity_range": 5000.0}])
def test_files_come_back_in_stored_units(volumes, tmp_path, caplog, batch_size, options):
    folder, picture, volume = volumes
    output_dir = tmp_path / "out" / "reconstructions"
    dataset = SliceDataset(find_slices(folder, **options), **options)
    with caplog.at_level(logging.INFO, logger="recon"):
        evaluate(evaluation_loader(dataset, batch_size), output_dir, **options)
    assert sorted(path.name for path in output_dir.iterdir()) == ["picture_recon.png", "volume_recon.npy"]
    assert np.array_equal(np.asarray(Image.open(output_dir / "picture_recon.png")), picture)
    np.testing.assert_allclose(np.load(output_dir / "volume_recon.npy"), volume, rtol=1e-5)
    assert f"reconstructions are in {output_dir}" in caplog.text


def test_an_incomplete_volume_is_named_and_not_written(volumes, tmp_path):
    folder, _, _ = volumes
    dataset = SliceDataset(find_slices(folder)[:-1])
    with pytest.raises(DataError, match=r"volume\.npy lacks slices 2"):
        evaluate(DataLoader(dataset, batch_size=1), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["picture_recon.png"]
