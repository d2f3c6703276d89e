"""From ids to vectors: the stem of networks that read text.

Source: Bengio et al. 2003, "A neural probabilistic language model"; tables narrower than the
network from Lan et al. 2020, "ALBERT", arXiv:1909.11942, section 3.1; norm and dropout from Devlin
et al. 2019, "BERT", arXiv:1810.04805.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer, Stem
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.dropping import dropped
from vitruvius.techniques.layers.layer_norm import LayerNorm
from vitruvius.techniques.layers.positions import LearnedPositions, Positions
from vitruvius.techniques.layers.rms_norm import RMSNorm
from vitruvius.techniques.layers.shapes import need_layers, need_positive


@dataclass(frozen=True)
class Tokens(Stem):
    """x = scale * table[id] (+ position), normed, and mapped to the width where the table has less.

    vocabulary * inner parameters, and inner * width where inner is given.
    """

    width: int = hyper(256, one_of(64, 128, 256, 384, 512, 768), "features of each token")
    vocabulary: int | None = hyper(None, None, "ids there are; None: the tokenizer's")
    inner: int | None = hyper(None, one_of(None, 64, 128), "width of the table; None: the width")
    positions: Positions | None = hyper(
        None, None, "LearnedPositions to add; None: as the network says, or none"
    )
    norm: Layer | None = hyper(
        LayerNorm(), one_of(None, LayerNorm(), RMSNorm()), "of the embeddings"
    )
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of the embeddings")
    scale: float = hyper(1.0, None, "factor of what the table holds")

    @classmethod
    def example(cls) -> Tokens:
        return cls(vocabulary=100)

    def sized(self, vocabulary: int) -> Tokens:
        """The same with so many ids, where none were given."""
        return self if self.vocabulary is not None else self.replace(vocabulary=vocabulary)

    def check(self) -> None:
        need_positive(self, "width", "vocabulary", "inner")
        if self.norm is not None:
            need_layers(self, "norm")
        if self.positions is not None and not isinstance(self.positions, LearnedPositions):
            raise ValueError(
                f"Tokens.positions takes LearnedPositions() or None; got {self.positions!r}. "
                "Others belong to attention: give them to the network."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Tokens.dropout must be at least 0 and below 1; got {self.dropout}.")

    def build(self, x: Tensor) -> nn.Module:
        if x.dim() != 2 or x.is_floating_point():
            raise ValueError(
                f"Tokens needs ids [B, T] of whole numbers; got {list(x.shape)} of {x.dtype}."
            )
        if self.vocabulary is None:
            raise ValueError(
                "Tokens.vocabulary must be known to build; got None. "
                "Give the number of ids that the tokenizer has."
            )
        inner, positions, norm = self.inner or self.width, None, None
        if isinstance(self.positions, LearnedPositions):
            if x.shape[1] > self.positions.longest:
                raise ValueError(
                    f"LearnedPositions.longest is {self.positions.longest}; got rows of "
                    f"{x.shape[1]} tokens. Cut them, or learn more positions."
                )
            positions = self.positions.build(inner)
        if self.norm is not None:
            norm = self.norm.build(x.new_empty((*x.shape, inner), dtype=torch.float32))
        project = nn.Linear(inner, self.width) if inner != self.width else None
        table = TokenTable(self.vocabulary, inner)
        return TokenStem(table, positions, norm, project, self.dropout, self.scale)


class TokenTable(nn.Module):
    """A vector for each id."""

    parameter_kinds = {"weight": "embedding"}  # noqa: RUF012

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vocabulary, self.width = vocabulary, width
        self.weight = nn.Parameter(torch.empty(vocabulary, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.weight)


class TokenStem(nn.Module):
    """Ids [B T] to x [B T d]; the layout passes."""

    def __init__(
        self,
        table: nn.Module,
        positions: nn.Module | None,
        norm: nn.Module | None,
        project: nn.Module | None,
        dropout: float,
        scale: float,
    ) -> None:
        super().__init__()
        self.table, self.positions, self.norm, self.project = table, positions, norm, project
        self.dropout, self.scale = dropout, scale
        self.normed = norm is not None and project is None

    def forward(self, values: Tensor, layout: Any) -> tuple[Tensor, Any]:
        x = self.table(values)
        if self.scale != 1.0:
            x = x * self.scale
        if self.positions is not None:
            x = self.positions(x, layout)
        if self.norm is not None:
            x = self.norm(x)
        x = dropped(x, self.dropout, self.training)
        if self.project is not None:
            x = self.project(x)
        return x, layout
