"""Voxel sizes out of ISMRMRD headers, and files that have none."""

import h5py
import numpy as np
import pytest

from common.data import DataError
from common.data.voxel_size import header_voxel_size_mm

SPACE = (
    "<reconSpace><matrixSize><x>320</x><y>160</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>140</x><y>80</y><z>4.5</z></fieldOfView_mm></reconSpace>"
)


def header(space=SPACE, namespace=' xmlns="http://www.ismrm.org/ISMRMRD"'):
    encoded = SPACE.replace("reconSpace", "encodedSpace").replace("320", "640")
    return f'<?xml version="1.0"?><ismrmrdHeader{namespace}><encoding>{encoded}{space}</encoding></ismrmrdHeader>'


@pytest.mark.parametrize("key", ["ismrmrd_header", "dataset/xml"])
@pytest.mark.parametrize("namespace", ["", ' xmlns="http://www.ismrm.org/ISMRMRD"'])
def test_recon_space_gives_the_size(tmp_path, key, namespace):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        text = header(namespace=namespace)
        file[key] = text if key == "ismrmrd_header" else np.array([text], dtype=h5py.string_dtype())
    assert header_voxel_size_mm(path) == (0.4375, 0.5, 4.5)


@pytest.mark.parametrize(
    "text",
    [
        "<ismrmrdHeader/>",
        header(SPACE.replace("<z>4.5</z>", "")),
        header(SPACE.replace("140", "0")),
        header(SPACE.replace("320", "0")),
        header(SPACE.replace("140", "wide")),
    ],
)
def test_no_size_where_the_header_has_none(tmp_path, text):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ismrmrd_header"] = text
    assert header_voxel_size_mm(tmp_path / "a.h5") is None


def test_no_size_without_a_header(tmp_path):
    h5py.File(tmp_path / "a.h5", "w").close()
    assert header_voxel_size_mm(tmp_path / "a.h5") is None
    assert header_voxel_size_mm(tmp_path / "a.png") is None


def test_a_spoiled_header_names_its_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ismrmrd_header"] = "<ismrmrdHeader>"
    with pytest.raises(DataError, match=r"a\.h5: cannot be read as an HDF5 file with an ISMRMRD header, XML"):
        header_voxel_size_mm(tmp_path / "a.h5")
