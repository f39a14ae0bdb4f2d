"""Degradations by several names."""

import pytest
import torch

from common.operators.degradation import degradation

IMAGE = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_of_several_names_one_is_drawn_for_each_sample():
    options = {"mr": {"noise_std": 0.0}}
    both = degradation(["bicubic", "mr"], 4, options)
    assert both.upscale == 4
    mixed = both(IMAGE, torch.Generator().manual_seed(1))
    bicubic, mr = (degradation(name, 4, options.get(name))(IMAGE, torch.Generator()) for name in ("bicubic", "mr"))
    is_bicubic = (mixed - bicubic).abs().amax(dim=(1, 2, 3)) < 1e-6
    is_mr = (mixed - mr).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert (is_bicubic ^ is_mr).all()
    assert 0.25 < is_mr.float().mean() < 0.75


def test_options_go_by_name():
    with pytest.raises(ValueError, match="degradations bicubic, mr: expected options by their names, got 'noise_std'"):
        degradation(["bicubic", "mr"], 4, {"noise_std": 0.1})
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        degradation(["bicubic", "fog"], 4)
