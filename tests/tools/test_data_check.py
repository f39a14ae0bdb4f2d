"""`tools data check`: each defect has its line, facts are those of the file, and the printed commands run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from dicom_series import write_series
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import CTImageStorage

from common.phantoms.sets import make_tiny_set
from tools.command import run_commands
from tools.data import COMMANDS
from tools.data_check import Report, as_text, check_folder
from tools.data_facts import read_facts

ROOT = Path(__file__).resolve().parents[2]
HEADER = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>
<matrixSize><x>24</x><y>20</y><z>1</z></matrixSize><fieldOfView_mm><x>240</x><y>100</y><z>5</z></fieldOfView_mm>
</encodedSpace></encoding></ismrmrdHeader>"""


def smooth(seed: int, *shape: int) -> NDArray[np.float64]:
    """From 0 to 1, different for each seed."""
    image = np.random.default_rng(seed).random(shape)
    return (image - image.min()) / np.ptp(image)


def centred_fft(image: NDArray) -> NDArray[np.complex64]:
    axes = (-2, -1)
    shifted = np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho")
    return np.fft.fftshift(shifted, axes=axes).astype(np.complex64)


def write_png(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(255 * smooth(seed, *size)).astype(np.uint8)).save(path)
    return path


def write_h5(path: Path, kspace: NDArray | None = None, **datasets: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if kspace is not None:
            file["kspace"], file.attrs["acquisition"] = kspace, "brain"
        for name, value in datasets.items():
            file[name] = value
    return path


def check(*arguments: object) -> int:
    return run_commands(COMMANDS, "tools data", ["check", *map(str, arguments)])


# -- facts -------------------------------------------------------------------------------------------------------


def test_facts_of_an_image_volume(tmp_path):
    volume = np.zeros((20, 24, 3), np.int16)  # x, y, z
    volume[:, :, 0] = np.arange(24 * 20).reshape(20, 24) - 7
    volume[:, :, 2] = np.arange(24 * 20).reshape(20, 24)
    nibabel.save(nibabel.nifti1.Nifti1Image(volume, np.diag([0.5, 2.0, 4.0, 1.0])), tmp_path / "a.nii.gz")
    facts = read_facts(tmp_path / "a.nii.gz")
    assert (facts.format, facts.kind, facts.dtype) == (".nii.gz", "image", "int16")
    assert (facts.n_slices, facts.height, facts.width) == (3, 24, 20)
    assert (facts.low, facts.high) == (-7, 479)
    assert (facts.spacing_mm, facts.is_oriented) == ((2.0, 0.5, 4.0), True)  # rows, columns, slices
    assert (facts.range, facts.advised_range, facts.is_volume) == ((0, 479), None, True)
    assert (facts.sampled, facts.has_target, facts.is_complex, facts.two_valued) == (None, False, False, False)
    assert "1 of 3 slices are constant" in facts.warnings[0]
    assert "values below 0, down to -7" in facts.warnings[1]
    assert [index for _, index in facts.digests] == [0, 2]


def test_facts_of_measured_kspace(tmp_path):
    image = smooth(0, 2, 24, 20) * np.exp(1j * np.linspace(-3, 3, 20))
    mask = np.arange(20) % 4 == 2
    path = write_h5(tmp_path / "a.h5", centred_fft(image), mask=mask, ismrmrd_header=HEADER)
    facts = read_facts(path)
    assert (facts.kind, facts.dtype, facts.n_slices) == ("kspace", "complex64", 2)
    assert facts.sampled == pytest.approx(0.25)
    assert facts.spacing_mm == (10.0, 5.0, 5.0)
    assert facts.is_complex
    assert facts.high == pytest.approx(np.abs(centred_fft(image)).max(), rel=1e-6)
    assert facts.warnings == ()


def test_kspace_of_a_magnitude_image_is_not_complex(tmp_path):
    magnitude = smooth(0, 1, 24, 20)
    facts = read_facts(write_h5(tmp_path / "a.h5", centred_fft(magnitude), reconstruction_esc=magnitude))
    assert (facts.is_complex, facts.sampled, facts.has_target) == (False, None, True)


# -- problems ----------------------------------------------------------------------------------------------------


def test_each_defect_has_one_line_and_the_rest_is_read(tmp_path, capsys):
    write_png(tmp_path / "good.png", seed=1)
    (tmp_path / "note.png").write_text("no image")
    values = smooth(0, 2, 24, 20)
    values[1, 3, 4] = np.nan
    np.save(tmp_path / "hole.npy", values)
    write_h5(tmp_path / "other.h5", one=smooth(0, 2, 24, 20), two=smooth(1, 2, 24, 20))
    write_h5(tmp_path / "scan.h5", centred_fft(smooth(0, 2, 24, 20)), mask=np.ones(19))
    lines = (
        "note.png: cannot be read as a PNG",
        "hole.npy: 1 of 480 values",
        "{'dataset': 'one'}",
        "scan.h5:mask is 1 x 19",
    )
    assert check(tmp_path) == 1
    captured = capsys.readouterr()
    for line in lines:
        assert len([text for text in captured.out.splitlines() if line in text]) == 1
    assert "problems (4)" in captured.out
    good = "good.png: .png image, 1 x 24 x 20, uint8, 0 to 255, 0 to 1 is 0 to 255"
    assert f"{tmp_path}: 1 readable file, 1 slice\n  {good}\n" in captured.out
    assert captured.err == f"error: {tmp_path}: 4 problems, listed above\n"


def test_constant_images_are_usable(tmp_path):
    Image.fromarray(np.full((24, 20), 7, np.uint8)).save(tmp_path / "flat.png")
    tifffile.imwrite(tmp_path / "blank.tif", np.zeros((24, 20), np.uint16))
    report = check_folder(tmp_path)
    assert report.problems == []
    facts = {one.path.name: one for one in report.files[""]}
    assert (facts["flat.png"].low, facts["flat.png"].high, facts["flat.png"].range) == (7, 7, (0, 255))
    assert facts["blank.tif"].range == (0, 1)
    for one in facts.values():
        assert not one.two_valued
        assert "1 of 1 slices are constant" in one.warnings[0]


def test_content_in_two_splits_is_leakage_whatever_the_format(tmp_path, capsys):
    for seed, name in enumerate(["train/a", "train/b", "valid/c"]):
        write_png(tmp_path / f"{name}.png", seed)
    with Image.open(tmp_path / "train" / "b.png") as image:
        tifffile.imwrite(tmp_path / "valid" / "again.tif", np.asarray(image))
    assert check(tmp_path) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "leakage" in line]
    assert len(lines) == 1
    assert "valid/again.tif has the content of" in lines[0]
    assert "train/b.png, 1 slice; keep it in one of train/ and valid/" in lines[0]


def test_nothing_to_read_is_one_line(tmp_path, capsys):
    (tmp_path / "scan.txt").write_bytes(b"")
    for folder, words in (
        (tmp_path, "no file of .tif"),
        (tmp_path / "none", "expected a folder"),
        (tmp_path / "scan.txt", "expected a folder"),
    ):
        assert check(folder) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"error: {folder}: {words}")
        assert captured.err.count("\n") == 1


# -- what is only odd, and what is missing -----------------------------------------------------------------------


def test_duplicates_and_masks_are_looked_at_but_usable(tmp_path, capsys):
    write_png(tmp_path / "a.png")
    write_png(tmp_path / "b.png")
    assert check(tmp_path) == 0
    assert "b.png has the content of" in capsys.readouterr().out
    Image.fromarray(255 * (np.eye(24, dtype=np.uint8))).save(tmp_path / "mask.png")
    assert check(tmp_path) == 0
    out = capsys.readouterr().out
    assert "mask.png: two values, 0 and 255: a mask rather than an image?" in out
    assert f"for {tmp_path}: mask.png has two values" in out
    assert "monai.bundle run" not in out


def test_empty_slices_are_no_duplicates(tmp_path):
    for seed in (0, 1):
        volume = np.zeros((3, 24, 20))
        volume[seed] = smooth(seed, 24, 20)
        np.save(tmp_path / f"{seed}.npy", volume)
    report = check_folder(tmp_path)
    assert not [line for line in report.warnings if "duplicate" in line]


def notes(folder: Path) -> str:
    return "\n".join(check_folder(folder).notes)


def test_what_training_lacks_is_said(tmp_path):
    write_png(tmp_path / "test" / "a.png")
    assert "training lacks usable files in train/ and valid/" in notes(tmp_path)
    write_png(tmp_path / "train" / "b.png", 1)
    assert "training lacks usable files in valid/" in notes(tmp_path)
    write_png(tmp_path / "valid" / "c.png", 2)
    assert notes(tmp_path) == ""
    write_png(tmp_path / "more" / "d.png", 3)
    for n in range(2):  # two slices of a folder are a volume, such as masks beside the splits
        Image.fromarray(255 * np.eye(24, dtype=np.uint8)).save(tmp_path / "more" / f"mask{n}.png")
    report = check_folder(tmp_path)
    assert "not read: the subfolders more/" in "\n".join(report.notes)
    assert bundle_record(report)["misfit"] == ""


def test_undersampled_kspace_is_not_for_training(tmp_path):
    for seed, split in enumerate(["train", "valid"]):
        write_h5(tmp_path / split / "a.h5", centred_fft(smooth(seed, 1, 24, 20)), mask=np.arange(20) > 3)
    report = check_folder(tmp_path)
    assert "training refuses undersampled k-space: 1 of the files in train/" in "\n".join(report.notes)
    assert "train" not in commands(report)
    assert {"evaluate", "infer"} <= commands(report).keys()


def test_folders_of_other_names_are_read_and_named(tmp_path):
    for seed, name in enumerate(["singlecoil_train", "singlecoil_val", ".hidden"]):
        write_png(tmp_path / name / "a.png", seed)
    report = check_folder(tmp_path)
    assert list(report.files) == ["singlecoil_train", "singlecoil_val"]
    assert "checked singlecoil_train/, singlecoil_val/; training reads train/ and valid/" in "\n".join(report.notes)
    assert "rename" in "\n".join(report.notes)


def test_what_no_reader_takes_is_counted(tmp_path):
    write_png(tmp_path / "a.png")
    (tmp_path / "a.xyz").write_bytes(b"")
    (tmp_path / "b.XYZ").write_bytes(b"")
    (tmp_path / ".DS_Store").write_bytes(b"")
    np.save(tmp_path / "a_mask.npy", np.ones(20))
    np.save(tmp_path / "lost_mask.npy", np.ones(20))
    found = notes(tmp_path)
    assert "passed over 2 of .xyz" in found
    assert "lost_mask.npy: a mask without its data file" in found
    assert "a_mask.npy:" not in found.replace("lost_", "")


def test_alike_files_share_a_line_and_many_kinds_are_cut_short(tmp_path):
    for index in range(3):
        write_png(tmp_path / f"{index}.png", index)
    assert "0.png to 2.png (3): .png image, 1 x 24 x 20, uint8" in as_text(check_folder(tmp_path))
    for index in range(3, 20):
        write_png(tmp_path / f"{index}.png", index, (24, 20 + index))
    lines = as_text(check_folder(tmp_path)).splitlines()
    assert any("and 6 more files of 6 other shapes or types" in line for line in lines)


def test_json_holds_every_file(tmp_path, capsys):
    write_png(tmp_path / "train" / "a.png")
    np.save(tmp_path / "train" / "b.npy", np.full((24, 20), np.nan))
    assert check(tmp_path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["usable"], len(found["problems"])) == (False, 1)
    (file,) = found["files"]
    assert (file["path"], file["split"], file["high"]) == (str(tmp_path / "train" / "a.png"), "train", 255)


# -- which bundle fits -------------------------------------------------------------------------------------------

REFINEGAN = "brain_mri_refinegan_reconstruction"
CT_BUNDLE, ROCK_BUNDLE = "ct_mri_srgan_d_super_resolution", "micro_ct_srgan_super_resolution"


def bundle_record(report: Report, name: str = REFINEGAN) -> dict:
    (record,) = [bundle for bundle in report.bundles if bundle["bundle"] == name]
    return record


def commands(report: Report) -> dict[str, str]:
    return bundle_record(report)["commands"]


def test_images_fit_and_no_command_touches_shipped_weights(tmp_path):
    make_tiny_set("brain_mri", tmp_path / "my set")
    report = check_folder(tmp_path / "my set")
    assert not report.problems
    record = bundle_record(report)
    assert (record["misfit"], record["caution"]) == ("", "8 files have images, of which k-space is simulated")
    assert [bundle["bundle"] for bundle in report.bundles[:2]] == [CT_BUNDLE, ROCK_BUNDLE]
    assert list(record["commands"]) == ["train", "evaluate", "infer"]
    words = {purpose: shlex.split(line) for purpose, line in record["commands"].items()}
    folders = {purpose: line[line.index("--dataset_dir") + 1] for purpose, line in words.items()}
    data = str(tmp_path / "my set")
    assert folders == {"train": data, "evaluate": data, "infer": f"{data}/test"}
    assert words["train"][words["train"].index("--ckpt_dir") + 1] == f"runs/{REFINEGAN}"
    assert "--scaling" not in words["train"]


@pytest.mark.slow  # a run of a bundle in a new interpreter
def test_the_printed_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    make_tiny_set("brain_mri", tmp_path / "my set")
    program, *words = shlex.split(commands(check_folder(tmp_path / "my set"))["evaluate"])
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *words, "--output_dir", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert len(rows) > 2


def write_ct(folder: Path, seed: int = 0) -> None:
    volume = np.random.default_rng(seed).integers(0, 3500, (3, 24, 20)).astype(np.uint16)  # to 2475 HU
    write_series(folder, volume, SOPClassUID=CTImageStorage, series=str(seed))


def test_ct_gets_its_range_and_volumes_the_3d_config(tmp_path):
    for seed, split in enumerate(["train", "valid", "test"]):
        write_ct(tmp_path / split / "scan", seed)
    report = check_folder(tmp_path)
    (facts,) = report.files["test"]
    assert (facts.range, facts.advised_range, facts.is_oriented) == (None, (-1000, 2000), True)
    assert 'pass which become 0 and 1, --intensity_range "[-1000, 2000]"; 0.' in "\n".join(report.warnings)
    for line in bundle_record(report, CT_BUNDLE)["commands"].values():
        words = shlex.split(line)
        assert words[words.index("--intensity_range") + 1] == "[-1000, 2000]"
    rock = bundle_record(report, ROCK_BUNDLE)["commands"]
    assert "inference_3d.json" in rock["infer 3-D"]
    assert "inference_3d.json" not in rock["infer"]


def test_several_coils_are_taken_with_the_config_that_does_it(tmp_path):
    for seed, split in enumerate(["train", "valid", "test"]):
        write_h5(tmp_path / split / "a.h5", centred_fft(smooth(seed, 2, 4, 24, 20)))
    report = check_folder(tmp_path)
    assert not report.problems
    assert {facts.n_coils for facts in report.files["train"]} == {4}
    assert "4 coils" in as_text(report)
    enlarging = bundle_record(report, "ct_mri_srgan_d_super_resolution")
    assert enlarging["misfit"] == "it takes one coil, and 3 files have several; combine them before"
    brain = bundle_record(report)
    assert brain["commands"].keys() == {"evaluate", "infer"}
    assert all("inference_multicoil.json" in line for line in brain["commands"].values())
    knee = bundle_record(report, "knee_mri_texture_gan_reconstruction")
    assert "multicoil.json" in knee["caution"]
    assert "multicoil_train.json" in knee["commands"]["train"]
    assert "multicoil.json" in knee["commands"]["infer"]


def test_options_of_formats_are_used_and_printed(tmp_path, capsys):
    options = "{'axes': 't,z,y,x', 'frame': 1}"
    values = smooth(0, 2, 3, 24, 20)
    np.save(tmp_path / "a.npy", values)
    assert check(tmp_path, "--source_options", options) == 0
    out = capsys.readouterr().out
    assert "a.npy: .npy image, 3 x 24 x 20, float64" in out
    assert f'--source_options "{options}"' in out


def test_what_readers_log_is_reported(tmp_path):
    image = smooth(0, 40, 40)
    image[3, 4] = 20  # a hot pixel
    np.save(tmp_path / "a.npy", image)
    assert "its maximum 20 is far above the value" in "\n".join(check_folder(tmp_path).warnings)


def test_bundles_declare_what_they_take(tmp_path, monkeypatch):
    """A super-resolution bundle takes images, and is untrained; a broken bundle is a note, not a failure."""
    for name, image_format in (("sr", "magnitude"), ("broken", None)):
        configs = tmp_path / "bundles" / name / "configs"
        configs.mkdir(parents=True)
        inputs = {"image": {"format": image_format}} if image_format else {}
        metadata = {"task": "enlarging", "network_data_format": {"inputs": inputs}}
        (configs / "metadata.json").write_text(json.dumps(metadata))
        (configs / "inference.json").write_text(json.dumps({"prepare_batch": {"_target_": "scripts.x.Prepare"}}))
    monkeypatch.setattr("tools.data_check.BUNDLES", tmp_path / "bundles")
    monkeypatch.setattr("tools.data_check.bundle_names", lambda: ["broken", "sr"])
    for seed, split in enumerate(["train", "valid"]):
        write_png(tmp_path / "set" / split / "a.png", seed)
    report = check_folder(tmp_path / "set")
    assert "broken: metadata.json has no network_data_format" in "\n".join(report.notes)
    assert list(bundle_record(report, "sr")["commands"]) == ["train"]
    write_h5(tmp_path / "set" / "valid" / "b.h5", centred_fft(smooth(4, 1, 24, 20)), mask=np.arange(20) > 3)
    record = bundle_record(check_folder(tmp_path / "set"), "sr")
    assert record["misfit"] == "it takes images, and b.h5 has undersampled k-space; reconstruct it before"
    assert record["commands"] == {}
