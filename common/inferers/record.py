"""Record of the input, weights and options that made an output."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from common.io import files_digest
from common.io.atomic import atomic_path

logger = logging.getLogger("recon")


class OutputRecord:
    """``<output>.json``: input, weights and options of the run that made an output, and the state of the output then.

    Args:
        output: the file or folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(f"{output.name}.json")

    def holds(self, identity: dict[str, str]) -> bool:
        """Return True if the output is there, as it was made, and by a run like this one; the log says which.

        Args:
            identity: input, weights and options of this run.
        """
        if not self.output.exists() or not self.path.exists():
            return False
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        now = {**identity, "output": files_digest([self.output])}
        differ = [key for key, value in now.items() if before.get(key) != value]
        if differ:
            logger.info(f"{self.output}: is there, but of a run that differs in {', '.join(differ)}")
        else:
            logger.info(f"{self.output}: kept, it was made of the same input, weights and options")
        return not differ

    def write(self, identity: dict[str, str]) -> None:
        """Write the record of the output that is there now."""
        record = {**identity, "output": files_digest([self.output])}
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
