"""A layer of a transformer: mixing, then feed-forward, each around a shortcut.

Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, section 3.1 (norms after
the sum); Xiong et al. 2020, "On layer normalization in the transformer architecture",
arXiv:2002.04745, section 3.2 (norms before the parts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vitruvius.contracts import Layer, Mixer, Reach
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.attention import Attention
from vitruvius.techniques.layers.dropping import dropped
from vitruvius.techniques.layers.feed_forward import FeedForward
from vitruvius.techniques.layers.layer_norm import LayerNorm
from vitruvius.techniques.layers.rms_norm import RMSNorm
from vitruvius.techniques.layers.shapes import need, need_layers, need_option


@dataclass(frozen=True)
class Block(Mixer):
    """x + f(norm(x)) for the mixer, then for the feed-forward; "post": norm(x + f(x)).

    Costs what its two parts cost.
    """

    mixer: Mixer = hyper(Attention(), Attention.space(), "what mixes positions")
    feed_forward: Layer = hyper(FeedForward(), FeedForward.space(), "what works on each alone")
    norm: Layer = hyper(LayerNorm(), one_of(LayerNorm(), RMSNorm()), "of each of the two parts")
    order: str = hyper("pre", one_of("pre", "post"), "norms before the parts or after the sums")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of what a part adds")
    residual: float = hyper(1.0, None, "factor of what a part adds")

    def check(self) -> None:
        need_layers(self, "mixer", "feed_forward", "norm")
        need_option(self, "order", "pre", "post")
        if not isinstance(self.mixer, Mixer):
            raise ValueError(f"Block.mixer takes a mixer such as Attention(); got {self.mixer!r}.")
        if self.feed_forward.reads_layout or self.norm.reads_layout:
            raise ValueError("Block.feed_forward and Block.norm take layers of each step alone.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Block.dropout must be at least 0 and below 1; got {self.dropout}.")

    def reach(self) -> Reach:
        return self.mixer.reach()

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, advice="A Block works on sequences.")
        return ResidualBlock(
            self.mixer.build(x),
            self.feed_forward.build(x),
            self.norm.build(x),
            self.norm.build(x),
            self.order == "pre",
            self.dropout,
            self.residual,
        )


class ResidualBlock(nn.Module):
    """Two parts, each with its norm and its shortcut."""

    def __init__(
        self,
        mixer: nn.Module,
        feed_forward: nn.Module,
        mixer_norm: nn.Module,
        feed_forward_norm: nn.Module,
        pre: bool,
        dropout: float,
        residual: float,
    ) -> None:
        super().__init__()
        self.mixer, self.feed_forward = mixer, feed_forward
        self.mixer_norm, self.feed_forward_norm = mixer_norm, feed_forward_norm
        self.pre, self.dropout, self.residual = pre, dropout, residual

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        if self.pre:
            x = x + self.scaled(self.mixer(self.mixer_norm(x), layout))
            return x + self.scaled(self.feed_forward(self.feed_forward_norm(x)))
        x = self.mixer_norm(x + self.scaled(self.mixer(x, layout)))
        return self.feed_forward_norm(x + self.scaled(self.feed_forward(x)))

    def scaled(self, added: Tensor) -> Tensor:
        added = dropped(added, self.dropout, self.training)
        return added if self.residual == 1.0 else self.residual * added
