"""Unpacking: what is harmless comes out as it went in, and nothing else comes out at all."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tools.zoo import archive
from tools.zoo.archive import scratch_folder, sha256_of, unpack

GOOD = {
    "bundle/LICENSE": b"licence",
    "bundle/configs/metadata.json": b"{}",
    "bundle/models/model.pt": bytes(range(256)),
}


def zipped(entries: Mapping[Any, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    """An entry with its name as given, whatever `zipfile` thinks of it."""
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.external_attr = mode << 16
    return info


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, hidden or not; None for folders."""
    found = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Try to unpack; the message, when nothing was written anywhere."""
    place = tmp_path / "place"
    place.mkdir()

    def attempt(content: bytes, sha256: str = "") -> str:
        (place / "bundle.zip").write_bytes(content)
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=r"bundle\.zip") as error:
            unpack(place / "bundle.zip", place / "new" / "folder", sha256)
        assert tree(tmp_path) == before
        assert "\n" not in str(error.value)
        return str(error.value)

    return attempt


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_good_archive_comes_out_as_it_went_in(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "bundle_v1.zip"
    path.write_bytes(zipped({"bundle/": b"", "bundle/empty/": b"", **GOOD}, compression))
    root = unpack(path, tmp_path / "new" / "folder", sha256_of(path).upper())
    assert root == tmp_path / "new" / "folder" / "bundle"
    found = tree(root)
    assert {f"bundle/{name}": content for name, content in found.items() if content is not None} == GOOD
    assert (root / "empty").is_dir()
    assert [child.name for child in root.parent.iterdir()] == ["bundle"]


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zipped(GOOD))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="is there already"):
        unpack(path, tmp_path)
    assert tree(tmp_path) == before
    unpack(path, tmp_path / "bundle")  # beside what is there
    assert (tmp_path / "bundle" / "bundle" / "LICENSE").read_bytes() == b"licence"


# -- checksums ---------------------------------------------------------------------------------------------------


def test_the_checksum_given_counts_before_the_one_beside(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zipped(GOOD))
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert sha256_of(path) == right
    beside = tmp_path / "bundle.zip.sha256"
    beside.write_text(f"{'0' * 64}  bundle.zip\n")
    with pytest.raises(ValueError, match=f"expected the SHA-256 in bundle.zip.sha256, 0+, got {right}"):
        unpack(path, tmp_path / "a")
    beside.write_text("not a checksum\n")
    with pytest.raises(ValueError, match="expected `<SHA-256>  <file name>`"):
        unpack(path, tmp_path / "a")
    assert unpack(path, tmp_path / "a", right).is_dir()
    beside.write_text(f"{right}  bundle.zip\n")
    assert unpack(path, tmp_path / "b").is_dir()
    with pytest.raises(ValueError, match="expected the SHA-256 given, abc"):
        unpack(path, tmp_path / "c", "abc")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("position", [0, 100, -30])
def test_a_changed_byte_is_refused_by_the_checksum(refused: Callable[..., str], position: int) -> None:
    content = bytearray(zipped(GOOD))
    right = hashlib.sha256(content).hexdigest()
    content[position] ^= 1
    assert "expected the SHA-256 given" in refused(bytes(content), right)


# -- entries -----------------------------------------------------------------------------------------------------

ESCAPES = [
    "../evil",
    "bundle/../../evil",
    "bundle/..",
    "/etc/evil",
    "//host/evil",
    "C:/evil",
    "bundle/C:evil",
    "bundle\\..\\..\\evil",
    "..\\evil",
    "bundle//evil",
    "./bundle/evil",
    "bundle/./evil",
    "bundle/evil\n",
    "bundle/\x7fevil",
    "bundle/" + 300 * "e",
    "",
    "/",
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("first", [True, False])
def test_names_that_lead_elsewhere_are_refused(refused: Callable[..., str], name: str, first: bool) -> None:
    bad = {entry(name): b"evil"}
    message = refused(zipped({**bad, **GOOD} if first else {**GOOD, **bad}))
    assert repr(name) in message


def test_a_name_cut_by_a_nul_is_refused(refused: Callable[..., str]) -> None:
    content = zipped({**GOOD, "bundle/evil#.txt": b""}).replace(b"evil#.txt", b"evil\x00.txt")
    assert r"bundle/evil\x00.txt" in refused(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "", "bundle", "x", "C:", "\\", "..\\..", "~", "a b", "\u202e", "é", "%2e%2e"]),
        min_size=1,
        max_size=5,
    ),
    folder=st.booleans(),
)
def test_whatever_the_name_nothing_lands_outside_the_bundle(tmp_path: Path, parts: list[str], folder: bool) -> None:
    name = "/".join(parts) + "/" * folder
    with scratch_folder(tmp_path) as place:
        (place / "bundle.zip").write_bytes(zipped({**GOOD, entry(name): b"" if folder else b"evil"}))
        before = tree(place)
        try:
            root = unpack(place / "bundle.zip", place / "new")
        except ValueError:
            assert tree(place) == before
        else:
            assert root == place / "new" / "bundle"
            inside = {f"new/{path}" for path in ["bundle", *(f"bundle/{path}" for path in tree(root))]}
            assert set(tree(place)) == {*before, "new", *inside}
            assert (place / "new" / name).exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_anything_but_plain_files_is_refused(refused: Callable[..., str], kind: int) -> None:
    message = refused(zipped({**GOOD, entry("bundle/link", kind | 0o777): b"/etc/passwd"}))
    assert "'bundle/link' is a link or a device" in message


def test_a_folder_entry_that_is_a_link_is_refused(refused: Callable[..., str]) -> None:
    assert "is a link" in refused(zipped({entry("bundle/", stat.S_IFLNK | 0o777): b"", **GOOD}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name", ["bundle/LICENSE", "bundle/license", "bundle/LICENSE/inner", "bundle/LICENSE/", "bundle/configs"]
)
def test_entries_in_each_others_place_are_refused(refused: Callable[..., str], name: str) -> None:
    content = b"" if name.endswith("/") else b"evil"
    assert f"{name!r} is there twice" in refused(zipped({**GOOD, entry(name): content}))


def test_letters_composed_and_decomposed_are_the_same_name(refused: Callable[..., str]) -> None:
    assert "twice" in refused(zipped({"bundle/\u00e9": b"1", "bundle/e\u0301": b"2"}))


@pytest.mark.parametrize("names", [["one/a", "two/a"], ["bundle/a", "b"], ["a"], ["bundle/a", "Bundle/b"]])
def test_more_or_less_than_one_top_folder_is_refused(refused: Callable[..., str], names: list[str]) -> None:
    assert "expected one top folder" in refused(zipped(dict.fromkeys(names, b"")))


def patched(content: bytes, name: bytes, offsets: tuple[int, int], form: str, value: int) -> bytes:
    """Change a field of an entry in its local header and in the central directory."""
    changed = bytearray(content)
    for signature, offset, length in ((b"PK\x03\x04", offsets[0], 30), (b"PK\x01\x02", offsets[1], 46)):
        start = -1
        while changed[start + length : start + length + len(name)] != name:
            start = changed.index(signature, start + 1)
        struct.pack_into(form, changed, start + offset, value)
    return bytes(changed)


def test_encrypted_entries_are_refused(refused: Callable[..., str]) -> None:
    content = patched(zipped(GOOD), b"bundle/models/model.pt", (6, 8), "<H", 1)
    assert "'bundle/models/model.pt' is encrypted" in refused(content)


def test_other_compressions_are_refused(refused: Callable[..., str]) -> None:
    assert "neither stored nor deflated" in refused(zipped(GOOD, zipfile.ZIP_BZIP2))


# -- sizes -------------------------------------------------------------------------------------------------------


def test_what_grows_out_of_proportion_is_refused(refused: Callable[..., str]) -> None:
    bomb = zipped({"bundle/zeros": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)
    assert "that unpack to 20000000; at most" in refused(bomb)


def test_a_size_declared_too_small_does_not_let_more_out(refused: Callable[..., str]) -> None:
    bomb = zipped({"bundle/zeros": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)
    assert "damaged" in refused(patched(bomb, b"bundle/zeros", (22, 24), "<I", 1000))


def test_a_size_declared_too_large_is_refused(refused: Callable[..., str]) -> None:
    assert "damaged" in refused(patched(zipped(GOOD), b"bundle/LICENSE", (22, 24), "<I", 9))


def test_sizes_and_counts_have_a_limit(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 200)
    assert "that unpack to 265; at most 200" in refused(zipped(GOOD))
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    assert "expected 1 to 2 entries, got 3" in refused(zipped(GOOD))


@pytest.mark.parametrize("content", [b"", b"no zip", zipped(GOOD)[:-40], zipped({})])
def test_what_is_no_whole_zip_is_refused(refused: Callable[..., str], content: bytes) -> None:
    refused(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(zipped(GOOD)) - 1), value=st.integers(0, 255))
@example(position=452, value=1)  # the length of an entry's extra field, which swallows the entries after it
def test_a_damaged_byte_gives_the_right_files_or_nothing(tmp_path: Path, position: int, value: int) -> None:
    content = bytearray(zipped(GOOD))
    content[position] = value
    with scratch_folder(tmp_path) as place:
        (place / "bundle.zip").write_bytes(content)
        before = tree(place)
        try:
            root = unpack(place / "bundle.zip", place / "new")
        except ValueError:
            assert tree(place) == before
        else:  # in a field that does not matter, or in a name
            assert sorted(filter(None, tree(root).values())) == sorted(GOOD.values())


# -- the temporary folder ----------------------------------------------------------------------------------------


def test_a_scratch_folder_leaves_what_was_moved_out_of_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "a" / "b") as scratch:
        (scratch / "file").write_text("kept")
        (scratch / "rest").write_text("")
        (scratch / "file").rename(tmp_path / "a" / "b" / "file")
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/file": b"kept"}
    with pytest.raises(RuntimeError), scratch_folder(tmp_path / "c" / "d"):
        raise RuntimeError
    assert not (tmp_path / "c").exists()
