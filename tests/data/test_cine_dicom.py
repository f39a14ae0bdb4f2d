"""Folders of DICOM cine images: which file is which frame of which slice."""

import pickle

import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, write_series
from pydicom.uid import MRImageStorage

from common.data import CineDataset, DataError, find_cine
from common.data.cine import open_cine

STEP, INTERVAL_MS = 8.0, 35.0
ORIGIN = np.array([-120.0, 35.5, 400.0])
NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])
VALUES = np.random.default_rng(0).integers(1, 3000, (3, 6, 5, 4)).astype(np.uint16)  # slices, height, width, frames


def write_cine(folder, values=VALUES, *, uids=None, step=STEP, **tags):
    """One file a frame, whose names say nothing; by default all of one series."""
    n_frames = values.shape[-1]
    times = {"TriggerTime": [INTERVAL_MS * n for n in range(n_frames)], "InstanceNumber": list(range(n_frames))}
    others = {"SOPClassUID": MRImageStorage, "RescaleIntercept": 0, "SliceThickness": 6, "SpacingBetweenSlices": step}
    for index in reversed(range(len(values))):
        own = {name: value[index] if isinstance(value, dict) else value for name, value in tags.items()}
        own = {"SeriesInstanceUID": "1.2.3" if uids is None else uids[index], **times, **others, **own}
        if own["TriggerTime"] is None:
            del own["TriggerTime"]
        place = tuple(ORIGIN + index * step * NORMAL)
        write_series(folder, np.moveaxis(values[index], -1, 0), origin=place, step=0, series=f"s{index}", **own)
    return folder


def test_frames_are_ordered_by_slice_and_trigger_time(tmp_path):
    write_cine(tmp_path / "heart")
    data = find_cine(tmp_path)
    assert [(item["path"], item["slice"]) for item in data] == [(str(tmp_path / "heart"), n) for n in range(3)]
    for n, item in enumerate(CineDataset(data)):
        np.testing.assert_allclose(item["truth"][0], VALUES[n] / VALUES.max(), rtol=1e-6)
    geometry = open_cine(tmp_path / "heart").source.geometry()
    assert geometry.pixel_size_mm == (0.7, 0.5)
    assert geometry.slice_distance_mm == pytest.approx(STEP)
    assert geometry.frame_interval_s == pytest.approx(INTERVAL_MS / 1000)
    # independent of our code: the place of a voxel by the tags of its file
    place = ORIGIN + 2 * STEP * NORMAL + 3 * 0.5 * np.array(OBLIQUE[:3]) + 4 * 0.7 * np.array(OBLIQUE[3:])
    np.testing.assert_allclose(geometry.affine @ [4, 3, 2, 1], [*(place * [-1, -1, 1]), 1], atol=1e-5)


@pytest.mark.parametrize("constant", [None, 0])
def test_other_numbers_order_frames_without_trigger_times(tmp_path, constant):
    numbers = [7, 5, 4, 2]
    write_cine(tmp_path, TriggerTime=constant, InstanceNumber=numbers)
    item = CineDataset(find_cine(tmp_path))[1]
    np.testing.assert_allclose(item["truth"][0], VALUES[1][..., ::-1] / VALUES.max(), rtol=1e-6)
    assert open_cine(tmp_path).source.geometry().frame_interval_s is None


def test_acquisition_times_order_frames_without_numbers(tmp_path):
    times = ["115959.9", "120000.25", "120000", "125959"]
    write_cine(tmp_path, TriggerTime=None, InstanceNumber=None, AcquisitionTime=times)
    item = CineDataset(find_cine(tmp_path))[0]
    np.testing.assert_allclose(item["truth"][0], VALUES[0][..., [0, 2, 1, 3]] / VALUES.max(), rtol=1e-6)


def test_slices_may_be_series_of_their_own(tmp_path):
    write_cine(tmp_path / "a", uids=["1.2.1", "1.2.2", "1.2.3"])
    assert len(find_cine(tmp_path)) == 3
    options = {"series": "1.2.2"}
    (item,) = CineDataset(find_cine(tmp_path, **options), **options)
    np.testing.assert_allclose(item["truth"][0], VALUES[1] / VALUES[1].max(), rtol=1e-6)
    with pytest.raises(DataError, match=r"a: no DICOM series 1\.9, found 1\.2\.1, 1\.2\.2, 1\.2\.3"):
        find_cine(tmp_path, series="1.9")


def test_values_are_rescaled_and_equal_pydicoms(tmp_path):
    write_cine(tmp_path, RescaleSlope=2, RescaleIntercept=10)
    reader = open_cine(tmp_path)
    assert reader.intensity_range == (0, 2 * VALUES.max() + 10)
    stored = reader.source.load("truth", 2)
    np.testing.assert_array_equal(stored, VALUES[2] * 2.0 + 10)
    files = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    (last,) = [f for f in files if f.TriggerTime == 3 * INTERVAL_MS and f.SeriesDescription == "chest s2"]
    np.testing.assert_array_equal(stored[..., 3], pydicom.pixels.apply_rescale(last.pixel_array, last))


def test_one_slice_needs_no_place(tmp_path):
    write_cine(tmp_path, VALUES[:1], ImagePositionPatient=None)
    (item,) = CineDataset(find_cine(tmp_path))
    np.testing.assert_allclose(item["truth"][0], VALUES[0] / VALUES[0].max(), rtol=1e-6)
    geometry = open_cine(tmp_path).source.geometry()
    assert geometry.affine is None
    assert geometry.slice_distance_mm == STEP


def test_opening_reads_no_pixels_and_pickles(tmp_path, monkeypatch):
    write_cine(tmp_path)
    decoded = []
    pixel_array = pydicom.Dataset.pixel_array.fget

    def counted(dataset):
        decoded.append(dataset.SOPInstanceUID)
        return pixel_array(dataset)

    monkeypatch.setattr(pydicom.Dataset, "pixel_array", property(counted))
    source = pickle.loads(pickle.dumps(open_cine(tmp_path).source))
    assert decoded == []
    source.load("truth", 1)
    assert len(set(decoded)) == len(decoded) == 4


BAD_TAGS = {
    "one frame": ({"TriggerTime": 0.0}, VALUES[..., :1], "expected series of 2 frames or more, .* got 1 frame"),
    "one time twice": (
        {"TriggerTime": [0.0, 1.0, 1.0, 2.0]},
        VALUES,
        "got the TriggerTime 1 of IM.* at the same place",
    ),
    "no order": (
        {"TriggerTime": None, "InstanceNumber": None},
        VALUES,
        "expected a rising TriggerTime, InstanceNumber",
    ),
    "no place": ({"ImagePositionPatient": {0: None, 1: [0, 0, 0], 2: [0, 0, 8]}}, VALUES, "expected ImagePosition"),
    "two scales": ({"RescaleSlope": {0: 1, 1: 1, 2: 3}}, VALUES, "expected rescale .* as IM.* has, got"),
    "colour": ({"PhotometricInterpretation": "RGB"}, VALUES, "expected a grey image, MONOCHROME1 or 2, got RGB"),
    "many frames": ({"NumberOfFrames": 4}, VALUES, r"got 4 frames \(enhanced or multi-frame DICOM\); split it"),
}


@pytest.mark.parametrize("case", BAD_TAGS)
def test_tags_that_do_not_fit_are_named(tmp_path, case):
    tags, values, message = BAD_TAGS[case]
    write_cine(tmp_path, values, **tags)
    with pytest.raises(DataError, match=message) as caught:
        find_cine(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_frame_and_a_missing_slice_are_named(tmp_path):
    write_cine(tmp_path / "a")
    next((tmp_path / "a").glob("*_s1")).unlink()
    with pytest.raises(DataError, match=r"expected as many frames in each of 3 slices, got \[4, 3, 4\].*_s1"):
        find_cine(tmp_path)
    write_cine(tmp_path / "b", np.concatenate([VALUES, VALUES]))
    for path in (tmp_path / "b").glob("*_s4"):
        path.unlink()
    with pytest.raises(DataError, match=r"expected evenly spaced slices, got 16 mm between those of .* and 8 mm"):
        open_cine(tmp_path / "b")


def test_mixed_folders_are_refused(tmp_path):
    write_cine(tmp_path / "places", uids=["1.1", "1.2", "1.3"], step=0)
    with pytest.raises(DataError, match=r"found two of one place, 1\.\d and 1\.\d; pass series="):
        open_cine(tmp_path / "places")
    write_cine(tmp_path / "sizes")
    write_series(tmp_path / "sizes", VALUES[:, :4, :4, 0], series="other", origin=(0, 0, 0), RescaleIntercept=0)
    with pytest.raises(DataError, match=r"expected size .* as IM"):
        open_cine(tmp_path / "sizes")
    write_cine(tmp_path / "views", VALUES[:1])
    tags = {
        "origin": (0, 0, 0),
        "orientation": [1.0, 0, 0, 0, 1, 0],
        "RescaleIntercept": 0,
        "SpacingBetweenSlices": STEP,
    }
    write_series(tmp_path / "views", VALUES[1].transpose(2, 0, 1), series="other", **tags)
    with pytest.raises(DataError, match=r"expected the orientation of IM"):
        open_cine(tmp_path / "views")


def test_a_single_file_is_refused(tmp_path):
    path = next(write_cine(tmp_path).iterdir())
    with pytest.raises(DataError, match="expected a folder of DICOM frames, got one file"):
        find_cine(path)


def test_damaged_pixels_name_the_file(tmp_path):
    write_cine(tmp_path)
    path = next(tmp_path.glob("*_s1"))
    path.write_bytes(path.read_bytes()[:-20])
    reader = open_cine(tmp_path)
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read as a DICOM image"):
        reader.read(1)
