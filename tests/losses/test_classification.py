"""The objective of training a classifier."""

import math

import pytest
import torch
import torch.nn.functional as F

from common.losses import ClassifierObjective


def test_equal_logits_give_the_logarithm_of_the_number_of_classes():
    terms = ClassifierObjective().generator_terms({"label": torch.tensor([0, 4, 7])}, torch.full((3, 8), 2.5))
    assert terms.keys() == {"cross_entropy"}
    assert terms["cross_entropy"].item() == pytest.approx(math.log(8))


def test_smoothing_mixes_the_target_with_all_classes():
    logits, label = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    target = 0.9 * F.one_hot(label, 4) + 0.1 / 4
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    found = ClassifierObjective(label_smoothing=0.1).generator_terms({"label": label}, logits)["cross_entropy"]
    torch.testing.assert_close(found, expected)


def test_smoothing_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\), got 1"):
        ClassifierObjective(1)
