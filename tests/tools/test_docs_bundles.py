"""Documents of the real bundles: every printed number is a row of `results.csv`, and every row names its weights."""

import re
import shutil

import pandas as pd
import pytest

from tools.docs.command import changes
from tools.docs.document import NUMBER, TABLE, rendered
from tools.docs.pictures import PICTURE, read_picture
from tools.docs.results import FILE, NO_WEIGHTS, NOT_SHIPPED, read_results, stale_rows, write_results
from tools.zoo.layout import BUNDLES, ROOT, bundle_names

READMES = [BUNDLES / name / "docs" / "README.md" for name in bundle_names()]


def own_results(bundle):
    return lambda name: read_results(BUNDLES / (name or bundle))


def test_every_printed_number_is_as_measured():
    assert changes([BUNDLES / name for name in bundle_names()]) == {}


@pytest.mark.parametrize("name", bundle_names())
def test_every_row_names_shipped_weights_or_says_not_shipped(name):
    frame = read_results(BUNDLES / name)
    assert stale_rows(frame, BUNDLES / name) == []
    assert (frame.loc[frame["weights"].isin([NO_WEIGHTS, NOT_SHIPPED]), "sha256"] == "").all()
    assert frame["date"].str.fullmatch(r"20\d\d-\d\d-\d\d").all()


@pytest.mark.parametrize("readme", [*READMES, ROOT / "README.md"], ids=lambda path: path.parts[-3])
def test_a_changed_digit_in_a_document_is_found(readme):
    text = readme.read_text(encoding="utf-8")
    places = [found.start("number") for found in NUMBER.finditer(text)]
    for table in TABLE.finditer(text):
        # the cells after the last column of text; digits of titles are found in the same way
        places += [table.start("lines") + digit.start() for digit in re.finditer(r"(?<=\d\.)\d", table["lines"])]
    assert places
    results = own_results(readme.parts[-3])
    for place in places[:: len(places) // 5 + 1]:
        digit = "1" if text[place] != "1" else "2"
        changed = text[:place] + digit + text[place + 1 :]
        assert rendered(changed, readme, results) == text


@pytest.mark.parametrize("name", bundle_names())
def test_a_changed_digit_in_the_results_is_found(name, tmp_path):
    bundle = tmp_path / name
    shutil.copytree(BUNDLES / name / "configs", bundle / "configs")
    (bundle / "docs").mkdir()
    for file in (FILE, "docs/README.md"):
        shutil.copy(BUNDLES / name / file, bundle / file)
    (tmp_path / "README.md").write_text("")
    assert changes([bundle], tmp_path) == {}
    frame = read_results(bundle)
    psnr = frame[(frame["metric"] == "psnr") & (frame["protocol"] != "refinegan_shifted")]
    for index in psnr.index[:: len(psnr) // 4 + 1]:
        changed = frame.copy()
        changed.loc[index, "mean"] += 0.01
        write_results(bundle, changed)
        assert bundle / "docs" / "README.md" in changes([bundle], tmp_path), psnr.loc[index].tolist()
    write_results(bundle, frame)
    assert (bundle / FILE).read_bytes() == (BUNDLES / name / FILE).read_bytes()
    pd.testing.assert_frame_equal(read_results(bundle), frame)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parts[-3])
def test_pictures_are_described(readme):
    text = readme.read_text(encoding="utf-8")
    described = {found["file"]: read_picture(found["spec"], str(readme)) for found in PICTURE.finditer(text)}
    assert text.count("<!-- picture:") == len(described)
    assert set(described) == {path.name for path in readme.parent.glob("*.png")}
    for spec in described.values():
        histories = [name for names in spec.get("curves", {}).values() for name in names]
        assert all((readme.parent / name).is_file() for name in histories)


def test_the_picture_of_a_measured_slice_is_small_and_says_its_licence():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = PICTURE.finditer(text)
    assert (ROOT / found["file"]).stat().st_size < 300_000
    assert "CC BY-SA 3.0" in text[found.end() : found.end() + 400]
    assert read_picture(found["spec"], "README.md")["bundle"] in bundle_names()
