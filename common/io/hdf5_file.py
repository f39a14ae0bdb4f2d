"""HDF5 files: opened without following links out of them, and their data sets as sources."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.errors import DataError, file_errors
from common.io.bounded import check_piece, n_bytes_of
from common.io.handed import hand_over, take
from common.io.layout import Layout
from common.io.source import Opened, Source
from common.io.spec import Region, Spec

KIND = "an HDF5 file"
SUFFIXES = (".h5", ".hdf5")

_DEEPEST, _MOST_ENTRIES = 8, 10_000  # groups inside of groups, and entries of a file that are looked at
_LARGEST_ATTRIBUTE = 2**16  # bytes
_COMPLEX_FIELDS = (("real", "imag"), ("r", "i"), ("re", "im"))  # MATLAB 7.3, h5py, others


@dataclass(frozen=True, eq=False)
class Hdf5Native:
    """Contents of an HDF5 file of k-space that pass to the file of its reconstruction.

    Attributes:
        dataset: name of the image in the output.
        path: the file whose attributes are handed over, when the output is written; ``None``: none.
        header: text of the ISMRMRD header, if there is one.
    """

    dataset: str
    path: Path | None = None
    header: bytes | None = None


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        DataError: if it is none.
    """
    with file_errors(path, KIND):
        return h5py.File(path, "r")


def find(group: h5py.Group, name: str, path: Path, depth: int = 0) -> h5py.Group | h5py.Dataset | None:
    """Return the group or data set of a name that may reach into groups, ``None`` if there is none.

    Raises:
        DataError: for links and storage outside of the file, which are not followed: a file from elsewhere must not
            choose which other files are read.
    """
    item: Any = group.file if name.startswith("/") else group
    for part in name.strip("/").split("/"):
        if not isinstance(item, h5py.Group):
            return None
        link = _link_type(item, part)
        if link == h5py.h5l.TYPE_EXTERNAL:
            raise DataError(
                f"{path}: {part!r} is a link to another file ({item.get(part, getlink=True).filename}), which is not "
                "followed; copy the data set into the file (h5copy, h5repack)"
            )
        if link == h5py.h5l.TYPE_SOFT:
            if depth > _DEEPEST:
                raise DataError(f"{path}: {part!r} is a link that leads back to itself; repair the file")
            item = find(item, item.get(part, getlink=True).path, path, depth + 1)
        else:
            item = item.get(part) if link == h5py.h5l.TYPE_HARD else None
    if isinstance(item, h5py.Dataset):
        check_inside(item, name, path)
    return item if isinstance(item, (h5py.Group, h5py.Dataset)) else None


def check_inside(dataset: h5py.Dataset, name: str, path: Path) -> None:
    """Check that the values of a data set lie in its own file, else raise DataError."""
    if dataset.external or dataset.is_virtual:
        raise DataError(
            f"{path}: the values of {name!r} lie in other files, which are not opened; copy them into the file "
            "(h5repack)"
        )


def _link_type(group: h5py.Group, name: str) -> int | None:
    """Type of a link, one of ``h5py.h5l.TYPE_...``; ``None`` if there is none of the name."""
    place, links = name.encode(), group.id.links
    return int(links.get_info(place).type) if name not in ("", ".") and links.exists(place) else None


def datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Data sets of a file by name, groups included, in the order of names; links out of the file are passed over."""
    found: dict[str, h5py.Dataset] = {}
    groups: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    n_entries = 0
    while groups:
        prefix, group, depth = groups.pop()
        for key in group:
            n_entries += 1
            if n_entries > _MOST_ENTRIES or _link_type(group, key) != h5py.h5l.TYPE_HARD:
                continue
            item = group.get(key)
            if isinstance(item, h5py.Dataset):
                found[f"{prefix}{key}"] = item
            elif isinstance(item, h5py.Group) and depth < _DEEPEST:
                groups.append((f"{prefix}{key}/", item, depth + 1))
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Contents:
    """Names at the top of a file, without its values.

    Attributes:
        shapes: shape of each data set.
        groups: names of the groups.
    """

    shapes: Mapping[str, tuple[int, ...]]
    groups: frozenset[str]


def contents_of(path: Path) -> Contents:
    """Return the names at the top of a file, for the choice of its format; read once as long as the file is the same.

    Raises:
        DataError: if it is no HDF5 file.
    """
    with file_errors(path, KIND):
        state = path.stat()
        return _contents(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _contents(path: Path, modified_ns: int, size: int) -> Contents:
    shapes: dict[str, tuple[int, ...]] = {}
    groups = set()
    with described(path) as file:
        for key in list(file)[:_MOST_ENTRIES]:
            link = _link_type(file, key)
            if link == h5py.h5l.TYPE_HARD:
                item = h5py.h5o.open(file.id, key.encode())  # `file[key]` reads more, and takes five times as long
            else:
                found = find(file, key, path) if link == h5py.h5l.TYPE_SOFT else None
                item = None if found is None else found.id
            if isinstance(item, h5py.h5d.DatasetID):
                shapes[key] = item.shape or ()
            elif isinstance(item, h5py.h5g.GroupID):
                groups.add(key)
    hand_over(path, file)
    return Contents(shapes, frozenset(groups))


_FLOATS = tuple(
    getattr(h5py.h5t, f"IEEE_F{bits}{order}") for bits in (16, 32, 64) for order in ("LE", "BE")
)  # fmt: skip


def check_type(kind: Any, name: str) -> None:
    """Check that a data type, ``dataset.id.get_type()``, has numbers in common formats in all its parts.

    HDF5 can describe others, such as floating-point numbers of another exponent, and its library (2.0) writes beyond
    its memory when it converts damaged ones.

    Raises:
        DataError: for other types.
    """
    kinds = [kind]
    while kinds:
        one = kinds.pop()
        code = one.get_class()
        if code == h5py.h5t.COMPOUND:
            kinds += [one.get_member_type(n) for n in range(one.get_nmembers())]
        elif code in (h5py.h5t.VLEN, h5py.h5t.ARRAY, h5py.h5t.ENUM):
            kinds.append(one.get_super())
        elif (code == h5py.h5t.FLOAT and not any(one.equal(known) for known in _FLOATS)) or (
            code == h5py.h5t.INTEGER and (one.get_precision(), one.get_offset()) != (8 * one.get_size(), 0)
        ):
            raise DataError(f"{name}: its numbers are in an uncommon format; the file is damaged, replace or remove it")


def dtype_of(dataset: h5py.Dataset) -> np.dtype:
    """Type of the values as numbers: a compound of a real and an imaginary part is complex."""
    dtype = dataset.dtype
    if dtype.names in _COMPLEX_FIELDS:
        one, two = (dtype[name] for name in dtype.names)
        if one == two and one.kind == "f" and one.itemsize in (4, 8):
            return np.dtype(f"c{2 * one.itemsize}")
    return dtype


def check_heaps(path: Path, addresses: Iterable[int], base: int = 0) -> None:
    """Check the collections at some addresses (0 is none), in which values of variable length lie.

    The HDF5 library (2.0) never returns from one with a free space of 0 bytes. ``base`` is the first byte of the HDF5
    part of the file.

    Raises:
        ValueError: for a damaged collection.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        for address in set(addresses) - {0}:
            place = base + address
            file.seek(min(place, size))
            head = file.read(16)
            end = place + int.from_bytes(head[8:16], "little")
            is_sound, place = head[:4] == b"GCOL" and end <= size, place + 16
            while is_sound and place + 16 <= end:
                file.seek(place)
                index, length = struct.unpack("<H6xQ", file.read(16))
                # index 0 is the free space at the end, whose length includes its header
                is_sound = length >= 16 if index == 0 else length <= end - place
                place += length if index == 0 else 16 + -(-length // 8) * 8
            if not is_sound:
                raise ValueError(f"its values of variable length at byte {base + address} are damaged")


def text_of(dataset: h5py.Dataset) -> bytes:
    """Text that is kept as one string, or as an array of one.

    Raises:
        ValueError: for anything else, a damaged one, or more than 16 MiB.
    """
    if (dataset.size or 0) != 1 or dataset.id.get_storage_size() > 2**24 or dataset.dtype.kind not in "SO":
        raise ValueError(f"expected one text, got {dataset}")
    if dataset.dtype.kind == "O" and not dataset.id.get_create_plist().get_nfilters():
        path, base = Path(dataset.file.filename), dataset.file.userblock_size
        if dataset.chunks is not None:
            reference = dataset.id.read_direct_chunk((0,) * dataset.ndim)[1]
        else:
            with open(path, "rb") as file:
                file.seek(dataset.id.get_offset() or 0)  # base is included
                reference = file.read(16)
        check_heaps(path, [int.from_bytes(reference[4:12], "little")], base)
    values = np.ravel(dataset[()])[0]
    return values.encode() if isinstance(values, str) else bytes(values)


def attributes_of(item: h5py.File | h5py.Dataset, *, texts: bool = False) -> dict[str, Any]:
    """Small attributes of a file or a data set; damaged ones are left out.

    With ``texts`` values of variable length are read too, for which the HDF5 library may search a damaged file for
    ever; without it their names have the value ``None``.
    """
    found: dict[str, Any] = {}
    for n, name in enumerate(item.attrs):
        if n >= _MOST_ENTRIES:
            break
        try:
            attribute = item.attrs.get_id(name)
            if not texts and attribute.dtype.hasobject:
                found[name] = None
            elif n_bytes_of(attribute.shape or (), attribute.dtype, name) <= _LARGEST_ATTRIBUTE:
                found[name] = item.attrs[name]
        except (OSError, TypeError, ValueError, KeyError, RuntimeError):
            continue
    return found


def positive_number(value: Any) -> float | None:
    """A finite number above 0 that an attribute holds, else ``None``."""
    if not isinstance(value, (int, float, np.number)) or isinstance(value, np.complexfloating):
        return None
    return float(value) if 0 < value < np.inf else None


def check_dataset(dataset: h5py.Dataset, name: str) -> None:
    """Check the type of a data set, and that it is not larger than its stored bytes can be, else raise DataError."""
    check_type(dataset.id.get_type(), name)
    stored = dataset.id.get_storage_size()
    for shape in (dataset.shape, dataset.chunks or ()):
        check_piece(n_bytes_of(shape, dataset.dtype, name), stored, name)


def hdf5_source(path: Path, spec: Spec, layout: Layout, dataset: h5py.Dataset) -> Source:
    """Return the data set ``spec.dataset`` of an HDF5 file, chunked and compressed or not, as a source.

    Raises:
        DataError: if the data set cannot be as large as it says.
    """
    name = f"{path}:{spec.dataset}"
    check_dataset(dataset, name)
    open_file = partial(_open_dataset, path, spec.dataset, layout.shape)
    return Source(path, spec, open_file, layout=layout, name=name, kind_of_file=KIND)


def _open_dataset(path: Path, name: str, shape: tuple[int, ...]) -> Opened:
    file = h5py.File(path, "r")
    dataset = find(file, name, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != shape:
        file.close()
        raise DataError(f"{path}:{name}: changed since it was opened; open it again")
    return Opened(partial(_read_dataset, dataset), file.close)


def _read_dataset(dataset: h5py.Dataset, region: Region) -> np.ndarray:
    values: np.ndarray = dataset[region]
    if values.dtype.names:
        real, imaginary = (values[name] for name in values.dtype.names)
        values = real.astype(f"c{2 * real.dtype.itemsize}")
        values.imag = imaginary
    return values


def keep_open(source: Source, dataset: h5py.Dataset, file: h5py.File) -> None:
    """Keep the open file of a data set: then the first read opens nothing."""
    source.keep(Opened(partial(_read_dataset, dataset), file.close))


@contextmanager
def described(path: Path, kind: str = KIND) -> Iterator[h5py.File]:
    """An open file whose contents are described inside of the block, where errors name the file and close it.

    It is the one that the choice of the format left, if it did.
    """
    file = take(path) or open_hdf5(path)
    try:
        with file_errors(path, kind):
            yield file
    except BaseException:
        file.close()
        raise
