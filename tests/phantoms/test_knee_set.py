"""K-space of synthetic knees, and the data set in fastMRI's layout."""

import json
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import torch
from helpers import folder_contents, numpy_ifft2c

from common.data import SliceDataset, find_slices
from common.phantoms.knee_phantom import knee_phantom
from common.phantoms.knee_set import NOISE, knee_kspace
from common.phantoms.sets import make_set

COUNTS = {"n_train": 2, "n_valid": 1, "n_test": 1, "n_slices": 2, "size": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("knee") / "set"
    assert make_set("knee_mri", folder, **COUNTS)
    return folder


@pytest.mark.parametrize("n_coils", [1, 2, 5])
def test_without_noise_the_coils_add_up_to_the_phantom(n_coils):
    kspace = knee_kspace(4, 48, n_slices=2, n_coils=n_coils, noise=False)
    assert kspace.shape == (2, n_coils, 48, 48)
    assert kspace.dtype == np.complex64
    phantom, coils = knee_phantom(4, 48, n_slices=2), numpy_ifft2c(kspace)
    np.testing.assert_allclose(np.linalg.norm(coils, axis=1), np.abs(phantom), atol=1e-6)
    if n_coils == 1:
        np.testing.assert_allclose(coils[:, 0], phantom, atol=1e-6)
    else:
        assert len({np.abs(coil).argmax() for coil in coils[0]}) > 1  # each coil sees another part best


def test_knees_have_coils_of_their_own():
    def maps(seed):
        coils = numpy_ifft2c(knee_kspace(seed, 32, n_slices=1, n_coils=4, noise=False))[0]
        return coils[:, 12, 20] / np.linalg.norm(coils[:, 12, 20])

    assert np.abs(np.vdot(maps(0), maps(1))) < 0.999


@pytest.mark.parametrize("n_coils", [1, 3])
def test_noise_is_white_complex_and_the_same_in_all_coils(n_coils):
    clean, noisy = (knee_kspace(2, 128, n_slices=1, n_coils=n_coils, noise=noise) for noise in (False, True))
    noise = noisy - clean
    levels = np.sqrt((np.abs(noise) ** 2).mean(axis=(0, 2, 3)))
    assert (levels > 0.97 * NOISE[0]).all()
    assert (levels < 1.03 * NOISE[1]).all()
    np.testing.assert_allclose(levels, levels[0], rtol=0.03)
    np.testing.assert_allclose(noise.real.std(), noise.imag.std(), rtol=0.03)
    half = np.abs(noise[..., :64]).std(), np.abs(noise[..., 64:]).std()
    np.testing.assert_allclose(*half, rtol=0.05)
    np.testing.assert_array_equal(noisy, knee_kspace(2, 128, n_slices=1, n_coils=n_coils))


def test_files_are_laid_out_as_fastmri_has_them(folder):
    files = folder_contents(folder)
    names = ["test/00001.h5", "train/00001.h5", "train/00002.h5", "valid/00001.h5"]
    assert sorted(files) == ["dataset.json", *names]
    patients = set()
    for name in names:
        with h5py.File(folder / name) as file:
            assert set(file) == {"kspace", "reconstruction_esc", "ismrmrd_header"}
            kspace, reconstruction = file["kspace"][()], file["reconstruction_esc"][()]
            assert (kspace.shape, kspace.dtype) == ((2, 32, 32), np.complex64)
            assert (reconstruction.shape, reconstruction.dtype) == ((2, 32, 32), np.float32)
            np.testing.assert_allclose(reconstruction, np.abs(numpy_ifft2c(kspace)), atol=1e-6)
            assert file.attrs["max"] == reconstruction.max()
            assert file.attrs["norm"] == pytest.approx(np.linalg.norm(reconstruction), rel=1e-5)
            assert "SYNTHETIC" in file.attrs["acquisition"]
            patients.add(file.attrs["patient_id"])
    assert len(patients) == 4
    description = json.loads(files["dataset.json"])
    assert description["synthetic"] is True
    assert "No measured data" in description["description"]
    assert description["volumes"] == {"train": 2, "valid": 1, "test": 1}
    assert (description["n_slices"], description["size"], description["n_coils"]) == (2, 32, 1)


def test_header_says_the_matrix(folder):
    with h5py.File(folder / "train" / "00001.h5") as file:
        root = ElementTree.fromstring(file["ismrmrd_header"][()])
    found = {
        path: root.findtext("/".join(f"{{http://www.ismrm.org/ISMRMRD}}{part}" for part in path.split("/")))
        for path in (
            "encoding/encodedSpace/matrixSize/x",
            "encoding/encodedSpace/matrixSize/y",
            "encoding/reconSpace/matrixSize/x",
            "encoding/reconSpace/fieldOfView_mm/y",
            "encoding/encodingLimits/kspace_encoding_step_1/center",
            "encoding/encodingLimits/kspace_encoding_step_1/maximum",
            "acquisitionSystemInformation/receiverChannels",
        )
    }
    assert list(found.values()) == ["32", "32", "32", "160", "16", "31", "1"]


def test_ismrmrd_reads_the_header(folder):
    ismrmrd = pytest.importorskip("ismrmrd", reason="needs the ismrmrd package")
    with h5py.File(folder / "train" / "00001.h5") as file:
        header = ismrmrd.xsd.CreateFromDocument(file["ismrmrd_header"][()])
    assert header.encoding[0].encodedSpace.matrixSize.y == 32
    assert header.encoding[0].encodingLimits.slice.maximum == 1


def test_slices_are_read_as_any_others(folder):
    entries = find_slices(str(folder), "train")
    assert [entry["slice"] for entry in entries] == [0, 1, 0, 1]
    image = SliceDataset(entries, fully_sampled=True)[2]["image"]
    assert image.shape == (1, 32, 32)
    with h5py.File(folder / "train" / "00002.h5") as file:
        expected = numpy_ifft2c(file["kspace"][0]) / file.attrs["max"]
    torch.testing.assert_close(image[0], torch.from_numpy(expected).to(torch.complex64), rtol=0, atol=1e-6)


def test_multi_coil_files_have_coils_and_their_root_sum_of_squares(tmp_path):
    make_set("knee_mri", tmp_path / "set", **{**COUNTS, "n_train": 1}, n_coils=3)
    with h5py.File(tmp_path / "set" / "train" / "00001.h5") as file:
        assert set(file) == {"kspace", "reconstruction_rss", "ismrmrd_header"}
        kspace, reconstruction = file["kspace"][()], file["reconstruction_rss"][()]
        assert b"<receiverChannels>3<" in file["ismrmrd_header"][()]
    assert kspace.shape == (2, 3, 32, 32)
    np.testing.assert_allclose(reconstruction, np.linalg.norm(numpy_ifft2c(kspace), axis=1), atol=1e-6)
    item = SliceDataset(find_slices(str(tmp_path / "set"), "train", coils="multi"), coils="multi")[0]
    assert item["kspace"].shape == (3, 32, 32)
