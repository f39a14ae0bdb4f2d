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
from hypothesis import HealthCheck, given, settings
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


def test_the_checksum_given_counts_before_the_one_beside(tmp_path: Path) -> None:
    path, beside = tmp_path / "bundle.zip", tmp_path / "bundle.zip.sha256"
    path.write_bytes(zipped(GOOD))
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    for wrong in (f"{'0' * 64}  bundle.zip\n", "not a checksum\n", ""):
        beside.write_text(wrong)
        with pytest.raises(ValueError, match=f"bundle.zip: expected the SHA-256 .*, got {right}"):
            unpack(path, tmp_path / "a")
    assert unpack(path, tmp_path / "a", right).is_dir()
    beside.write_text(f"{right}  bundle.zip\n")
    assert unpack(path, tmp_path / "b").is_dir()
    with pytest.raises(ValueError, match="expected the SHA-256 abc"):
        unpack(path, tmp_path / "c", "abc")
    assert not (tmp_path / "c").exists()


ESCAPES = [
    *("../evil", "bundle/../../evil", "bundle/..", "/etc/evil", "//host/evil", "C:/evil", "bundle/C:evil"),
    *("bundle\\..\\..\\evil", "bundle//evil", "./bundle/evil", "bundle/./evil", "bundle/evil\n", "", "/"),
]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_that_lead_elsewhere_are_refused(refused: Callable[..., str], name: str) -> None:
    assert repr(name) in refused(zipped({**GOOD, entry(name): b"evil"}))
    assert repr(name) in refused(zipped({entry(name): b"evil", **GOOD}))


def test_a_name_cut_by_a_nul_is_refused(refused: Callable[..., str]) -> None:
    content = zipped({**GOOD, "bundle/evil#.txt": b""}).replace(b"evil#.txt", b"evil\x00.txt")
    assert r"bundle/evil\x00.txt" in refused(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
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


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_anything_but_plain_files_in_one_folder_is_refused(refused: Callable[..., str]) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR):
        message = refused(zipped({**GOOD, entry("bundle/link", kind | 0o777): b"/etc/passwd"}))
        assert "'bundle/link' is a link or a device" in message
    assert "is a link" in refused(zipped({entry("bundle/", stat.S_IFLNK | 0o777): b"", **GOOD}))
    for name in (
        "bundle/LICENSE",
        "bundle/license",
        "bundle/LICENSE/",
        "bundle/configs",
        "bundle/LICENSE/inner",
        "bundle",
    ):
        assert "is there twice" in refused(zipped({**GOOD, entry(name): b""}))
    for names in (["one/a", "two/a"], ["bundle/a", "b"], ["a"], ["bundle/a", "Bundle/b"]):
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


def test_encrypted_and_damaged_entries_are_refused(refused: Callable[..., str]) -> None:
    assert "encrypted" in refused(patched(zipped(GOOD), b"bundle/models/model.pt", (6, 8), "<H", 1))
    assert "damaged" in refused(zipped(GOOD).replace(b"licence", b"licenCe"))
    for content in (b"", b"no zip", zipped(GOOD)[:-40], zipped({})):
        refused(content)


def test_sizes_and_counts_have_a_limit(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped({"bundle/zeros": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)
    assert "got 1 of 20000000 bytes" in refused(bomb)
    assert "damaged" in refused(patched(bomb, b"bundle/zeros", (22, 24), "<I", 1000))  # more comes out than declared
    monkeypatch.setattr(archive, "MAX_BYTES", 200)
    assert "of at most 200 bytes" in refused(zipped(GOOD))
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    assert "expected 1 to 2 entries" in refused(zipped(GOOD))


def test_a_scratch_folder_leaves_what_was_moved_out_of_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "a" / "b") as scratch:
        (scratch / "file").write_text("kept")
        (scratch / "rest").write_text("")
        (scratch / "file").rename(tmp_path / "a" / "b" / "file")
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/file": b"kept"}
    with pytest.raises(RuntimeError), scratch_folder(tmp_path / "c" / "d"):
        raise RuntimeError
    assert not (tmp_path / "c").exists()
