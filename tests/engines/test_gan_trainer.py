"""The GAN trainer: who moves when, by how much, and what is logged."""

from itertools import pairwise

import pytest
import torch
from helpers import copy_state, same_state
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import StatsHandler, from_engine
from torch import nn
from torch.optim import SGD
from toy_gan import WEIGHTS, ToyDiscriminator, ToyGenerator, ToyObjective, toy_data, toy_generator, toy_trainer

from common.engines import GanTrainer, Objective, Phase, TrainingCheckpoint, exponential_average
from common.errors import NonFiniteLossError
from common.losses import R1Penalty

PIXEL = [Phase("pixel", 1, adversarial=False)]


def record(trainer, what, event=Events.ITERATION_COMPLETED):
    """The values of ``what()`` at each event of a run."""
    values = []
    trainer.add_event_handler(event, lambda: values.append(what()))
    trainer.run()
    return values


def difference(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


# ------------------------------------------------------------------------------------------------- one iteration


def test_an_iteration_moves_both_networks_and_logs_every_term():
    trainer = toy_trainer(toy_generator(), toy_data(2))
    assert isinstance(trainer, SupervisedTrainer)
    assert isinstance(trainer.objective, Objective)
    before = copy_state(trainer.network), copy_state(trainer.discriminator)
    trainer.run()
    after = copy_state(trainer.network), copy_state(trainer.discriminator)
    for old, new in zip(before, after, strict=True):
        # no bias: that of the last layer shifts real and fake scores alike
        assert not any(torch.equal(old[name], new[name]) for name in old if name.endswith("weight"))
    output = trainer.state.output
    losses = {name: float(value) for name, value in output.items() if name.startswith("loss")}
    assert set(losses) == {"loss", "loss_pixel", "loss_early", "loss_adversarial", "loss_critic"}
    assert losses["loss"] == pytest.approx(sum(WEIGHTS[name] * losses[f"loss_{name}"] for name in list(WEIGHTS)[:3]))
    assert output["pred"].shape == output["image"].shape == output["label"].shape == (2, 1, 8, 8)
    assert not any(value.requires_grad for value in output.values())


def test_one_step_is_the_gradient_of_the_weighted_sum():
    """With plain gradient descent: first the discriminator on detached images, then the generator against it."""
    learning_rate = 0.1
    trainer = toy_trainer(data=toy_data(2), optimizer=SGD, learning_rate=learning_rate)
    generator, discriminator = toy_generator(), ToyDiscriminator()
    discriminator.load_state_dict(trainer.discriminator.state_dict())
    (batch,) = DataLoader(toy_data(2), batch_size=2)
    _, last = generator.stages(batch["image"])
    critic = discriminator(last.detach()).mean() - discriminator(batch["label"]).mean()
    for parameter, gradient in zip(
        discriminator.parameters(), torch.autograd.grad(critic, list(discriminator.parameters())), strict=True
    ):
        parameter.data -= learning_rate * gradient
    first, last = generator.stages(batch["image"])
    loss = 10 * (last - batch["label"]).square().mean() + 0.5 * (first - batch["label"]).square().mean()
    loss = loss - discriminator(last).mean()
    for parameter, gradient in zip(
        generator.parameters(), torch.autograd.grad(loss, list(generator.parameters())), strict=True
    ):
        parameter.data -= learning_rate * gradient
    trainer.run()
    assert difference(discriminator.state_dict(), trainer.discriminator.state_dict()) < 1e-6
    assert difference(generator.state_dict(), trainer.network.state_dict()) < 1e-6
    assert float(trainer.state.output["loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_the_generators_step_leaves_the_discriminator_alone():
    trainer = toy_trainer()
    discriminator = trainer.discriminator

    def look():
        gradients = [parameter.grad.clone() for parameter in discriminator.parameters()]
        return copy_state(discriminator), gradients

    before, after = [], []
    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, lambda: before.append(look()))
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda: after.append(look()))
    trainer.run()
    assert len(before) == len(after) == 5
    for (state, gradients), (new_state, new_gradients) in zip(before, after, strict=True):
        assert same_state(state, new_state)
        assert all(torch.equal(*pair) for pair in zip(gradients, new_gradients, strict=True))
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_a_pixel_phase_leaves_the_discriminator_untouched():
    trainer = toy_trainer(phases=PIXEL)
    before = copy_state(trainer.discriminator), copy_state(trainer.network)
    trainer.run()
    assert same_state(before[0], copy_state(trainer.discriminator))
    assert trainer.discriminator_optimizer.state_dict()["state"] == {}
    assert not same_state(before[1], copy_state(trainer.network))
    assert {name for name in trainer.state.output if name.startswith("loss")} == {"loss", "loss_pixel", "loss_early"}


def test_without_discriminator_and_stages_it_is_a_supervised_trainer():
    class L2:
        def generator_terms(self, batch, outputs, discriminator):
            assert discriminator is None
            return {"pixel": (outputs - batch["label"]).square().mean()}

    trainer = toy_trainer(nn.Conv2d(1, 1, 3, padding=1), gan=False, objective=L2(), max_epochs=20, learning_rate=0.03)
    losses = record(trainer, lambda: float(trainer.state.output["loss_pixel"]), Events.EPOCH_COMPLETED)
    assert losses[-1] < 0.5 * losses[0]


def test_events_come_in_monais_order_and_batches_are_decollated(caplog):
    order = []
    stats = StatsHandler(name="toy_stats", output_transform=from_engine(["loss"], first=True), epoch_log=False)
    stats.logger.addHandler(caplog.handler)  # MONAI's loggers do not propagate

    trainer = toy_trainer(data=toy_data(2), decollate=True, train_handlers=[stats])
    for event in (*IterationEvents, Events.ITERATION_COMPLETED):
        trainer.add_event_handler(event, lambda _, name: order.append(name), event.name)
    trainer.run()
    stats.logger.removeHandler(caplog.handler)
    assert order == [
        "FORWARD_COMPLETED",
        "LOSS_COMPLETED",
        "BACKWARD_COMPLETED",
        "MODEL_COMPLETED",
        "ITERATION_COMPLETED",
    ]
    assert [item["pred"].shape for item in trainer.state.output] == [(1, 8, 8)] * 2
    loss = float(trainer.state.output[0]["loss"])
    assert f"Loss: {loss:.4f}" in caplog.text


# ---------------------------------------------------------------------------------------------- options of the game


def test_weights_of_the_discriminator_are_clipped_after_each_step():
    trainer = toy_trainer(weight_clip=0.02)
    largest = lambda: max(float(p.detach().abs().max()) for p in trainer.discriminator.parameters())  # noqa: E731
    assert largest() > 0.1
    assert record(trainer, largest) == pytest.approx([0.02] * 5)


def test_two_half_batches_make_the_step_of_one_batch():
    """Of the generator in a pixel phase; of the discriminator in a game, as each half sees it as it was."""
    for phases in (PIXEL, None):
        options = {"data": toy_data(4), "shuffle": False, "optimizer": SGD, "learning_rate": 0.1, "phases": phases}
        whole = toy_trainer(batch_size=4, **options)
        halves = toy_trainer(batch_size=2, accumulation_steps=2, **options)
        for trainer in (whole, halves):
            trainer.run()
        part = "network" if phases else "discriminator"
        assert difference(copy_state(getattr(whole, part)), copy_state(getattr(halves, part))) < 1e-6


def test_an_epochs_end_closes_an_accumulated_step():
    trainer = toy_trainer(phases=[Phase("pixel", 2, adversarial=False)], max_epochs=2, accumulation_steps=3)
    states = [copy_state(trainer.network), *record(trainer, lambda: copy_state(trainer.network))]
    moved = [not same_state(*pair) for pair in pairwise(states)]
    assert moved == [False, False, True, False, True] * 2


def test_gradients_are_clipped_by_their_norm():
    bound = 0.01
    trainer = toy_trainer(data=toy_data(2), optimizer=SGD, learning_rate=1.0, gradient_clip=bound)
    networks = (trainer.network, trainer.discriminator)
    before = [copy_state(network) for network in networks]
    trainer.run()
    for network, old in zip(networks, before, strict=True):
        step = torch.cat([(new - old[name]).flatten() for name, new in network.state_dict().items()])
        assert float(step.norm()) == pytest.approx(bound, rel=1e-3)


def test_a_lazy_penalty_is_logged_at_its_interval():
    trainer = toy_trainer(penalties=[R1Penalty(weight=2.0, interval=2)])
    logged = record(trainer, lambda: "loss_r1" in trainer.state.output)
    assert logged == [True, False, True, False, True]


def test_a_lazy_penalty_weighs_its_interval():
    """R1 of a linear discriminator pulls its weight w by ``interval * weight * w``, next to the critic's gradient."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 64).reshape(1, 8, 8))

        def forward(self, image):
            return (self.weight * image).flatten(1).sum(1, keepdim=True)

    weights = []
    for penalties in ([], [R1Penalty(weight=0.5, interval=4)]):
        discriminator = Linear()
        trainer = toy_trainer(
            data=toy_data(2),
            gan=False,
            discriminator=discriminator,
            discriminator_optimizer=SGD(discriminator.parameters(), lr=0.01),
            penalties=penalties,
        )
        trainer.run()
        weights.append(discriminator.weight.detach())
    torch.testing.assert_close(weights[1] - weights[0], -0.01 * 4 * 0.5 * Linear().weight.detach())


def test_average_follows_the_generators_steps():
    network = toy_generator()
    ema = exponential_average(network, decay=0.5)
    trainer = toy_trainer(network, ema=ema)
    weights = record(trainer, lambda: copy_state(network))
    expected = weights[0]  # the first update copies
    for n, current in enumerate(weights[1:], start=1):
        keep = min(0.5, (1 + n) / (10 + n))
        expected = {name: keep * expected[name] + (1 - keep) * current[name] for name in current}
    assert difference(expected, copy_state(ema.module)) < 1e-6


def test_rates_and_weights_follow_the_phases():
    phases = [
        Phase("pixel", 2, adversarial=False, decay="linear", final_fraction=0.2, warmup_epochs=0.5),
        Phase("gan", 1, weights={"pixel": 0.0}, learning_rate=0.5, discriminator_learning_rate=0.25, decay="linear"),
    ]
    trainer = toy_trainer(data=toy_data(8), max_epochs=3, phases=phases, learning_rate=0.1)
    seen = record(
        trainer,
        lambda: (
            trainer.phase.name,
            trainer.optimizer.param_groups[0]["lr"],
            trainer.discriminator_optimizer.param_groups[0]["lr"],
        ),
    )
    # 4 iterations an epoch, rates of their middles: epochs 1/8, 3/8, 5/8 ... of a phase
    pixel = [0.25, 0.75, *(1 - 0.8 * (2 * i + 1) / 16 for i in range(2, 8))]
    gan = [1 - (2 * i + 1) / 8 for i in range(4)]
    assert [name for name, _, _ in seen] == ["pixel"] * 8 + ["gan"] * 4
    assert [rate for _, rate, _ in seen] == pytest.approx([0.1 * f for f in pixel] + [0.5 * f for f in gan])
    assert [rate for _, _, rate in seen[8:]] == pytest.approx([0.25 * f for f in gan])
    output = trainer.state.output
    assert float(output["loss"]) == pytest.approx(0.5 * float(output["loss_early"]) + float(output["loss_adversarial"]))


@pytest.mark.parametrize("reset", [True, False])
def test_a_phase_may_begin_with_new_optimizers(reset):
    phases = [Phase("first", 1), Phase("second", 2, reset_optimizers=reset)]
    trainer = toy_trainer(data=toy_data(4), max_epochs=3, phases=phases)

    def steps():
        states = [next(iter(o.state.values())) for o in (trainer.optimizer, trainer.discriminator_optimizer)]
        return [int(state["step"]) for state in states]

    seen = record(trainer, steps)
    expected = [1, 2, 1, 2, 3, 4] if reset else [1, 2, 3, 4, 5, 6]
    assert seen == [[n, n] for n in expected]


# ------------------------------------------------------------------------------------------- guards and precision


@pytest.mark.parametrize("gan", [True, False])
def test_a_non_finite_loss_names_term_and_file_and_changes_no_weight(tmp_path, gan):
    data = toy_data(6)
    data.data[5]["label"][0, 3, 3] = float("nan")
    checkpoint = TrainingCheckpoint(tmp_path, every_iterations=2)
    trainer = toy_trainer(data=data, shuffle=False, gan=gan, checkpoint=checkpoint)
    states = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: states.append(copy_state(trainer.network)))
    term = "critic" if gan else "pixel, early"
    with pytest.raises(NonFiniteLossError, match=rf"loss term {term} is not finite at iteration 3 .*item_5\.png"):
        trainer.run()
    assert len(states) == 3
    assert same_state(states[-1], copy_state(trainer.network))
    again = toy_trainer(data=data, shuffle=False, gan=gan)
    assert checkpoint.restore(again)
    assert again.state.iteration == 2
    assert same_state(states[-1], copy_state(again.network))


def test_bfloat16_is_inside_the_networks_alone():
    inside = set()
    trainer = toy_trainer(precision="bfloat16")
    for network in (trainer.network, trainer.discriminator):
        network.body[0].register_forward_hook(lambda module, args, output: inside.add(output.dtype))
    trainer.run()
    assert inside == {torch.bfloat16}
    assert trainer.objective.dtypes == {torch.float32}
    assert trainer.state.output["pred"].dtype == torch.float32
    exact = toy_trainer()
    exact.run()
    assert float(trainer.state.output["loss"]) == pytest.approx(float(exact.state.output["loss"]), rel=0.05)
    assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}


def test_auto_precision_is_one_of_the_two():
    assert toy_trainer(precision="auto").precision in ("bfloat16", "float32")


def test_channels_last_changes_the_layout_not_the_numbers():
    plain, last = toy_trainer(), toy_trainer(channels_last=True)
    for trainer in (plain, last):
        trainer.run()
    weight = last.network.body[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert difference(copy_state(plain.network), copy_state(last.network)) < 1e-5


def test_a_seed_repeats_a_training_whatever_came_before():
    ends = []
    for before in (1, 2):
        trainer = toy_trainer(toy_generator(dropout=0.5), seed=5)
        torch.manual_seed(before)
        trainer.run()
        ends.append(copy_state(trainer.network))
    assert same_state(*ends)
    other = toy_trainer(toy_generator(dropout=0.5), seed=6)
    other.run()
    assert not same_state(ends[0], copy_state(other.network))


def test_arguments_that_do_not_fit_are_refused():
    for options, message in [
        ({"precision": "half"}, "precision must be one of auto, float32, bfloat16, float16, got 'half'"),
        ({"precision": "float16"}, "precision float16 needs a CUDA device, got cpu"),
        ({"gan": False, "discriminator": ToyDiscriminator()}, "got only one of them"),
        ({"phases": [Phase("gan", 1, weights={"pixle": 0.0})]}, "phase 'gan'.* weights of pixle"),
    ]:
        with pytest.raises(ValueError, match=message):
            toy_trainer(**options)
    loader = DataLoader(toy_data(1), batch_size=2, drop_last=True)
    network = ToyGenerator()
    optimizer = SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="the training loader yields no batch"):
        GanTrainer("cpu", 1, loader, network, optimizer, ToyObjective(), WEIGHTS)


def test_a_term_without_weight_is_named():
    trainer = toy_trainer(weights={"pixel": 1.0, "critic": 1.0})
    with pytest.raises(ValueError, match="expected a weight for every loss term, got none for early, adversarial"):
        trainer.run()
