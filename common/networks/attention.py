"""Self-attention at the coarsest level of a U-Net."""

from torch import Tensor, nn


class BottleneckAttention(nn.Module):
    """Self-attention between all places of a feature map, added to it; nothing is added at the start.

    Vaswani et al. 2017, arXiv 1706.03762, with group norm before and one projection after.

    Args:
        channels: a multiple of ``n_heads``.
        n_heads: attention heads.
    """

    def __init__(self, channels: int, n_heads: int = 4) -> None:
        super().__init__()
        if channels % n_heads:
            raise ValueError(f"expected channels to be a multiple of n_heads={n_heads}, got {channels}")
        self.n_heads = n_heads
        self.norm = nn.GroupNorm(1, channels)
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.output.weight)
        if self.output.bias is not None:
            nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to the same."""
        batch, channels, height, width = features.shape
        heads = self.queries_keys_values(self.norm(features)).reshape(
            batch, 3 * self.n_heads, channels // self.n_heads, height * width
        )
        queries, keys, values = heads.transpose(2, 3).chunk(3, dim=1)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return features + self.output(attended.transpose(2, 3).reshape(batch, channels, height, width))
