"""Size and speed of a network, measured at the end of an evaluation of its bundle."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from time import process_time
from typing import Any

import torch
from monai.engines import SupervisedEvaluator
from torch.utils.benchmark import Timer
from torch.utils.benchmark.utils.timer import timer as default_timer

from common.metrics import case_table, write_cases

FILE = "speed.csv"
SECONDS = 3.0


def note_speed(evaluator: SupervisedEvaluator, output_dir: str | Path) -> None:
    """Write `speed.csv`: parameters of the network, and median milliseconds of one inference on one CPU core.

    The input is the first of the evaluated data. Where the inferer draws samples, the time is that of the image without
    samples, and the row `sample` that of the image and one.
    """
    device = torch.device(evaluator.state.device)
    batch = next(iter(evaluator.data_loader))
    inputs = evaluator.prepare_batch(batch, device, evaluator.non_blocking)[0][:1]
    inferers: dict[str, Any] = {"reconstruction": copy(evaluator.inferer)}
    if hasattr(evaluator.inferer, "n_samples"):
        inferers["sample"] = copy(evaluator.inferer)
        inferers["reconstruction"].n_samples, inferers["sample"].n_samples = 0, 1
    network = evaluator.network.eval()
    size = sum(parameter.numel() for parameter in network.parameters())
    # time of the processor is the same beside other work
    clock = process_time if device.type == "cpu" else default_timer
    rows = []
    for name, inferer in inferers.items():
        values = {"inferer": inferer, "inputs": inputs, "network": network}
        with torch.inference_mode():
            timer = Timer("inferer(inputs, network)", timer=clock, globals=values, num_threads=1)
            seconds = timer.blocked_autorange(min_run_time=SECONDS).median
        speed = {"parameters": size, "milliseconds": 1000 * seconds}
        rows.append({"protocol": "speed", "file": "x".join(map(str, inputs.shape)), "method": name, **speed})
    write_cases(Path(output_dir) / FILE, case_table(rows))
