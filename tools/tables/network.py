"""What a run notes of its network, for the columns of tables that are no metric."""

from __future__ import annotations

import csv
from pathlib import Path

from torch import nn

from common.io.atomic import atomic_path

NETWORK_FILE = "network.csv"
"""In the folder of an evaluation's results."""


def note_network(network: nn.Module, output_dir: str | Path) -> None:
    """Write `network.csv`: how many parameters the network has, in the row of its result in tables of metrics."""
    with atomic_path(Path(output_dir) / NETWORK_FILE) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "parameters"])
        writer.writerow(["reconstruction", sum(parameter.numel() for parameter in network.parameters())])
