"""`tools data check` of cine series: their facts, their layouts, which bundle takes them and which does not."""

from __future__ import annotations

import shlex
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from dicom_series import write_series
from PIL import Image
from pydicom.uid import MRImageStorage

from tools.data_check import Report, as_text, check_folder
from tools.data_facts import read_facts

ROOT = Path(__file__).resolve().parents[2]
CINE, OF_SLICES = "cardiac_cine_unet_reconstruction", "brain_mri_refinegan_reconstruction"
SHAPE = (2, 12, 10, 4)  # series, height, width, frames


def series(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """In [0, 1], another for each seed."""
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def write_h5(path: Path, attributes: dict | None = None, /, **datasets: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes or {})
        for name, values in datasets.items():
            file[name] = values
    return path


def write_nifti(path: Path, values: np.ndarray) -> Path:
    """Values are [width, height, slices, frames]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.nifti1.Nifti1Image(values, np.diag([1.5, 1.25, 8.0, 1.0]))
    image.header.set_zooms((1.5, 1.25, 8.0, 0.04)[: values.ndim])
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def write_dicom(folder: Path, seed: int = 0, n_slices: int = 2, n_frames: int = 3) -> Path:
    """A file a frame."""
    for index in range(n_slices):
        values = np.random.default_rng([seed, index]).integers(1, 999, (n_frames, 8, 6)).astype(np.uint16)
        times = {"TriggerTime": [40.0 * n for n in range(n_frames)], "InstanceNumber": list(range(n_frames))}
        tags = {"SOPClassUID": MRImageStorage, "RescaleIntercept": 0, "SeriesInstanceUID": "1.2.3", **times}
        write_series(folder, values, origin=(0.0, 0.0, 8.0 * index), step=0, series=f"s{index}", **tags)
    return folder


def write_pairs(folder: Path, splits: tuple[str, ...] = ("train", "validation", "test")) -> Path:
    """Inputs and truths in files of their own."""
    for seed, split in enumerate(splits):
        write_h5(folder / f"input_{split}.h5", imagesRecon=series(10 + seed))
        write_h5(folder / f"truth_{split}.h5", imagesTrue=series(seed))
    return folder


def record(report: Report, name: str = CINE) -> dict:
    (found,) = [bundle for bundle in report.bundles if bundle["bundle"] == name]
    return found


def words(report: Report, purpose: str) -> list[str]:
    return shlex.split(record(report)["commands"][purpose])


def after(option: str, line: list[str]) -> str:
    return line[line.index(option) + 1]


# -- facts -------------------------------------------------------------------------------------------------------


def test_facts_of_simulated_series(tmp_path):
    attributes = {"pixel_size_mm": [1.5, 1.25], "slice_distance_mm": 8.0, "frame_interval_s": 0.04}
    truth = 0.5 * series()
    facts = read_facts(
        write_h5(tmp_path / "a.h5", attributes, imagesTrue=truth, imagesRecon=series(1), phaseTrue=series(2))
    )
    assert (facts.kind, facts.format, facts.dtype) == ("series", ".h5", "float32")
    assert (facts.n_slices, facts.height, facts.width, facts.n_frames) == SHAPE
    assert set(facts.parts) == {"truth", "recon", "phase"}
    assert (facts.low, facts.high) == (pytest.approx(truth.min()), pytest.approx(truth.max()))
    assert (facts.spacing_mm, facts.frame_interval_s) == ((1.5, 1.25, 8.0), 0.04)
    assert (facts.is_complex, facts.sampled, facts.two_valued, facts.has_truth) == (True, None, False, True)


def test_facts_of_measured_kspace(tmp_path):
    kspace = series(0, (2, 3, 12, 10, 4)) * np.exp(1j * series(1, (2, 3, 12, 10, 4)))
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[::4] = 1
    facts = read_facts(write_h5(tmp_path / "a.h5", kspace=kspace.astype(np.complex64), mask=mask))
    assert (facts.kind, facts.parts, facts.n_slices, facts.n_frames) == ("series", ("kspace", "mask"), 2, 4)
    assert (facts.sampled, facts.has_truth) == (pytest.approx(0.25), False)
    assert facts.high == pytest.approx(np.abs(kspace[:, :, ::4]).max(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_facts_of_a_nifti_file_of_four_axes(dtype, tmp_path):
    values = (1000 * series(0, (12, 10, 3, 4))).astype(dtype)
    facts = read_facts(write_nifti(tmp_path / "a.nii.gz", values))
    assert (facts.kind, facts.parts, facts.dtype) == ("series", ("truth",), np.dtype(dtype).name)
    assert (facts.n_slices, facts.height, facts.width, facts.n_frames) == (3, 10, 12, 4)
    assert (facts.low, facts.high) == (pytest.approx(values.min()), pytest.approx(values.max()))
    assert facts.spacing_mm == (1.25, 1.5, 8.0)
    assert facts.frame_interval_s == pytest.approx(0.04)


def test_images_of_one_place_are_a_series_and_others_a_volume(tmp_path):
    facts = read_facts(write_dicom(tmp_path / "cine"))
    assert (facts.kind, facts.format, facts.n_slices, facts.n_frames) == ("series", "DICOM", 2, 3)
    assert facts.frame_interval_s == pytest.approx(0.04)
    facts = read_facts(write_dicom(tmp_path / "volume", n_frames=1))
    assert (facts.kind, facts.format, facts.n_slices, facts.n_frames) == ("image", "DICOM", 2, None)


def test_text_tells_series_from_slices(tmp_path):
    write_h5(tmp_path / "a.h5", {"frame_interval_s": 0.04}, imagesTrue=series(), imagesRecon=series(1))
    Image.fromarray((255 * series(2, (12, 10))).astype(np.uint8)).save(tmp_path / "b.png")
    text = as_text(check_folder(tmp_path))
    assert f"{tmp_path}: 2 readable files, 1 slice, 2 series" in text
    assert "a.h5: .h5 series, 2 of 12 x 10, 4 frames, truth + recon, float32, 40 ms a frame, " in text


# -- problems ----------------------------------------------------------------------------------------------------


def test_each_defect_has_one_line_and_the_rest_is_read(tmp_path):
    write_h5(tmp_path / "good.h5", imagesTrue=series(5))
    write_h5(tmp_path / "outside.h5", imagesTrue=7 * series())
    write_h5(tmp_path / "input_bad.h5", imagesRecon=series())
    write_h5(tmp_path / "truth_bad.h5", imagesTrue=series(0, (1, 12, 10, 4)))
    sorted(write_dicom(tmp_path / "lost").iterdir())[0].unlink()
    report = check_folder(tmp_path)
    for line in ("outside.h5:imagesTrue", "truth_bad.h5:imagesTrue", "lost: expected as many images at each"):
        assert len([problem for problem in report.problems if line in problem]) == 1
    assert [facts.path.name for facts in report.files[""]] == ["good.h5"]


# -- layouts -----------------------------------------------------------------------------------------------------


def test_pairs_of_files_are_splits_by_their_names(tmp_path):
    report = check_folder(write_pairs(tmp_path))
    assert {split: [facts.path.name for facts in files] for split, files in report.files.items()} == {
        "train": ["input_train.h5"],
        "valid": ["input_validation.h5"],
        "test": ["input_test.h5"],
    }
    assert all(set(facts.parts) == {"truth", "recon"} for files in report.files.values() for facts in files)
    assert (report.problems, report.warnings, report.notes) == ([], [], [])
    assert f"{tmp_path}, valid: 1 readable file, 2 series" in as_text(report)
    for purpose in ("train", "evaluate"):
        line = words(report, purpose)
        assert after("--dataset_dir", line) == str(tmp_path)
        assert "--split" not in line
    assert words(report, "infer")[-4:] == ["--dataset_dir", str(tmp_path), "--split", "test"]
    assert "3 files have aliased images" in record(report)["caution"]
    assert "--prepare_batch#measurement stored" in record(report)["caution"]


def test_a_split_of_dicom_images_is_read_once(tmp_path):
    for seed, split in enumerate(["train", "valid", "test"]):
        write_dicom(tmp_path / split, seed)
    report = check_folder(tmp_path)
    assert {split: len(files) for split, files in report.files.items()} == {"train": 1, "valid": 1, "test": 1}
    assert (report.problems, report.warnings, report.notes) == ([], [], [])
    assert after("--dataset_dir", words(report, "infer")) == str(tmp_path / "test")


def test_hearts_in_subfolders_and_one_heart_alone(tmp_path):
    for seed in range(2):
        write_dicom(tmp_path / f"heart{seed}", seed)
    for folder, n in ((tmp_path, 2), (tmp_path / "heart0", 1)):
        report = check_folder(folder)
        assert len(report.files[""]) == n
        assert report.notes == ["no train/ and valid/ in it: the files serve inference, not training"]
        assert words(report, "infer")[-2:] == ["--dataset_dir", str(folder)]


def test_series_without_truth_are_not_for_training(tmp_path):
    for seed, split in enumerate(["train", "valid"]):
        write_h5(tmp_path / split / "a.h5", imagesRecon=series(seed))
    report = check_folder(tmp_path)
    assert "training refuses series without truth: 1 of the files in valid/" in report.notes
    assert list(record(report)["commands"]) == ["infer"]  # evaluate.json reads test/
    assert record(report)["caution"] == ""


# -- which bundle fits -------------------------------------------------------------------------------------------


def test_series_fit_the_bundle_of_series_alone(tmp_path):
    for seed, split in enumerate(["train", "valid", "test"]):
        write_h5(tmp_path / "my hearts" / split / "a.h5", imagesTrue=series(seed))
    report = check_folder(tmp_path / "my hearts")
    assert (report.problems, report.warnings, report.notes) == ([], [], [])
    assert {bundle["bundle"] for bundle in report.bundles if not bundle["misfit"]} == {CINE}
    assert record(report, OF_SLICES)["misfit"].startswith("it takes slices, and 3 files have series; ")
    assert list(record(report)["commands"]) == ["train", "evaluate", "infer"]
    assert record(report)["caution"] == ""
    assert after("--dataset_dir", words(report, "infer")) == str(tmp_path / "my hearts" / "test")
    assert after("--ckpt_dir", words(report, "train")) == f"runs/{CINE}"


def test_aliased_magnitudes_alone_are_taken_by_the_network_of_magnitudes(tmp_path):
    write_h5(tmp_path / "a.h5", imagesRecon=series())
    assert "magnitudes.json" in record(check_folder(tmp_path))["commands"]["infer"]


def test_spokes_are_counted_and_taken_by_the_network_of_spokes(tmp_path):
    pytest.importorskip("torchkbnufft", reason="needs the extra `radial`")
    angles, radius = np.arange(15).reshape(3, 5, 1) * 1.94, (np.arange(24) - 12) / 24
    places = np.stack((np.sin(angles) * radius, np.cos(angles) * radius), axis=-1)
    kspace = np.exp(-((radius * 9) ** 2)) * np.ones((2, 3, 5, 1)) * np.array([1, 1j])[:, None, None, None]
    path = write_h5(tmp_path / "scan.h5", {"image_size": [12, 12]}, kspace=kspace.astype("c8"), trajectory=places)
    with h5py.File(path, "a") as file:
        file["kspace"].attrs["axes"] = np.bytes_("coil,t,y,x")
    report = check_folder(tmp_path)
    assert not report.problems
    (facts,) = report.files[""]
    assert (facts.readouts, facts.n_coils, facts.n_frames) == ((5, 24), 2, 3)
    assert (facts.height, facts.width) == (12, 12)
    assert "5 readouts of 24 samples a frame, 2 coils" in as_text(report)
    assert "radial.json" in record(report)["commands"]["infer"]
