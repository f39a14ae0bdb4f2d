"""Very small synthetic sets, by name."""

import numpy as np
import pytest
from PIL import Image

from tools.data import DATA_SETS, TINY_SETS, make_tiny_set


def test_every_set_has_a_tiny_one():
    assert TINY_SETS.keys() == DATA_SETS.keys()


@pytest.mark.parametrize("name", sorted(TINY_SETS))
def test_tiny_set_has_images_in_each_split(name, tmp_path):
    make_tiny_set(name, tmp_path / "set")
    contents = []
    for split, least in (("train", 4), ("valid", 2), ("test", 2)):
        files = sorted((tmp_path / "set" / split).glob("*.png"))
        assert len(files) >= least
        for file in files:
            with Image.open(file) as image:
                values = np.asarray(image)
            assert 64 <= min(values.shape) <= max(values.shape) <= 128
            assert np.ptp(values) > 100
            contents.append(values.tobytes())
    assert len(set(contents)) == len(contents)


def test_unknown_set_is_refused_with_the_names(tmp_path):
    with pytest.raises(ValueError, match=r"'knee': no such synthetic set, expected one of brain_mri"):
        make_tiny_set("knee", tmp_path / "set")
    assert not (tmp_path / "set").exists()
