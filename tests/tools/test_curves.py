"""`python -m tools curves`."""

import csv

import numpy as np
import pytest
from PIL import Image

from tools.curves import curves, read_column


@pytest.fixture
def runs(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "phase", "psnr", "loss_critic"])
            writer.writeheader()
            writer.writerows(
                {"epoch": n, "phase": "gan", "psnr": 20 + n if n % 2 else "", "loss_critic": 1 / n} for n in range(1, 6)
            )
    return tmp_path


def test_epochs_without_a_value_are_left_out(runs):
    epochs, numbers = read_column(runs / "a" / "history.csv", "psnr")
    np.testing.assert_array_equal(epochs, [1, 3, 5])
    np.testing.assert_array_equal(numbers, [21, 23, 25])


def test_a_figure_has_a_panel_for_each_column_and_a_colour_for_each_label(runs):
    for values, name in (("psnr", "one.png"), ("psnr,loss_critic", "two.png")):
        curves(f"srgan={runs / 'a'},srgan_d={runs / 'b'}", values=values, out=str(runs / "figures" / name))
    with Image.open(runs / "figures" / "one.png") as one, Image.open(runs / "figures" / "two.png") as two:
        assert two.width == one.width
        assert two.height > 1.5 * one.height
        colours = {colour for _, colour in one.convert("RGB").getcolors(maxcolors=2**24)}
    assert len([c for c in colours if c[2] > c[0] + 80]) > 0, "no blue"
    assert len([c for c in colours if c[0] > c[2] + 80]) > 0, "no brown"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runs": "a"}, "expected LABEL=DIR, got 'a'"),
        ({"runs": "x=none"}, "none/history.csv: no such file"),
        ({"runs": "x=a", "values": "speed"}, "no values in a column 'speed'; it has epoch, phase, psnr, loss_critic"),
    ],
)
def test_what_cannot_be_drawn_is_refused(runs, arguments, message, monkeypatch):
    monkeypatch.chdir(runs)
    with pytest.raises(ValueError, match=message):
        curves(**arguments)
    assert not (runs / "curves.png").exists()
