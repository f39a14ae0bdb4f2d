"""Record of which regions of an unfinished output are written, and of what run they are."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common.errors import DataError
from common.io.atomic import atomic_path
from common.io.spec import Region


class Journal:
    """A small file beside an unfinished output: what the run was, then a line for each region that is written.

    A line is added after the values have been written, with their checksum. So after a kill the journal never lists
    more than there is; and after a crash of the machine, which may lose what the system had not yet put on the disk,
    the checksums tell.

    Attributes:
        path: the file.
        done: checksum of the values of each region, by `region_text`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, int] = {}

    def begin(self, identity: Mapping[str, str], done: Mapping[str, int] | None = None) -> None:
        """Write a new file, with the regions that are written already."""
        self.done = dict(done or {})
        lines = [json.dumps(dict(identity)), *(f"{region} {value}" for region, value in self.done.items())]
        with atomic_path(self.path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def resume(self, identity: Mapping[str, str]) -> None:
        """Read the file, which must exist; a last line that was cut off is left out.

        Raises:
            DataError: if regions are written and the run had another input, weights or options, which are named.
        """
        lines = self.path.read_bytes().split(b"\n")[:-1]
        try:
            before = dict(json.loads(lines[0]))
            self.done = dict(_parsed(line.decode()) for line in lines[1:])
        except (IndexError, ValueError, TypeError) as error:
            raise DataError(f"{self.path}: damaged; remove it to start anew") from error
        differ = [
            f"{key} {before.get(key)} (now {value})" for key, value in identity.items() if before.get(key) != value
        ]
        if differ and self.done:
            raise DataError(
                f"{self.path}: the unfinished output was begun with {', '.join(differ)}; resume with those, or remove "
                "this file to start anew"
            )

    def add(self, region: Region, values: np.ndarray) -> None:
        """Add a region that is written."""
        text, value = region_text(region), checksum(values)
        with open(self.path, "ab") as file:
            file.write(f"{text} {value}\n".encode())
        self.done[text] = value

    def remove(self) -> None:
        """Remove the file: the output is whole."""
        self.path.unlink(missing_ok=True)


def checksum(values: np.ndarray) -> int:
    """CRC-32 of values, whatever their byte order and memory layout."""
    return zlib.crc32(np.ascontiguousarray(values, values.dtype.newbyteorder("=")).view(np.uint8).data)


def region_text(region: Region) -> str:
    """A region as text without spaces, such as ``0:1,0:256,256:512``."""
    return ",".join(f"{part.start}:{part.stop}" for part in region)


def region_of(text: str) -> Region:
    """The region of a text that `region_text` made."""
    ends = [[int(n) for n in part.split(":")] for part in text.split(",")]
    return tuple(slice(start, stop) for start, stop in ends)


def _parsed(line: str) -> tuple[str, int]:
    text, value = line.split()
    region_of(text)  # a damaged line is an error here
    return text, int(value)
