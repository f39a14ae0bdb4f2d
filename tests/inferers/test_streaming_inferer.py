"""From file to file: the values of the whole image, resumed after a kill, refused when something else is asked."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from nearest_network import Nearest
from torch import Tensor, nn

from common.data import DataError
from common.inferers import StreamingInferer
from common.io import DiskFullError, open_source
from common.networks import EdsrGenerator

PIECE = 20  # side of the tiles in these tests


def network(spatial_dims: int = 2, upscale: int = 2, seed: int = 0) -> EdsrGenerator:
    torch.manual_seed(seed)
    generator = EdsrGenerator(upscale=upscale, n_blocks=1, width=2, spatial_dims=spatial_dims)
    with torch.no_grad():
        for value in generator.parameters():
            value.copy_(torch.randn(value.shape) * (0.3 if spatial_dims == 2 else 0.08))
        generator.tail.conv.bias.fill_(0.5)  # about the middle of the range
    return generator


def values(*shape: int, dtype: str = "uint16", seed: int = 1) -> np.ndarray:
    """With the largest value of the type somewhere, so that it is the upper end of the range."""
    numbers = np.random.default_rng(seed).integers(0, 60000, shape).astype(dtype)
    numbers.flat[numbers.size // 3] = np.iinfo(dtype).max
    return numbers


def enlarged(image: np.ndarray, generator: nn.Module, low: float, high: float) -> np.ndarray:
    """The whole image at once, in the file's units; (height, width[, depth]); what is beyond the range added back."""
    unit = (image.astype(np.float64) - low) / (high - low)
    inside = unit.clip(0, 1)
    with torch.inference_mode():
        result = generator(torch.from_numpy(inside).float()[None, None])[0, 0].double().numpy()
    scale = np.divide(result.shape, image.shape).astype(int)
    return (result + np.kron(unit - inside, np.ones(scale))) * (high - low) + low


def assert_stored(got: np.ndarray, expected: np.ndarray) -> None:
    """Rounded and clipped; float32 may fall to the other side of a half."""
    assert got.shape == expected.shape
    limits = np.iinfo(got.dtype)
    assert np.abs(got - np.clip(expected, limits.min, limits.max)).max() <= 0.51 + 1e-5 * np.ptp(expected)


def test_an_image_in_16_bits(tmp_path: Path) -> None:
    image = values(45, 61)
    tifffile.imwrite(tmp_path / "in.tif", image)
    written = StreamingInferer(PIECE)(tmp_path / "in.tif", network(upscale=4), tmp_path / "new" / "out.tif")
    assert written == tmp_path / "new" / "out.tif"
    got = tifffile.imread(written)
    assert got.dtype == np.uint16
    assert_stored(got, enlarged(image, network(upscale=4).eval(), 0, 65535))
    assert sorted(path.name for path in written.parent.iterdir()) == ["out.tif"]


def test_a_volume_by_a_3d_network_sees_the_slices_as_depth(tmp_path: Path) -> None:
    volume = values(25, 22, 23)  # [slices, height, width]
    tifffile.imwrite(tmp_path / "in.tif", volume)
    StreamingInferer(PIECE)(tmp_path / "in.tif", network(3), tmp_path / "out.npy")
    expected = enlarged(volume.transpose(1, 2, 0), network(3).eval(), 0, 65535)
    assert_stored(np.load(tmp_path / "out.npy"), expected.transpose(2, 0, 1))


def test_a_2d_network_enlarges_each_slice(tmp_path: Path) -> None:
    volume = values(3, 30, 26, dtype="int16", seed=2) // 2
    np.save(tmp_path / "in.npy", volume)
    StreamingInferer(PIECE, intensity_range=[0, 32767])(tmp_path / "in.npy", network(), tmp_path / "out.npy")
    got = np.load(tmp_path / "out.npy")
    assert got.dtype == np.int16
    assert got.shape == (3, 60, 52)
    for index in range(3):
        assert_stored(got[index], enlarged(volume[index], network().eval(), 0, 32767))


def test_float_values_are_neither_rounded_nor_clipped(tmp_path: Path) -> None:
    volume = (values(20, 24) / 1000 - 12).astype(np.float32)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["scan/image"] = volume
    StreamingInferer(14, intensity_range="measured")(tmp_path / "in.h5", network(), tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        got = file["scan/image"][()]
    expected = enlarged(volume, network().eval(), volume.min(), volume.max())
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.ptp(expected))


def test_values_behind_a_slope_are_scaled_by_what_they_stand_for(tmp_path: Path) -> None:
    stored = values(9, 10, 11, dtype="uint8")
    image = nibabel.nifti1.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, -20)
    nibabel.save(image, tmp_path / "in.nii.gz")
    run = StreamingInferer(intensity_range=[-20, 100])
    run(tmp_path / "in.nii.gz", network(3), tmp_path / "out.nii")
    run(tmp_path / "in.nii.gz", network(3), tmp_path / "out.npy")
    expected = enlarged(stored.transpose(1, 0, 2) * 0.5 - 20, network(3).eval(), -20, 100)
    written = nibabel.nifti1.Nifti1Image.from_filename(tmp_path / "out.nii")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.get_fdata().transpose(1, 0, 2), np.clip(expected, -20, 107.5), atol=0.26)
    others = np.load(tmp_path / "out.npy")
    assert others.dtype == np.float32  # no place for a slope
    np.testing.assert_allclose(others.transpose(1, 2, 0), expected, atol=2e-3)


@pytest.mark.parametrize("scripted", [False, True])
def test_the_network_runs_in_evaluation_mode_and_gets_its_mode_back(tmp_path: Path, scripted: bool) -> None:
    image = values(30, 30)
    np.save(tmp_path / "in.npy", image)
    generator = network()
    generator.trunk.body.append(nn.Dropout(0.5))
    run = torch.jit.script(generator) if scripted else generator
    assert run.training
    StreamingInferer(PIECE)(tmp_path / "in.npy", run, tmp_path / "out.npy")
    assert run.training
    assert_stored(np.load(tmp_path / "out.npy"), enlarged(image, generator.eval(), 0, 65535))


# -- interrupted -------------------------------------------------------------------------------------------------------


class Interrupted(nn.Module):
    """A generator that does something at its n-th tile."""

    def __init__(self, generator: EdsrGenerator, at: int, action: Callable[[], None]) -> None:
        super().__init__()
        self.generator = generator
        self.upscale, self.spatial_dims = generator.upscale, generator.spatial_dims
        self._left, self._action = at, action

    def halo(self) -> int:
        return self.generator.halo()

    def forward(self, image: Tensor) -> Tensor:
        self._left -= 1
        if self._left == 0:
            self._action()
        return self.generator(image)

    def __repr__(self) -> str:
        return "Interrupted()"  # the same in each run


def _stop() -> None:
    raise KeyboardInterrupt


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run_until_killed(source: Path, output: Path, at: int) -> None:
    torch.set_num_threads(1)
    StreamingInferer(PIECE)(source, Interrupted(network(3), at, _kill), output)


OUTPUTS = ["out.tif", "out.nii", "out.nii.gz", "out.h5", "out.npy", "out.raw", "out.zarr", "slices"]


def octets(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_killed_and_resumed_to_the_same_bytes(tmp_path: Path, processes: BaseContext, name: str) -> None:
    if name == "out.zarr":
        pytest.importorskip("zarr", minversion="3.0")
    tifffile.imwrite(tmp_path / "in.tif", values(30, 22, 23))
    output = tmp_path / name
    killed = processes.Process(target=_run_until_killed, args=(tmp_path / "in.tif", output, 7))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not output.exists()
    assert len(list((tmp_path / f"{name}.partial").glob("*.npy"))) == 6
    generator = Interrupted(network(3), 10**6, _stop)
    StreamingInferer(PIECE)(tmp_path / "in.tif", generator, output)
    StreamingInferer(PIECE)(tmp_path / "in.tif", generator, tmp_path / "once" / name)
    assert octets(output) == octets(tmp_path / "once" / name)
    assert {path.name for path in tmp_path.iterdir()} == {"in.tif", name, "once"}


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_format_goes_on_where_it_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    if name == "out.zarr":
        pytest.importorskip("zarr", minversion="3.0")
    volume = values(30, 22, 23)
    np.save(tmp_path / "in.npy", volume)
    output = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        StreamingInferer(PIECE)(tmp_path / "in.npy", Interrupted(network(3), 5, _stop), output)
    calls: list[int] = []

    class Counting(Interrupted):
        def forward(self, image: Tensor) -> Tensor:
            calls.append(1)
            return super().forward(image)

    with caplog.at_level(logging.INFO, logger="recon"):
        StreamingInferer(PIECE)(tmp_path / "in.npy", Counting(network(3), 10**6, _stop), output)
    assert "resumed, 4 parts are written" in caplog.text
    assert len(calls) == 8 - 4
    options = {"shape": (60, 44, 46), "dtype": "uint16"} if name == "out.raw" else {}
    with open_source(output, **options) as source:
        got = source.read().transpose(1, 2, 0)
    assert_stored(got, enlarged(volume.transpose(1, 2, 0), network(3).eval(), 0, 65535))


def interrupted_run(tmp_path: Path, at: int = 3) -> tuple[Path, Path]:
    np.save(tmp_path / "in.npy", values(50, 40))
    output = tmp_path / "out.npy"
    with pytest.raises(KeyboardInterrupt):
        StreamingInferer(PIECE)(tmp_path / "in.npy", Interrupted(network(), at, _stop), output)
    return tmp_path / "in.npy", output


def unstopped(seed: int = 0) -> Interrupted:
    return Interrupted(network(seed=seed), 10**6, _stop)


def test_other_weights_options_or_input_are_refused(tmp_path: Path) -> None:
    source, output = interrupted_run(tmp_path)
    before = octets(tmp_path)
    for run, generator, named in [
        (StreamingInferer(PIECE), unstopped(seed=1), "weights"),
        (StreamingInferer(PIECE + 4), unstopped(), "tiles"),
        (StreamingInferer(PIECE, intensity_range=[0, 4095]), unstopped(), "intensity_range"),
    ]:
        with pytest.raises(DataError, match=rf"out.npy.partial: .* begun with {named} .* remove this folder") as caught:
            run(source, generator, output)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="begun with pixel_size"):
        StreamingInferer(PIECE)(source, unstopped(), output, spacing=[1, 1])
    assert octets(tmp_path) == before
    np.save(source, values(50, 40, seed=5))
    with pytest.raises(DataError, match="begun with input"):
        StreamingInferer(PIECE)(source, unstopped(), output)
    shutil.rmtree(tmp_path / "out.npy.partial")
    StreamingInferer(PIECE)(source, unstopped(), output)
    assert_stored(np.load(output), enlarged(values(50, 40, seed=5), network().eval(), 0, 65535))


def test_tiles_that_did_not_reach_the_disk_are_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, output = interrupted_run(tmp_path)
    part = next((tmp_path / "out.npy.partial").glob("*.npy"))
    part.rename(part.with_name(f".tmp-0123-{part.name}"))
    with caplog.at_level(logging.INFO, logger="recon"):
        StreamingInferer(PIECE)(source, unstopped(), output)
    assert "resumed, 1 parts are written" in caplog.text
    assert_stored(np.load(output), enlarged(values(50, 40), network().eval(), 0, 65535))


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", values(2, 30, 40))
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "mine.txt").touch()
    with pytest.raises(DataError, match=r"slices: .*already; remove it"):
        StreamingInferer(PIECE)(tmp_path / "in.npy", Interrupted(network(), 1, _stop), tmp_path / "slices")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in.npy", "mine.txt", "slices"]


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "in.npy", values(50, 40))
    save, calls = np.save, []

    def full(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("common.io.sink.np.save", full)
        with pytest.raises(DiskFullError, match=r"4-.*npy: the disk is full .* MiB|GiB are free; .* resume") as caught:
            StreamingInferer(PIECE)(tmp_path / "in.npy", unstopped(), tmp_path / "out.npy")
    assert "\n" not in str(caught.value)
    assert len(list((tmp_path / "out.npy.partial").glob("*-*.npy"))) == 4
    StreamingInferer(PIECE)(tmp_path / "in.npy", unstopped(), tmp_path / "out.npy")
    assert_stored(np.load(tmp_path / "out.npy"), enlarged(values(50, 40), network().eval(), 0, 65535))


def test_a_disk_without_room_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "in.npy", values(50, 40))
    monkeypatch.setattr("common.io.disk.shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(DiskFullError, match=r"out.npy: the disk is full"):
        StreamingInferer(PIECE)(tmp_path / "in.npy", Interrupted(network(), 1, _stop), tmp_path / "out.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", values(20, 20))
    with pytest.raises(DataError, match=r"in.npy/out.npy: cannot be written"):
        StreamingInferer(PIECE)(tmp_path / "in.npy", unstopped(), tmp_path / "in.npy" / "out.npy")


# -- refused -----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", values(50, 40))
    run = StreamingInferer(PIECE)
    with pytest.raises(ValueError, match="the output would replace its input"):
        run(tmp_path / "in.npy", network(), tmp_path / "in.npy")
    with pytest.raises(ValueError, match=r"expected a volume for a network of 3 spatial dimensions, got one image"):
        run(tmp_path / "in.npy", network(3), tmp_path / "out.npy")
    with pytest.raises(ValueError, match="tile_size must be more than twice the halo"):
        StreamingInferer(10)(tmp_path / "in.npy", network(), tmp_path / "out.npy")
    flat = Nearest(1, spatial_dims=4)
    with pytest.raises(ValueError, match="expected a network with spatial_dims 2 or 3, got Nearest of 4"):
        run(tmp_path / "in.npy", flat, tmp_path / "a.npy")
    flat.spatial_dims, flat.forward = 2, lambda image: image.expand(-1, 2, -1, -1)
    with pytest.raises(ValueError, match="expected a network of grey images, one channel, got 2"):
        run(tmp_path / "in.npy", flat, tmp_path / "a.npy")
    np.save(tmp_path / "float.npy", np.linspace(-700, 1500, 81, dtype=np.float32).reshape(9, 9))
    with pytest.raises(DataError, match=r"float.npy: has values down to -700; .*=\[low, high\]"):
        run(tmp_path / "float.npy", network(), tmp_path / "out.npy")


def test_values_that_are_not_finite_are_refused_where_they_are(tmp_path: Path) -> None:
    image = np.zeros((50, 40), np.float32)
    image[45, 3] = np.nan
    image[3, 3] = np.inf
    np.save(tmp_path / "in.npy", image)
    run = StreamingInferer(PIECE, intensity_range=[0, 1])
    with pytest.raises(DataError, match=r"in.npy: .* NaN or infinite in \[y 0:\d+, x 0:\d+\].*fill"):
        run(tmp_path / "in.npy", network(), tmp_path / "out.npy")
    image[3, 3] = 0
    np.save(tmp_path / "in.npy", image)  # nothing was done yet that another input would spoil
    with pytest.raises(DataError, match=r"in.npy: .* NaN or infinite in \[y \d+:50, x 0:\d+\]"):
        run(tmp_path / "in.npy", network(), tmp_path / "out.npy")
    with pytest.raises(DataError, match=r"in.npy: .* NaN or infinite"):
        StreamingInferer(PIECE, intensity_range="measured")(tmp_path / "in.npy", network(), tmp_path / "out.npy")
    np.save(tmp_path / "in.npy", np.zeros((50, 40), np.uint8))
    broken = network()
    broken.tail.conv.bias.data.fill_(torch.inf)
    with pytest.raises(DataError, match=r"the network makes NaN or infinite values of"):
        StreamingInferer(PIECE)(tmp_path / "in.npy", broken, tmp_path / "other.npy")


def test_a_tile_too_large_for_the_device(tmp_path: Path) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    np.save(tmp_path / "in.npy", values(20, 20))
    with pytest.raises(ValueError, match="no room on cpu for a tile of 20 x 20; pass a smaller tile_size"):
        StreamingInferer(PIECE)(tmp_path / "in.npy", Interrupted(network(), 1, full), tmp_path / "out.npy")


def test_an_open_source_stays_open(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", values(20, 20))
    with open_source(tmp_path / "in.npy") as source:
        for name in ("a.npy", "b.npy"):
            StreamingInferer(PIECE)(source, network(), tmp_path / name)
        source.read((slice(0, 2), slice(0, 2)))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
