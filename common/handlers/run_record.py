"""Ignite handler: what an evaluation or an inference was made with, in `run.json`."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import common
import ignite.distributed as idist
import monai
import torch
from common.io.atomic import atomic_path, remove_temporaries
from ignite.engine import Events
from monai.engines.workflow import Workflow

RUN_FILE = "run.json"


class RunRecord:
    """Write `run.json` when an evaluator has ended: bundle, weights, command, versions, and how each file was sampled.

    The entries are described in docs/DATA.md. A record of an earlier run is removed when the evaluator starts, so that
    none stands beside the results of a run that failed, and so are temporary files of killed runs. One run at a time
    writes to a folder.

    Args:
        output_dir: folder of the file; made if need be.
        bundle_root: folder of the bundle, whose `configs/metadata.json` has its version.
        weights: file of the weights; None for a network of random weights.
        protocols: names of the protocols of the metrics.
        settings: further values that the results depend on, by the names of their options.
    """

    def __init__(
        self,
        output_dir: str | Path,
        bundle_root: str | Path,
        weights: str | Path | None = None,
        protocols: str | Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(output_dir) / RUN_FILE
        self.bundle = Path(bundle_root).resolve()
        self.weights = None if weights is None else Path(weights)
        self.protocols = [protocols] if isinstance(protocols, str) else list(protocols)
        self.settings = dict(settings or {})
        self._files: dict[str, dict[str, Any]] = {}

    def attach(self, engine: Workflow) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Workflow) -> None:
        self._files = {}
        if engine.state.rank == 0:
            self.path.unlink(missing_ok=True)
            for folder in (self.path.parent, *self.path.parent.glob("*/")):
                remove_temporaries(folder, "*")
        idist.barrier()  # the other processes' temporary files begin here

    def _add_batch(self, engine: Workflow) -> None:
        batch = engine.state.batch
        for item in batch if isinstance(batch, list) else [{"path": path} for path in batch["path"]]:
            self._files.setdefault(str(item["path"]), _sampling(item))

    def _write(self, engine: Workflow) -> None:
        parts = cast("list[dict[str, dict[str, Any]]]", idist.all_gather(self._files))
        if engine.state.rank != 0:
            return
        files = {path: sampling for part in parts for path, sampling in part.items()}
        record = {
            "bundle": self.bundle.name,
            "version": self._version(),
            "weights": None if self.weights is None else {"file": str(self.weights), "sha256": _sha256(self.weights)},
            "protocols": self.protocols,
            "settings": self.settings,
            "command": _command(),
            "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "device": str(engine.state.device),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "monai": monai.__version__,
                "common": common.__version__,
            },
            "files": [{"file": path, **files[path]} for path in sorted(files)],
        }
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")

    def _version(self) -> str | None:
        metadata = self.bundle / "configs" / "metadata.json"
        return json.loads(metadata.read_text(encoding="utf-8"))["version"] if metadata.is_file() else None


def _sampling(item: Mapping[str, Any]) -> dict[str, Any]:
    if "rate" not in item:
        return {}
    rate = float(item["rate"])
    return {
        "mask": item["mask_family"],
        "rate": round(rate, 6),
        "acceleration": round(1 / rate, 4),
        "sampled": round(float(item["sampled"]), 6),
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _command() -> str:
    """Return the command of this process, with ``python -m`` for a module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = [sys.argv[0]] if spec is None else ["-m", spec.name.removesuffix(".__main__")]
    return shlex.join(["python", *program, *sys.argv[1:]])
