"""What each process of a group does in ``test_distributed.py``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from helpers import random_mask
from ignite.engine import Events
from monai.data import Dataset
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from toy_gan import ToyObjective

from common.data.loading import training_loader
from common.engines import GanTrainer, Phase, exponential_average
from common.losses import R1Penalty
from common.networks import RefineGanDiscriminator, RefineGanGenerator
from common.networks.batch_norms import GroupBatchNorm, synchronise_batch_norm
from common.operators import complex_to_channels, fft2c, pack_measurement

N_PROCESSES = 2


class StagesObjective(ToyObjective):
    """The toy objective on the four stages of RefineGAN."""

    def generator_terms(self, batch: Any, outputs: Any, discriminator: nn.Module | None) -> dict[str, Tensor]:
        return super().generator_terms(batch, (outputs[0], outputs[-1]), discriminator)


def measurements() -> Dataset:
    """Eight images of 32 x 32 and their measurement by one mask."""
    generator = torch.Generator().manual_seed(3)
    mask = random_mask(32, 32, seed=1)
    items = []
    for _ in range(8):
        image = torch.rand(1, 1, 32, 32, generator=generator).to(torch.complex64)
        measurement = pack_measurement(mask * fft2c(image), mask)[0]
        items.append({"image": measurement.double(), "label": complex_to_channels(image)[0].double()})
    return Dataset(items)


def train(batch_size: int) -> dict[str, Any]:
    """A pixel and two GAN epochs of networks with batch norms; the terms of each step and the final states.

    In float64: in float32 a GAN multiplies differences of rounding by a hundred per step, on one process as on two.
    """
    torch.manual_seed(0)
    network, discriminator = RefineGanGenerator(width=4).double(), RefineGanDiscriminator(width=4).double()
    ema = exponential_average(network)
    adam: dict[str, Any] = {"lr": 1e-3, "betas": (0.5, 0.999), "eps": 1e-3}
    trainer = GanTrainer(
        device="cpu",
        max_epochs=3,
        train_data_loader=training_loader(measurements(), batch_size, shuffle=True, seed=5),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), **adam),
        objective=StagesObjective(),
        weights={"pixel": 10.0, "early": 1.0, "adversarial": 1.0, "critic": 1.0},
        discriminator=discriminator,
        discriminator_optimizer=torch.optim.Adam(discriminator.parameters(), **adam),
        phases=[Phase("pixel", 1, adversarial=False), Phase("gan", 2)],
        weight_clip=0.5,
        ema=ema,
        decollate=False,
    )
    terms: list[dict[str, float]] = []

    def keep() -> None:
        output = trainer.state.output
        terms.append({str(name): float(value) for name, value in output.items() if name.startswith("loss")})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
    trainer.run()
    parts = {"network": network, "discriminator": discriminator, "ema": ema.module}
    return {"terms": terms, **{name: part.state_dict() for name, part in parts.items()}}


def penalised_gradient(share: slice) -> dict[str, Tensor]:
    """The discriminator's gradient of a Wasserstein loss with an R1 penalty, which differentiates batch norms twice."""
    torch.manual_seed(2)
    discriminator = RefineGanDiscriminator(width=4)
    real, fake = torch.rand(4, 2, 32, 32)[share], torch.rand(4, 2, 32, 32)[share]
    judge: nn.Module = discriminator
    if dist.is_initialized():
        synchronise_batch_norm(discriminator, torch.device("cpu"))
        judge = DistributedDataParallel(discriminator, broadcast_buffers=False)
    loss = judge(fake).mean() - judge(real).mean() + R1Penalty()(discriminator, real, fake)
    loss.backward()
    return {name: p.grad for name, p in discriminator.named_parameters() if p.grad is not None}


def normalise(norm: nn.Module, share: slice, dtype: torch.dtype, *, volumes: bool = False) -> dict[str, Tensor]:
    """Two training passes of a batch norm on a share of a batch: output, gradients, statistics."""
    torch.manual_seed(1)
    size = (8, 3, 5, 4, 6) if volumes else (8, 3, 5, 4)
    batches = (3 + 2 * torch.randn(2, *size)).to(dtype)
    weights = torch.randn(size)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-1, 1)
    norm(batches[0][share])
    features = batches[1][share].clone().requires_grad_(True)
    output = norm(features).float()
    (output.square() * weights[share]).sum().backward()
    assert features.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    result = {"output": output.detach(), "features": features.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return {**result, **{name: value.clone() for name, value in norm.named_buffers()}}


def member(rank: int, directory: Path) -> None:
    """One process of the group: writes what came out to ``directory``."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{directory}/group",
        rank=rank,
        world_size=N_PROCESSES,
        timeout=timedelta(minutes=5),  # a member that fails does not leave the other waiting for long
    )
    share = slice(rank, None, N_PROCESSES)
    result = {
        "training": train(batch_size=2),
        "penalised": penalised_gradient(share),
        "float32 images": normalise(GroupBatchNorm(3, momentum=0.3), share, torch.float32),
        "bfloat16 images": normalise(GroupBatchNorm(3, momentum=0.3), share, torch.bfloat16),
        "float32 volumes": normalise(GroupBatchNorm(3, momentum=0.3), share, torch.float32, volumes=True),
    }
    torch.save(result, directory / f"rank_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
