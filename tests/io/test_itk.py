"""MetaImage and NRRD: orientation, units, values in another file, and what is refused; against SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from common.errors import DataError
from common.io import Geometry, Intensity, Spec, open_sink, open_source
from common.io.geometry import LPS_TO_RAS, enlargement_matrix

VALUES = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5) - 20
SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]


def scan() -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(VALUES)
    image.SetSpacing((0.7, 0.6, 1.25))
    image.SetOrigin((-120.0, -95.5, 33.25))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    return image


def affine_of(image: SimpleITK.Image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_orientation_and_values(tmp_path: Path, suffix: str, packed: bool) -> None:
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(scan(), str(path), useCompression=packed)
    with open_source(path) as source:
        assert source.spec.axes == ("z", "y", "x")
        np.testing.assert_array_equal(source.read(), VALUES)
        region = source.spec.region(z=1, y=slice(1, 3))
        np.testing.assert_array_equal(source.read(region), VALUES[1:2, 1:3])
        np.testing.assert_allclose(source.spec.geometry.affine, affine_of(scan()))
        assert len(source.files) == (1 if suffix in (".mha", ".nrrd") else 2)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_enlarged_image_keeps_its_edges(tmp_path: Path, suffix: str) -> None:
    SimpleITK.WriteImage(scan(), str(tmp_path / f"scan{suffix}"))
    with open_source(tmp_path / f"scan{suffix}") as source:
        spec = source.spec.enlarged({"x": 2, "y": 2, "z": 2})
    values = VALUES.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    image = SimpleITK.ReadImage(str(open_sink(tmp_path / f"out{suffix}", spec).write_all(values)))
    np.testing.assert_allclose(affine_of(image), affine_of(scan()) @ enlargement_matrix([2, 2, 2]))
    np.testing.assert_allclose(image.GetOrigin(), (-120.175, -95.35, 33.5625))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), values)


def nrrd(path: Path, *lines: str, values: np.ndarray = VALUES) -> Path:
    sizes = " ".join(map(str, values.shape[::-1]))
    head = ["NRRD0004", "type: short", f"dimension: {values.ndim}", f"sizes: {sizes}", *lines]
    path.write_bytes("\n".join([*head, "endian: little", "encoding: raw\n\n"]).encode() + values.tobytes())
    return path


def test_other_spaces_and_units_of_nrrd(tmp_path: Path) -> None:
    directions = "space directions: (2000,0,0) (0,1000,0) (0,0,500)"
    lines = ["space: right-anterior-superior", directions, "space origin: (7000,0,0)", 'space units: "um" "um" "um"']
    with open_source(nrrd(tmp_path / "a.nrrd", *lines)) as source:
        expected = np.array([[2.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]])
        np.testing.assert_allclose(source.spec.geometry.affine, expected)
    with open_source(nrrd(tmp_path / "b.nrrd", "space: scanner-xyz", directions)) as source:
        assert source.spec.geometry.affine is None
        assert (source.spec.geometry.unit, source.spec.geometry.spacing) == (None, (500, 1000, 2000))


@pytest.mark.parametrize(
    ("lines", "spacing", "unit"),
    [
        ([], (None, None, None), None),
        (["spacings: 0.5 0.6 2"], (2, 0.6, 0.5), None),
        (["spacings: 0.5 0.6 NaN", 'units: "mm" "mm" ""'], (None, 0.6, 0.5), "millimeter"),
    ],
)
def test_what_nrrd_does_not_say_is_unknown(
    tmp_path: Path, lines: list[str], spacing: tuple[float | None, ...], unit: str | None
) -> None:
    with open_source(nrrd(tmp_path / "a.nrrd", *lines)) as source:
        assert source.spec.geometry.affine is None
        assert (source.spec.geometry.spacing, source.spec.geometry.unit) == (spacing, unit)
        np.testing.assert_array_equal(source.read(), VALUES)


def meta(path: Path, *lines: str, data: str = "LOCAL", values: np.ndarray = VALUES) -> Path:
    sizes = " ".join(map(str, values.shape[::-1]))
    head = ["ObjectType = Image", f"NDims = {values.ndim}", "BinaryData = True", f"DimSize = {sizes}", *lines]
    text = "\n".join([*head, "ElementType = MET_SHORT", f"ElementDataFile = {data}\n"])
    path.write_bytes(text.encode() + (values.tobytes() if data == "LOCAL" else b""))
    return path


def test_what_metaimage_does_not_say_is_unknown(tmp_path: Path) -> None:
    with open_source(meta(tmp_path / "a.mha")) as source:
        assert source.spec.geometry.affine is None
        assert source.spec.geometry.spacing == (None, None, None)
        np.testing.assert_array_equal(source.read(), VALUES)
    with open_source(meta(tmp_path / "b.mha", "ElementSpacing = 0.5 0.6 2", "Offset = 1 2 3")) as source:
        assert source.spec.geometry.affine is None
        assert source.spec.geometry.spacing_mm == (2, 0.6, 0.5)
        assert source.spec.geometry.origin == (3, 2, 1)


def test_values_in_another_file_of_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(VALUES.tobytes())
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("../secret.raw", str(secret)):
        with pytest.raises(DataError, match="a file of the same folder"):
            open_source(meta(folder / "a.mhd", data=name))
    for name in ("LIST", "slice%03d.raw 1 3 1"):
        with pytest.raises(DataError, match="its values in one file"):
            open_source(meta(folder / "a.mhd", data=name))
    with pytest.raises(DataError, match="which is not there"):
        open_source(meta(folder / "a.mhd", data="a.raw"))
    (folder / "a.raw").write_bytes(VALUES.tobytes()[:-8])
    with pytest.raises(DataError, match="truncated, 112 bytes of 120"):
        open_source(meta(folder / "a.mhd", data="a.raw"))


def test_axes_are_an_option(tmp_path: Path) -> None:
    four = np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5)
    path = meta(tmp_path / "a.mha", values=four)
    with pytest.raises(DataError, match=r"--source_options \"\{'axes': 'xyzt'\}\""):
        open_source(path)
    with open_source(path, axes="xyzt") as source:
        assert source.spec.axes == ("t", "z", "y", "x")
        np.testing.assert_array_equal(source.read(), four)
    with open_source(meta(tmp_path / "b.mha"), axes="xyt") as source:
        assert source.spec.axes == ("t", "y", "x")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_compressed_values_are_noticed(tmp_path: Path, suffix: str, damage: str) -> None:
    values = np.random.default_rng(0).integers(0, 1000, (3, 13, 17), np.int16)
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path), useCompression=True)
    content = path.read_bytes()
    path.write_bytes(content[:-200] if damage == "cut" else content[:-300] + bytes(100) + content[-200:])
    with open_source(path) as source, pytest.raises(DataError, match="cannot be read as a MetaImage or NRRD"):
        source.read()


def test_colours_are_refused(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    for suffix in (".mha", ".nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
        with pytest.raises(DataError, match="got 3 components"):
            open_source(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(b"DimSize = 5 4 3", b"DimSize = 50000 40000 30000"), (b"NDims = 3", b"NDims = 99999999999999999999")],
)
def test_a_size_beyond_belief_is_refused(tmp_path: Path, right: bytes, wrong: bytes) -> None:
    path = meta(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(right, wrong))
    with pytest.raises(DataError) as error:
        open_source(path)
    assert "\n" not in str(error.value)


def test_slope_is_applied_and_slices_keep_their_orientation(tmp_path: Path) -> None:
    affine = affine_of(scan())
    rule = Intensity(slope=2.0, intercept=-5.0)
    spec = Spec(("z", "y", "x"), VALUES.shape, VALUES.dtype, Geometry.of_affine("zyx", affine), intensity=rule)
    sink = open_sink(tmp_path / "a.nrrd", spec)
    sink.write_all(rule.meant(VALUES).astype(sink.spec.dtype))
    np.testing.assert_allclose(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))), 2.0 * VALUES - 5
    )
    flat = Spec(("y", "x"), VALUES.shape[1:], VALUES.dtype, Geometry.of_affine("yx", affine))
    open_sink(tmp_path / "b.mha", flat).write_all(VALUES[0])
    image = SimpleITK.ReadImage(str(tmp_path / "b.mha"))
    assert image.GetSize() == (5, 4, 1)
    np.testing.assert_allclose(affine_of(image), affine)


def test_two_files_are_not_written(tmp_path: Path) -> None:
    spec = Spec(("z", "y", "x"), VALUES.shape, VALUES.dtype, Geometry.unknown("zyx"))
    with pytest.raises(DataError, match=r"a\.mhd: .* --output_suffix \.mha"):
        open_sink(tmp_path / "a.mhd", spec)
