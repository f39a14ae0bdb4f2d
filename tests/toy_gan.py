"""A GAN of a few hundred weights, its data and its objective, for tests of the trainer in any process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.handlers import ValidationHandler
from torch import Tensor, nn

from common.data.loading import evaluation_loader, training_loader
from common.engines import GanTrainer, Muon, Phase, TrainingCheckpoint, exponential_average
from common.handlers.best_model import BestModel
from common.handlers.training_log import TrainingLog

WEIGHTS = {"pixel": 10.0, "early": 0.5, "adversarial": 1.0, "critic": 1.0}


class ToyGenerator(nn.Module):
    """Two stages, ``(batch, 1, height, width)`` to the same; no batch norm."""

    def __init__(self, width: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.Tanh(), nn.Dropout(dropout), nn.Conv2d(width, 1, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def stages(self, image: Tensor) -> tuple[Tensor, Tensor]:
        first = image + self.body(image)
        return first, first + self.body(first)

    def forward(self, image: Tensor) -> Tensor:
        return self.stages(image)[1]


class ToyDiscriminator(nn.Module):
    """A small patch discriminator."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)


class ToyObjective:
    """Squared error of both stages and a Wasserstein game; remembers the types of what it was given."""

    def __init__(self) -> None:
        self.dtypes: set[torch.dtype] = set()

    def generator_terms(self, batch: Any, outputs: Any, discriminator: nn.Module | None) -> dict[str, Tensor]:
        self.dtypes |= {stage.dtype for stage in outputs}
        first, last = outputs
        terms = {"pixel": (last - batch["label"]).square().mean(), "early": (first - batch["label"]).square().mean()}
        if discriminator is not None:
            scores = discriminator(last)
            self.dtypes.add(scores.dtype)
            terms["adversarial"] = -scores.mean()
        return terms

    def discriminator_terms(self, batch: Any, outputs: Any, discriminator: nn.Module) -> dict[str, Tensor]:
        return {"critic": discriminator(outputs[-1]).mean() - discriminator(batch["label"]).mean()}

    def discriminator_pairs(self, batch: Any, outputs: Any) -> tuple[Tensor, Tensor]:
        return batch["label"], outputs[-1]


def toy_data(n: int = 10, size: int = 8, seed: int = 0) -> Dataset:
    """Noisy images and their truth, with a path."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for index in range(n):
        label = torch.rand(1, size, size, generator=generator)
        image = label + 0.3 * torch.randn(1, size, size, generator=generator)
        items.append({"image": image, "label": label, "path": f"item_{index}.png", "slice": 0})
    return Dataset(items)


def toy_generator(width: int = 4, dropout: float = 0.0) -> ToyGenerator:
    """The same first weights each time."""
    torch.manual_seed(7)
    return ToyGenerator(width, dropout)


def toy_trainer(
    network: nn.Module | None = None,
    data: Dataset | None = None,
    *,
    batch_size: int = 2,
    shuffle: bool = True,
    max_epochs: int = 1,
    gan: bool = True,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    learning_rate: float = 1e-3,
    muon: bool = False,
    **options: Any,
) -> GanTrainer:
    """A trainer on the CPU, with the same first weights each time; ``options`` go to :class:`GanTrainer`."""
    network = network or toy_generator()
    if gan:
        torch.manual_seed(8)
        options["discriminator"] = ToyDiscriminator()
        options["discriminator_optimizer"] = optimizer(options["discriminator"].parameters(), lr=learning_rate)
    return GanTrainer(
        device="cpu",
        max_epochs=max_epochs,
        train_data_loader=training_loader(data or toy_data(), batch_size, shuffle=shuffle),
        network=network,
        optimizer=Muon(network) if muon else optimizer(network.parameters(), lr=learning_rate),
        **{"objective": ToyObjective(), "weights": WEIGHTS, "decollate": False, **options},
    )


class Closeness(Metric):
    """Minus the mean absolute error, as a key metric; or given values, one a validation."""

    def __init__(self, values: list[float] | None = None) -> None:
        self.values = None if values is None else iter(values)
        super().__init__()

    def reset(self) -> None:
        self.errors: list[float] = []

    def update(self, output: list[dict[str, Tensor]]) -> None:
        self.errors += [float((item["pred"] - item["label"]).abs().mean()) for item in output]

    def compute(self) -> float:
        return -sum(self.errors) / len(self.errors) if self.values is None else next(self.values)


def toy_validator(network: nn.Module, path: Path, values: list[float] | None = None) -> SupervisedEvaluator:
    """Validates and keeps the best weights in ``path``."""
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=evaluation_loader(toy_data(4, seed=1), batch_size=2),
        network=network,
        key_val_metric={"closeness": Closeness(values)},
        val_handlers=[BestModel(network, path)],
    )


# --------------------------------------------------------------------------------------- a training that gets killed


def train_until_killed(directory: Path, kill: str = "", muon: bool = False) -> None:
    """A whole GAN training in a process of its own: resumes, and kills itself at ``kill``.

    ``after 7`` kills after iteration 7, ``within 13`` between the steps of discriminator and generator, and
    ``writing 9`` when half of the checkpoint of iteration 9 is on disk.
    """
    torch.set_num_threads(1)
    moment, _, iteration = kill.partition(" ")
    torch.manual_seed(int.from_bytes(os.urandom(4), "little"))  # nothing may depend on how a process begins
    phases = [
        Phase("pixel", 1, adversarial=False),
        Phase("gan", 3, learning_rate=5e-4, decay="linear", final_fraction=0.1),
    ]
    network = toy_generator(width=8, dropout=0.3)
    ema = exponential_average(network)
    validator = toy_validator(ema.module, directory / "model.pt")
    trainer = toy_trainer(
        network,
        max_epochs=4,
        phases=phases,
        muon=muon,
        ema=ema,
        weight_clip=0.5,
        checkpoint=TrainingCheckpoint(directory / "checkpoints", every_iterations=3, validator=validator),
        train_handlers=[ValidationHandler(1, validator), TrainingLog(directory, validator)],
    )

    def log(engine: Engine) -> None:
        with (directory / "iterations.txt").open("a") as file:
            file.write(f"{engine.state.iteration}\n")

    def die(engine: Engine) -> None:
        if engine.state.iteration == int(iteration):
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.add_event_handler(Events.ITERATION_STARTED, log)
    if moment == "after":
        trainer.add_event_handler(Events.ITERATION_COMPLETED, die)
    if moment == "within":
        trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, die)
    if moment == "writing":
        whole_write = Path.write_bytes

        def half_write(path: Path, content: Any) -> int:
            if path.name.endswith(f"checkpoint_{int(iteration):09d}.pt"):
                whole_write(path, bytes(content)[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return whole_write(path, content)

        Path.write_bytes = half_write  # type: ignore[method-assign]
    trainer.run()
