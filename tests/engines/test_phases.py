"""Phases: which one at which epoch, and the learning rates in it."""

import math

import pytest

from common.engines import Phase, PhaseSchedule


def test_phases_follow_one_another_and_the_last_one_stays():
    schedule = PhaseSchedule([Phase("a", 2), Phase("nothing", 0), Phase("b", 3)])
    assert schedule.epochs == 5
    for epochs, expected in {
        0: ("a", 0),
        1.9: ("a", 1.9),
        2: ("b", 0),
        4.5: ("b", 2.5),
        5: ("b", 3),
        9: ("b", 7),
    }.items():
        phase, inside = schedule.at(epochs)
        assert (phase.name, inside) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {0: 1, 5: 1, 10: 1, 20: 1}),
        ({"decay": "linear", "final_fraction": 0.06}, {0: 1, 5: 0.53, 10: 0.06, 20: 0.06}),
        ({"decay": "linear"}, {0: 1, 2.5: 0.75, 10: 0}),
        ({"decay": "cosine", "final_fraction": 0.2}, {0: 1, 5: 0.6, 2.5: 0.6 + 0.4 * math.sqrt(0.5), 10: 0.2, 11: 0.2}),
        ({"warmup_epochs": 2}, {0: 0, 0.5: 0.25, 1: 0.5, 2: 1}),
        ({"warmup_epochs": 0.5, "decay": "linear"}, {0.25: 0.5, 5: 0.5}),
        ({"decay": "step", "step_epochs": 4}, {0: 1, 3.99: 1, 4: 0.1, 7.9: 0.1, 8: 0.01, 13: 0.001}),
        ({"decay": "step", "step_epochs": 2.5, "step_factor": 0.5}, {2.4: 1, 2.5: 0.5, 9: 0.125}),
        ({"decay": "step", "step_epochs": 4, "warmup_epochs": 1}, {0.5: 0.5, 1: 1, 4.5: 0.1}),
    ],
)
def test_rate_factor(options, expected):
    phase = Phase("train", 10, **options)
    assert {epochs: phase.rate_factor(epochs) for epochs in expected} == pytest.approx(expected)


def test_bad_phases_are_refused():
    with pytest.raises(ValueError, match="phase 'gan': decay must be one of constant, linear, cosine, step, got 'no'"):
        Phase("gan", 1, decay="no")
    for options in ({"decay": "step"}, {"decay": "step", "step_epochs": 0}, {"decay": "linear", "step_epochs": 2}):
        with pytest.raises(ValueError, match="phase 'gan': expected step_epochs above 0 with decay 'step', and None"):
            Phase("gan", 1, **options)
    with pytest.raises(ValueError, match="phase 'gan': epochs must be at least 0, got -1"):
        Phase("gan", -1)
    with pytest.raises(ValueError, match="at least one phase of one epoch"):
        PhaseSchedule([Phase("gan", 0)])


def test_one_schedule_spans_phases():
    """Warm-up and fall run on over the border; the phase after begins its own."""
    options = {"decay": "cosine", "final_fraction": 0.1, "warmup_epochs": 2}
    phases = PhaseSchedule([Phase("small", 4, **options), Phase("full", 6, same_schedule=True), Phase("gan", 2)])
    whole = Phase("whole", 10, **options)
    for epochs in (0, 1, 3.9, 4, 7.5, 9.99):
        factor, phase = phases.rate(epochs)
        assert factor == pytest.approx(whole.rate_factor(epochs))
        assert phase.name == "small"
    assert phases.rate(10) == (1.0, phases.phases[2])
    assert phases.rate(13) == (1.0, phases.phases[2])
