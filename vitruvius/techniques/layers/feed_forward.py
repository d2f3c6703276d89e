"""The feed-forward part of a transformer.

Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, section 3.3; gates from
Shazeer 2020, "GLU variants improve transformer", arXiv:2002.05202, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.activations import GELU, ReLU, SiLU
from vitruvius.techniques.layers.dropping import dropped
from vitruvius.techniques.layers.shapes import need, need_layers


@dataclass(frozen=True)
class FeedForward(Layer):
    """down(f(up(x))) of each step alone; gated down(f(gate(x)) * up(x)), which is SwiGLU with SiLU.

    2 ratio d^2 parameters, gated 3 ratio d^2; twice as many FLOPs per step.
    """

    ratio: float = hyper(4.0, one_of(1.0, 2.0, 2.667, 4.0), "width inside, over the width outside")
    activation: Layer = hyper(GELU(), one_of(GELU(), ReLU(), SiLU()), "f")
    gated: bool = hyper(False, one_of(False, True), "whether f is a factor of what passes")
    bias: bool = hyper(True, one_of(True, False), "whether each map adds numbers of its own")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of the inside")

    def check(self) -> None:
        need_layers(self, "activation")
        if self.ratio <= 0:
            raise ValueError(f"FeedForward.ratio must be above 0; got {self.ratio}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"FeedForward.dropout must be at least 0 and below 1; got {self.dropout}."
            )

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 2, 3, advice="It works on the last axis. For images use Conv.")
        width = x.shape[-1]
        inner = max(1, round(self.ratio * width))
        activation = self.activation.build(x.new_empty((*x.shape[:-1], inner)))
        return TwoMaps(width, inner, activation, self.gated, self.bias, self.dropout)


class TwoMaps(nn.Module):
    """From ``width`` to ``inner`` numbers and back."""

    def __init__(
        self,
        width: int,
        inner: int,
        activation: nn.Module,
        gated: bool,
        bias: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width, self.inner, self.gated = width, inner, gated
        self.bias, self.dropout = bias, dropout
        self.activation = activation
        self.gate = nn.Linear(width, inner, bias) if gated else None
        self.up = nn.Linear(width, inner, bias)
        self.down = nn.Linear(inner, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            x = self.activation(self.up(x))
        else:
            x = self.activation(self.gate(x)) * self.up(x)
        return self.down(dropped(x, self.dropout, self.training))
