"""The trainer of every bundle: generator and discriminator steps for an objective, phase by phase."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.distributed as dist
from common.engines.objective import Objective
from common.engines.phases import Phase, PhaseSchedule
from common.engines.termination import Termination
from common.errors import NonFiniteLossError
from common.losses.penalties import R1Penalty
from common.networks.batch_norms import synchronise_batch_norm
from common.networks.precision import Autocast, has_bfloat16_units, resolve_precision, set_memory_format
from monai.engines import SupervisedTrainer, default_prepare_batch
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import AveragedModel

logger = logging.getLogger("recon")


class Checkpoint(Protocol):
    """Interface of what keeps the state of a training, see :class:`~common.engines.TrainingCheckpoint`."""

    directory: Path

    def attach(self, trainer: GanTrainer) -> None:
        """Register on a trainer."""

    def restore(self, trainer: GanTrainer) -> bool:
        """Load the newest state into a trainer; return True if there was one."""

    def running(self) -> AbstractContextManager[Termination]:
        """Open the context of a run, which other runs and signals do not disturb."""


class GanTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` with a discriminator, an objective of named terms, and phases.

    One iteration: the generator's ``stages`` (``forward`` where it has none) runs once; the discriminator
    steps on its detached outputs; the generator steps. Weighted terms are summed; each is kept unweighted in
    ``engine.state.output`` as ``loss_<name>``, next to ``loss`` (the generator's sum), ``image``, ``label``,
    ``pred``. ``MODEL_COMPLETED`` fires last, so MONAI's handlers and postprocessing work.

    Where processes of a group train together (``torch.distributed`` initialised), networks are wrapped and
    their batch norms synchronised here, and ``network`` stays the plain module that is saved.

    With a ``seed``, each iteration starts from random states derived from (seed, iteration, rank): a resumed
    training repeats an uninterrupted one, bit by bit where the device's kernels do.

    Args:
        device: device of the networks and the batches.
        max_epochs: number of all epochs; commonly ``phases.epochs``.
        train_data_loader: loader of dictionaries of tensors; its sampler may be a
            :class:`~common.data.loading.ResumableSampler`.
        network: the generator.
        optimizer: optimizer of the generator.
        objective: loss terms of the method, an :class:`~common.engines.objective.Objective`.
        weights: weight of each term by name; every term an objective gives must have one (0 leaves it out).
        discriminator: the discriminator; ``None`` for supervised training.
        discriminator_optimizer: optimizer of the discriminator.
        phases: phases of the training; ``None``: one without end.
        weight_clip: bound of the discriminator's weights after each of its steps (Wasserstein GAN), or ``None``.
        penalties: gradient penalties of the discriminator.
        gradient_clip: bound of the gradient's norm in both networks, or ``None``.
        ema: moving average of ``network``, updated after each generator step.
        precision: ``float32``, ``bfloat16``, ``float16`` (with loss scaling, on CUDA only), or ``auto`` (bfloat16 where
            the device is built for it) inside the networks; losses, Fourier transforms and data consistency stay
            float32.
        channels_last: True for the memory format channels last. ``None`` follows the device: channels last where it has
            units for bfloat16; on other CPUs it makes training 20 to 30 % slower.
        accumulation_steps: batches whose gradients are added up for one step.
        checkpoint: object that keeps and restores the state of training.
        seed: number that the random states of each iteration follow from; ``None`` leaves them alone.
        prepare_batch: function of MONAI's trainers; one with ``attach`` is attached like a handler, and so can follow
            the phases.
        inferer, train_handlers, decollate: arguments of MONAI's ``SupervisedTrainer``.

    Raises:
        ValueError: for arguments that do not fit together.
        NonFiniteLossError: during ``run``, naming terms and files.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable,
        network: nn.Module,
        optimizer: Optimizer,
        objective: Objective,
        weights: Mapping[str, float],
        discriminator: nn.Module | None = None,
        discriminator_optimizer: Optimizer | None = None,
        phases: PhaseSchedule | Sequence[Phase] | None = None,
        weight_clip: float | None = None,
        penalties: Sequence[R1Penalty] = (),
        gradient_clip: float | None = None,
        ema: AveragedModel | None = None,
        precision: str = "float32",
        channels_last: bool | None = None,
        accumulation_steps: int = 1,
        checkpoint: Checkpoint | None = None,
        seed: int | None = 0,
        prepare_batch: Callable = default_prepare_batch,
        inferer: Inferer | None = None,
        train_handlers: Sequence | None = None,
        decollate: bool = True,
    ) -> None:
        precision = resolve_precision(precision, device)
        if (discriminator is None) != (discriminator_optimizer is None):
            raise ValueError("expected discriminator and discriminator_optimizer together, got only one of them")
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=self._weighted_sum,
            prepare_batch=prepare_batch,
            inferer=inferer,
            train_handlers=train_handlers,
            decollate=decollate,
            accumulation_steps=accumulation_steps,
        )
        if self.state.epoch_length == 0:
            raise ValueError("the training loader yields no batch: fewer images than batch_size; lower batch_size")
        self.objective = objective
        self.weights = dict(weights)
        self.discriminator = discriminator
        self.discriminator_optimizer = discriminator_optimizer
        if phases is None:
            phases = [Phase("train", max_epochs, adversarial=discriminator is not None)]
        self.phases = phases if isinstance(phases, PhaseSchedule) else PhaseSchedule(phases)
        for phase in self.phases.phases:
            unknown = sorted(phase.weights.keys() - self.weights.keys())
            if unknown:
                raise ValueError(
                    f"phase {phase.name!r}: expected weights of {', '.join(self.weights)}, "
                    f"got weights of {', '.join(unknown)}; correct the name, or give the term a weight"
                )
        self.weight_clip = weight_clip
        self.penalties = tuple(penalties)
        self.gradient_clip = gradient_clip
        self.ema = ema
        self.precision = precision
        self.seed = seed
        self.checkpoint = checkpoint
        self.discriminator_step_count = 0
        scaled = precision == "float16"
        self.generator_scaler = torch.amp.GradScaler("cuda", enabled=scaled)
        self.discriminator_scaler = torch.amp.GradScaler("cuda", enabled=scaled)
        self._learning_rates = [[g["lr"] for g in o.param_groups] for o in self._optimizers()]

        if channels_last is None:
            channels_last = has_bfloat16_units(torch.device(device))
        distributed = dist.is_available() and dist.is_initialized()
        self._generate = self._callable(_Stages(network), channels_last, distributed)
        self._adversary: _Adversary | None = None
        if discriminator is not None and discriminator_optimizer is not None:
            judge = self._callable(discriminator, channels_last, distributed)
            self._adversary = _Adversary(discriminator, discriminator_optimizer, judge)
        if checkpoint is not None:
            checkpoint.attach(self)
        if hasattr(prepare_batch, "attach"):
            prepare_batch.attach(self)

    @property
    def phase(self) -> Phase:
        """The phase of the current iteration."""
        return self.phases.at(self._epochs_done())[0]

    def run(self) -> None:  # type: ignore[override]
        """Train, from the newest checkpoint where there is one; a finished training is not repeated.

        Run again in the same process, it goes on from the weights it is given in between, as a federated
        learning client's are at each round.

        Raises:
            SystemExit: SIGTERM or Ctrl-C came; the state has been saved.
            DataError: for checkpoints that are all damaged, or another training in their folder.
        """
        if self.checkpoint is None:
            super().run()
            return
        with self.checkpoint.running() as termination:
            if self.state.iteration == 0 and self.checkpoint.restore(self):
                if self.state.epoch >= self.state.max_epochs:
                    logger.info(f"training already has its {self.state.max_epochs} epochs: {self.checkpoint.directory}")
                    return
                logger.info(f"resuming after iteration {self.state.iteration}")
            super().run()
        if termination.asked is not None:
            raise SystemExit(termination.status)

    # -- one iteration ---------------------------------------------------------------------------------------

    def _iteration(self, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("Must provide batch data for current iteration.")
        self._seed_iteration()
        self._enter_phase()
        self._set_learning_rates()
        image, label, *_ = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        batch: dict[str, Tensor] = {CommonKeys.IMAGE: image, CommonKeys.LABEL: label}
        engine.state.output = dict(batch)

        adversary = self._adversary if self.phase.adversarial else None
        engine.network.train()
        outputs = self._generate(image)
        engine.state.output[CommonKeys.PRED] = _last(outputs).detach()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        if adversary is not None:
            self._discriminator_step(adversary, batch, _detach(outputs))
        self._generator_step(batch, outputs, None if adversary is None else adversary.network)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _discriminator_step(self, adversary: _Adversary, batch: dict[str, Tensor], outputs: Any) -> None:
        first, last = self._accumulation()
        adversary.network.train()
        if first:
            adversary.optimizer.zero_grad(set_to_none=True)
        terms = self.objective.discriminator_terms(batch, outputs, adversary.judge)
        loss = self._weighted_sum(terms)
        for penalty in self.penalties:
            if self.discriminator_step_count % penalty.interval == 0:
                real, fake = self.objective.discriminator_pairs(batch, outputs)
                terms[penalty.name] = penalty(adversary.network, real, fake)
                loss = loss + penalty.weight * penalty.interval * terms[penalty.name]
        self._record(terms)
        self.discriminator_scaler.scale(loss / self.accumulation_steps).backward()
        if last:
            self._step(adversary.network, adversary.optimizer, self.discriminator_scaler)
            self.discriminator_step_count += 1
            if self.weight_clip is not None:
                with torch.no_grad():
                    for parameter in adversary.network.parameters():
                        parameter.clamp_(-self.weight_clip, self.weight_clip)

    def _generator_step(self, batch: dict[str, Tensor], outputs: Any, discriminator: nn.Module | None) -> None:
        first, last = self._accumulation()
        if first:
            self.optimizer.zero_grad(set_to_none=True)
        with _frozen(discriminator):
            judge = None if discriminator is None else Autocast(discriminator, self.precision, self.state.device)
            terms = self.objective.generator_terms(batch, outputs, judge)
            self._record(terms)
            loss = self.loss_function(terms)
            self.state.output[CommonKeys.LOSS] = loss.detach()
            self.fire_event(IterationEvents.LOSS_COMPLETED)
            self.generator_scaler.scale(loss / self.accumulation_steps).backward()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if last:
            self._step(self.network, self.optimizer, self.generator_scaler)
            if self.ema is not None:
                self.ema.update_parameters(self.network)

    # -- its parts -------------------------------------------------------------------------------------------

    def _step(self, network: nn.Module, optimizer: Optimizer, scaler: torch.amp.GradScaler) -> None:
        if self.gradient_clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip)
        scaler.step(optimizer)
        scaler.update()

    def _weighted_sum(self, terms: Mapping[str, Tensor]) -> Tensor:
        weights = {**self.weights, **self.phase.weights}
        missing = [name for name in terms if name not in weights]
        if missing:
            raise ValueError(
                f"expected a weight for every loss term, got none for {', '.join(missing)}; "
                "add it to the weights (0 leaves a term out of the sum)"
            )
        return torch.stack([weights[name] * term for name, term in terms.items() if weights[name] != 0]).sum()

    def _record(self, terms: Mapping[str, Tensor]) -> None:
        """Put the terms into the output, and stop the training if one is not finite."""
        finite = torch.isfinite(torch.stack([term.detach().float() for term in terms.values()])).tolist()
        if not all(finite):
            names = [name for name, good in zip(terms, finite, strict=True) if not good]
            files = self.state.batch.get("path", "unknown") if isinstance(self.state.batch, Mapping) else "unknown"
            raise NonFiniteLossError(
                f"loss term {', '.join(names)} is not finite at iteration {self.state.iteration} for files {files}; "
                "the last checkpoint is intact: lower the learning rate, clip gradients or check the files"
            )
        self.state.output.update({f"loss_{name}": term.detach() for name, term in terms.items()})

    def _accumulation(self) -> tuple[bool, bool]:
        """Return if this iteration is the first, and if it is the last, of an accumulated step; epochs end with one."""
        within = (self.state.iteration - 1) % self.state.epoch_length
        steps = self.accumulation_steps
        return within % steps == 0, (within + 1) % steps == 0 or within + 1 == self.state.epoch_length

    def _epochs_done(self) -> float:
        return max(self.state.iteration - 1, 0) / self.state.epoch_length

    def _optimizers(self) -> list[Optimizer]:
        return [o for o in (self.optimizer, self.discriminator_optimizer) if o is not None]

    def _enter_phase(self) -> None:
        """In the first iteration of a phase that asks for it, forget the moments of both optimizers."""
        phase, epochs_in_phase = self.phases.at(self._epochs_done())
        if phase.reset_optimizers and epochs_in_phase == 0:
            for optimizer in self._optimizers():
                optimizer.state.clear()

    def _set_learning_rates(self) -> None:
        # the middle of the iteration: a warm-up does not begin with a step of size zero
        factor, phase = self.phases.rate(self._epochs_done() + 0.5 / self.state.epoch_length)
        starts = (phase.learning_rate, phase.discriminator_learning_rate)
        for optimizer, start, own in zip(self._optimizers(), starts, self._learning_rates, strict=False):
            for group, rate in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = factor * (rate if start is None else start * (rate / own[0] if own[0] else 1.0))

    def _seed_iteration(self) -> None:
        if self.seed is None:
            return
        state = np.random.SeedSequence([self.seed, self.state.iteration, self.state.rank]).generate_state(3)
        torch.manual_seed(int(state[0]))
        np.random.seed(int(state[1]))
        random.seed(int(state[2]))

    def _callable(self, module: nn.Module, channels_last: bool, distributed: bool) -> nn.Module:
        set_memory_format(module, channels_last)
        if distributed:
            synchronise_batch_norm(module, self.state.device)
            devices = [self.state.device] if self.state.device.type == "cuda" else None
            module = DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)
        return Autocast(module, self.precision, self.state.device)


class _Adversary(NamedTuple):
    """The discriminator, its optimizer, and the callable that objectives are given in its own step."""

    network: nn.Module
    optimizer: Optimizer
    judge: nn.Module


class _Stages(nn.Module):
    """A network whose ``forward`` is its ``stages``, so that distributed wrappers see the whole pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        stages = getattr(self.network, "stages", self.network)
        return stages(image)


@contextmanager
def _frozen(network: nn.Module | None) -> Any:
    """Keep a network's weights from gathering gradients in a block, though gradients flow through the network."""
    trainable = [] if network is None else [p for p in network.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _detach(outputs: Any) -> Any:
    return outputs.detach() if isinstance(outputs, Tensor) else type(outputs)(o.detach() for o in outputs)


def _last(outputs: Any) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[-1]
