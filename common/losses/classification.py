"""The objective of training a classifier."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn


class ClassifierObjective:
    """Cross entropy of a classifier's logits; for a training without discriminator.

    Args:
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, arXiv 1512.00567).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """``cross_entropy`` of logits ``(batch, n_classes)`` and ``batch["label"]``, ``(batch,)`` numbers of classes.

        Equal logits give ``log(n_classes)``.
        """
        return {"cross_entropy": F.cross_entropy(outputs, batch["label"], label_smoothing=self.label_smoothing)}
