"""A bundle whose runs take a tenth of a second: its configurations are MONAI's, the program that runs them is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-I", "-S", __file__)
TRAIN = {"loss": "MSE", "network_name": "A", "epochs": 2, "pause": 0, "dataset_dir": "data", "initial_weights": None}
FURTHER = {"width": 64, "weights_file": "", "phases": {"pixel": 1}}
INFERENCE = {"network_name": "A", "dataset_dir": "data", "checkpoint": None, "table": "", "split": None, "handlers": []}


def write_quick_bundle(folder: Path) -> Path:
    """Write the bundle."""
    files = {
        "metadata": {"version": "0.1.0"},
        "train": {**TRAIN, **FURTHER, "how": "", "run": ["train"]},
        "inference": {**INFERENCE, "how": "", "run": ["predict"]},
        "evaluate": {"split": "valid", "evaluated": True},
    }
    (folder / "configs").mkdir(parents=True)
    for name, content in files.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_list(path: Path, tasks: Any, **further: Any) -> Path:
    """Write a file of tasks, whose results go beside it."""
    import yaml

    defaults = {"bundle": str(path.parent / "bundle"), **further.pop("defaults", {})}
    content = {"output_dir": str(path.parent / "out"), "defaults": defaults, **further, "tasks": tasks}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def table(path: Path, ssim: list[float], **others: list[float]) -> str:
    """Write the metrics.csv of an evaluation of a case for each value, a baseline of SSIM 0.5 among them."""
    from common.metrics import case_table, write_cases

    rows = []
    for i, value in enumerate(ssim):
        more = {metric: values[i] for metric, values in others.items()}
        metrics = {"psnr": 40 * value, "ssim": value, **more}
        where = {"protocol": "cine_series", "file": f"data/heart_{i}.h5", "slice": i}
        rows.append({**where, "method": "aliased", **metrics, "ssim": 0.5})
        rows.append({**where, "method": "reconstruction", **metrics})
    write_cases(path, case_table(rows))
    return str(path)


def _main() -> None:
    import os
    import shutil
    import signal
    import time

    config: dict[str, Any] = {}
    for file in json.loads(sys.argv[2]):
        config |= json.loads(Path(file).read_text())
    out = Path(config.get("output_dir", "."))
    with (out / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()} {os.getcwd()} {os.environ.get('RECON_SMTP_PASSWORD')}\n")
    if config["how"] == "fails":
        sys.stdout.write("epoch 1\n")
        sys.exit("error: data: expected images, got none; draw some")
    if config["how"] == "crashes":
        raise RuntimeError("a defect")
    if config["how"] == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if config["run"] == ["predict"]:
        if config["table"]:
            shutil.copy(config["table"], out / "metrics.csv")
        (out / "weights.txt").write_text(str(config["checkpoint"] or config.get("ckpt_dir")))
        return
    state = out / "epoch.txt"
    for epoch in range(int(state.read_text()) if state.exists() else 0, config["epochs"]):
        with (out / "epochs.txt").open("a") as file:
            file.write(f"{epoch}\n")
        time.sleep(config["pause"])
        state.write_text(str(epoch + 1))
        rows = "".join(f"{n},train,{0.5 + 0.1 * n},{20 + n}\n" for n in range(1, epoch + 2))
        (out / "history.csv").write_text(f"epoch,phase,loss,psnr\n{rows}")
        if config["weights_file"]:
            Path(config["ckpt_dir"]).mkdir(exist_ok=True)
            shutil.copy(config["weights_file"], Path(config["ckpt_dir"]) / "model.pt")
    Path(config["ckpt_dir"]).mkdir(exist_ok=True)
    if not config["weights_file"]:
        (Path(config["ckpt_dir"]) / "model.pt").write_text(config["loss"])


if __name__ == "__main__":
    _main()
