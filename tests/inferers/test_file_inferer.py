"""Files in a folder, enlarged by a MONAI evaluator: names, formats, reruns, and errors that name the file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from nearest_network import Nearest, enlarge_files
from PIL import Image

from common.data import DataError
from common.inferers import FileInferer, prepare_file


def enlarged(image: np.ndarray, upscale: int) -> np.ndarray:
    for axis in range(image.ndim):
        image = image.repeat(upscale, axis)
    return image


def values(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def test_every_image_of_a_folder_becomes_a_file_of_its_format(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    images = {"a.tif": values(45, 61), "b.2.npy": values(33, 20, seed=1)}
    tifffile.imwrite(source / "a.tif", images["a.tif"])
    np.save(source / "b.2.npy", images["b.2.npy"])
    Image.fromarray(values(7, 9, dtype="uint8", seed=2)).save(source / "c.PNG")
    (source / "notes.txt").touch()
    outputs = enlarge_files(source, FileInferer(tmp_path / "out", tile_size=16), Nearest(3))
    assert outputs == [tmp_path / "out" / name for name in ("a_x3.tif", "b.2_x3.npy", "c_x3.PNG")]
    np.testing.assert_array_equal(tifffile.imread(outputs[0]), enlarged(images["a.tif"], 3))
    np.testing.assert_array_equal(np.load(outputs[1]), enlarged(images["b.2.npy"], 3))
    with Image.open(outputs[2]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), enlarged(values(7, 9, dtype="uint8", seed=2), 3))
    record = json.loads((tmp_path / "out" / "a_x3.tif.json").read_text())
    assert record.keys() >= {"input", "weights", "upscale", "intensity_range", "output"}


def test_the_outputs_may_have_another_format_and_folders_of_slices_are_volumes(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "slices").mkdir(parents=True)
    volume = values(3, 10, 12, dtype="uint8")
    for index, one in enumerate(volume):
        Image.fromarray(one).save(source / "slices" / f"s{index * 9}.png")
    (source / "others").mkdir()
    (source / "others" / "readme.txt").touch()
    assert enlarge_files(source, FileInferer(tmp_path / "a"), Nearest(2)) == [tmp_path / "a" / "slices_x2"]
    names = sorted(path.name for path in (tmp_path / "a" / "slices_x2").iterdir())
    assert names == ["s0.png", "s18.png", "s9.png"]
    (output,) = enlarge_files(source, FileInferer(tmp_path / "b", suffix=".npy"), Nearest(2))
    assert output == tmp_path / "b" / "slices_x2.npy"
    np.testing.assert_array_equal(np.load(output), volume.repeat(2, 1).repeat(2, 2))
    (output,) = enlarge_files(source, FileInferer(tmp_path / "b", suffix=".tif"), Nearest(2, spatial_dims=3))
    np.testing.assert_array_equal(tifffile.imread(output), enlarged(volume, 2))


def test_options_reach_the_reader(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    image = values(9, 8).astype("<u2")
    (source / "scan.raw").write_bytes(image.tobytes())
    options = {"shape": [9, 8], "dtype": "<u2"}
    (output,) = enlarge_files(source, FileInferer(tmp_path / "out", source_options=options), Nearest(2))
    assert output.name == "scan_x2.raw"
    np.testing.assert_array_equal(np.fromfile(output, "<u2").reshape(18, 16), enlarged(image, 2))
    (source / "scan.raw").unlink()
    with h5py.File(source / "scan.h5", "w") as file:
        file["first"], file["second"] = image, image[::-1]
    (output,) = enlarge_files(source, FileInferer(tmp_path / "out", source_options={"dataset": "second"}), Nearest(2))
    with h5py.File(output) as file:
        np.testing.assert_array_equal(file["second"][()], enlarged(image[::-1], 2))
    with pytest.raises(DataError, match=r"scan.h5: .*first.*second.*--source_options"):
        enlarge_files(source, FileInferer(tmp_path / "out"), Nearest(2))


class Tracked(Nearest):
    """Counts the tiles."""

    calls = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return super().forward(image)


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> Tracked:
    monkeypatch.setattr(Tracked, "calls", 0)
    return Tracked(2)


def test_a_rerun_keeps_what_is_whole_and_the_same_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tracked: Tracked
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, seed in (("a.npy", 1), ("b.npy", 2)):
        np.save(source / name, values(20, 20, seed=seed))
    run = [source, FileInferer(out), tracked]
    enlarge_files(*run)
    assert Tracked.calls == 2
    before = (out / "a_x2.npy").stat().st_mtime_ns
    with caplog.at_level(logging.INFO, logger="recon"):
        assert enlarge_files(*run) == [out / "a_x2.npy", out / "b_x2.npy"]
    assert Tracked.calls == 2
    assert (out / "a_x2.npy").stat().st_mtime_ns == before
    assert caplog.text.count("kept, it was made of the same input, weights and options") == 2
    np.save(source / "a.npy", values(20, 20, seed=5))  # another input
    (out / "b_x2.npy").write_bytes(b"changed")  # a spoilt output
    with caplog.at_level(logging.INFO, logger="recon"):
        enlarge_files(*run)
    assert Tracked.calls == 4
    assert "a_x2.npy: is there, but of a run that differs in input" in caplog.text
    assert "b_x2.npy: is there, but of a run that differs in output" in caplog.text
    np.testing.assert_array_equal(np.load(out / "a_x2.npy"), enlarged(values(20, 20, seed=5), 2))
    np.testing.assert_array_equal(np.load(out / "b_x2.npy"), enlarged(values(20, 20, seed=2), 2))
    enlarge_files(source, FileInferer(out, intensity_range=[0, 4095]), tracked)
    assert Tracked.calls == 6


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.npy", "b.npy", "c.npy"):
        np.save(source / name, values(40, 40))

    class Stopping(Tracked):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if type(self).calls == 6:
                raise KeyboardInterrupt
            return super().forward(image)

    network = Stopping(2)
    with pytest.raises(KeyboardInterrupt):
        enlarge_files(source, FileInferer(out, tile_size=20), network)  # four tiles a file
    assert sorted(path.name for path in out.iterdir()) == ["a_x2.npy", "a_x2.npy.json", "b_x2.npy.partial"]
    Stopping.calls = 100
    outputs = enlarge_files(source, FileInferer(out, tile_size=20), network)
    assert Stopping.calls == 100 + 2 + 4
    assert len({path.read_bytes() for path in outputs}) == 1


def test_one_bad_file_is_named_and_earlier_outputs_stay(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "a.npy", values(20, 20))
    (source / "b.tif").write_bytes(b"II*\0not a picture")
    with pytest.raises(DataError, match=r"in/b.tif: ") as caught:
        enlarge_files(source, FileInferer(out), Nearest(2))
    assert "\n" not in str(caught.value)
    assert (out / "a_x2.npy").exists()
    np.save(source / "b.npy", values(9, 9))
    network = Nearest(2)
    network.halo = lambda: 4
    with pytest.raises(ValueError, match=r"in/a.npy: tile_size must be more than twice the halo"):
        enlarge_files(source, FileInferer(out, tile_size=6), network)


def test_a_handler_goes_on_after_bad_files_and_names_them_at_the_end(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.tif").write_bytes(b"II*\0not a picture")
    np.save(source / "b.npy", values(20, 20))
    (source / "c.png").write_bytes(b"hello")
    inferer = FileInferer(out)
    with pytest.raises(DataError, match=r"2 files could not be enlarged: .*in/a.tif: .*in/c.png: ") as caught:
        enlarge_files(source, inferer, Nearest(2), [inferer])
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(np.load(out / "b_x2.npy"), enlarged(values(20, 20), 2))
    for name in "defg":
        (source / f"{name}.png").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"^6 files could not be enlarged: .*in/d.png: .* \| and 3 more, named above$"):
        enlarge_files(source, inferer, Nearest(2), [inferer])
    for path in (source / "a.tif", *source.glob("*.png")):
        path.unlink()
    assert enlarge_files(source, inferer, Nearest(2), [inferer]) == [out / "b_x2.npy"]


class Limited(Nearest):
    """Keeps to [0, 1], as networks do that were trained on it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert 0 <= image.min() <= image.max() <= 1
        return super().forward(image)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_values_beyond_the_range_are_kept_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spatial_dims: int
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    volume = np.random.default_rng(0).integers(-1000, 2000, (3, 20, 16), dtype=np.int16)
    volume[1, 2:4, 5:9], volume[2, 0, 0] = 3071, -1024  # metal, and air outside of the field of view: 1 of 960 values
    np.save(source / "ct.npy", volume)
    inferer = FileInferer(tmp_path / "out", tile_size=9, intensity_range=[-1000, 2000])
    with caplog.at_level(logging.WARNING, logger="recon"):
        (output,) = enlarge_files(source, inferer, Limited(2, spatial_dims))
    expected = volume.repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(np.load(output), expected.repeat(2, 0) if spatial_dims == 3 else expected)
    assert "ct.npy: 0.104 % of the values lie below -1000 and 0.833 % of the values lie above 2000" in caplog.text


def test_what_is_no_image_of_one_frame_is_refused_with_the_option(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    series = values(4, 20, 16)
    tifffile.imwrite(source / "a.tif", series, metadata={"axes": "TYX"}, ome=True)
    with pytest.raises(DataError, match=r"a.tif: .* 4 frames .*--source_options \"\{'frame': 0\}\""):
        enlarge_files(source, FileInferer(tmp_path / "out"), Nearest(2))
    (output,) = enlarge_files(source, FileInferer(tmp_path / "out", source_options={"frame": 2}), Nearest(2))
    np.testing.assert_array_equal(tifffile.imread(output), enlarged(series[2], 2))
    (source / "a.tif").unlink()
    np.save(source / "b.npy", (series[0] * 1j).astype(np.complex64))
    with pytest.raises(DataError, match=r"b.npy: .*expected"):
        enlarge_files(source, FileInferer(tmp_path / "out", source_options={"kind": "image"}), Nearest(2))


def test_outputs_never_become_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(20, 20))
    with pytest.raises(ValueError, match=r"output_dir .* is where the inputs are, .* choose one elsewhere"):
        enlarge_files(tmp_path, FileInferer(tmp_path), Nearest(2))
    for _ in range(2):  # a folder below is no volume, even with pictures
        assert enlarge_files(tmp_path, FileInferer(tmp_path / "out", suffix=".png"), Nearest(2)) == [
            tmp_path / "out" / "a_x2.png"
        ]


def test_two_inputs_of_one_output(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "a.npy", values(20, 20))
    tifffile.imwrite(source / "a.tif", values(20, 20))
    enlarge_files(source, FileInferer(tmp_path / "out"), Nearest(2))
    with pytest.raises(DataError, match=r"a.tif and .*a.npy: both would become .*a_x2.png; rename one"):
        enlarge_files(source, FileInferer(tmp_path / "out", suffix=".png"), Nearest(2))


def test_batches_of_several_files_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a batch of one file, got 2; set batch_size to 1"):
        prepare_file({"path": ["a", "b"]}, torch.device("cpu"))
