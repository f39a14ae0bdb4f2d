"""Which tiles of an unfinished output are done, and of what run they are."""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import DataError
from common.io.atomic import atomic_path


class Journal:
    """A small file beside an unfinished output: what the run was, then a line for each finished tile.

    A line is added when the tile's values have been written, with their checksum. So after a kill the journal never
    says more than is there; and after a crash of the machine, which may lose what the system had not yet put on the
    disk, the checksums tell.

    Attributes:
        path: of the file.
        done: checksum of each finished tile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[int, int] = {}

    def begin(self, identity: dict[str, str], done: dict[int, int] | None = None) -> None:
        """Write a new file, with the tiles that are done already."""
        self.done = dict(done or {})
        lines = [json.dumps(identity), *(f"{index} {checksum}" for index, checksum in self.done.items())]
        with atomic_path(self.path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def resume(self, identity: dict[str, str]) -> None:
        """Read the file, which must be there; a last line that was cut off counts for nothing.

        Raises:
            DataError: if tiles are done and it is of a run with other input, weights or options, which are named.
        """
        lines = self.path.read_bytes().split(b"\n")[:-1]
        try:
            before = json.loads(lines[0])
            self.done = {int(index): int(checksum) for index, checksum in (line.split() for line in lines[1:])}
        except (IndexError, ValueError) as error:
            raise DataError(f"{self.path}: damaged; remove it to start anew") from error
        differ = [
            f"{key} {before.get(key)} (now {value})" for key, value in identity.items() if before.get(key) != value
        ]
        if differ and self.done:
            raise DataError(
                f"{self.path}: the unfinished output was begun with {', '.join(differ)}; go on with those, or remove "
                "this file to start anew"
            )

    def add(self, index: int, checksum: int) -> None:
        """A tile is done."""
        with open(self.path, "ab") as file:
            file.write(b"%d %d\n" % (index, checksum))
        self.done[index] = checksum

    def remove(self) -> None:
        """The output is whole."""
        self.path.unlink(missing_ok=True)
