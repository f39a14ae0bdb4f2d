"""The objective of training a classifier of textures."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn


class ClassifierObjective:
    """Cross entropy of a classifier's logits; for a training without discriminator."""

    def generator_terms(
        self, batch: Mapping[str, Tensor], outputs: Tensor, discriminator: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """``cross_entropy`` of logits ``(batch, n_classes)`` and ``batch["label"]``, ``(batch,)`` numbers of classes.

        Equal logits give ``log(n_classes)``.
        """
        return {"cross_entropy": F.cross_entropy(outputs, batch["label"])}
