"""Self-attention with any number of heads.

Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, section 3.2.2; heads
that share keys and values from Ainslie et al. 2023, "GQA", arXiv:2305.13245, section 2; the window
from Beltagy, Peters & Cohan 2020, "Longformer", arXiv:2004.05150, section 3.1.
Differs from the papers: no dilation and no global tokens; the window counts positions on each side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Mixer, Reach
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.attending import attend
from vitruvius.techniques.layers.positions import ALiBi, LearnedPositions, Positions, Rotary
from vitruvius.techniques.layers.shapes import need, need_positive


@dataclass(frozen=True)
class Attention(Mixer):
    """out(softmax(q k' / sqrt(head width)) v), with q, k and v linear in x.

    2 (1 + 1 / sharing) d^2 parameters. 4 T d FLOPs per step for the scores and their use, with a
    window up to 12 window d.
    """

    heads: int = hyper(4, one_of(2, 4, 8), "patterns of attention; they share the width")
    sharing: int = hyper(1, one_of(1, 2), "heads that share their keys and values")
    head_width: int | None = hyper(None, None, "width of a head; None: width / heads")
    window: int | None = hyper(
        None, one_of(None, 32, 64, 128, 256), "tokens seen on each side; None: all of them"
    )
    causal: bool = hyper(False, None, "sees no later token; a Decoder sets it")
    positions: Positions | None = hyper(
        None, None, "Rotary, ALiBi or Unplaced; None: as the network says, or unplaced"
    )
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of the attention weights")
    bias: bool = hyper(True, one_of(True, False), "whether the four maps add numbers of their own")

    def check(self) -> None:
        need_positive(self, "heads", "sharing", "head_width", "window")
        if self.heads % self.sharing:
            raise ValueError(
                f"Attention.sharing must divide its {self.heads} heads; got {self.sharing}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"Attention.dropout must be at least 0 and below 1; got {self.dropout}."
            )
        if isinstance(self.positions, LearnedPositions):
            raise ValueError(
                "Attention.positions takes Rotary(), ALiBi(), Unplaced() or None; learned "
                "positions are added to embeddings: give them to the network or to Tokens."
            )

    def reach(self) -> Reach:
        return Reach(causal=self.causal, cached=self.causal)

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, advice="Attention mixes the steps of a sequence.")
        width = x.shape[-1]
        if self.head_width is None and width % self.heads:
            raise ValueError(
                f"Attention.heads must divide the width; got {self.heads} heads and width {width}. "
                "Take another number of heads, or set Attention.head_width."
            )
        head_width = self.head_width or width // self.heads
        turning = self.positions.build(head_width) if isinstance(self.positions, Rotary) else None
        slopes = self.positions.slopes(self.heads) if isinstance(self.positions, ALiBi) else ()
        return SelfAttention(
            width,
            self.heads,
            self.heads // self.sharing,
            head_width,
            self.causal,
            self.window,
            turning,
            slopes,
            self.dropout,
            self.bias,
        )


class SelfAttention(nn.Module):
    """Maps to queries, keys and values, and back from what was attended to.

    ``prefix``, where an adapter sets it, is called with the number of key heads and gives keys and
    values [B or 1, key heads, any number, head width] that every token sees, at no position; or
    None.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        key_heads: int,
        head_width: int,
        causal: bool,
        window: int | None,
        turning: nn.Module | None,
        slopes: tuple[float, ...],
        dropout: float,
        bias: bool,
        place: str = "0",
    ) -> None:
        super().__init__()
        self.width, self.heads, self.key_heads, self.head_width = (
            width,
            heads,
            key_heads,
            head_width,
        )
        self.causal, self.window, self.slopes = causal, window, slopes
        self.dropout, self.bias, self.place = dropout, bias, place
        self.turning = turning
        self.query = nn.Linear(width, heads * head_width, bias)
        self.key = nn.Linear(width, key_heads * head_width, bias)
        self.value = nn.Linear(width, key_heads * head_width, bias)
        self.out = nn.Linear(heads * head_width, width, bias)
        self.prefix: Callable[[int], tuple[Tensor, Tensor] | None] | None = None

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        query, key, value = self.mapped(x)
        if self.turning is not None:
            query, key = self.turning(query, layout), self.turning(key, layout)
        if layout.cache is not None:
            key, value = self.remember(key, value, layout.cache)
        added = 0
        first = None if self.prefix is None else self.prefix(self.key_heads)
        if first is not None:
            first_keys, first_values = first
            added = first_keys.shape[2]
            rows = (len(x), -1, -1, -1)
            key = torch.cat((first_keys.to(key.dtype).expand(rows), key), 2)
            value = torch.cat((first_values.to(value.dtype).expand(rows), value), 2)
        mixed = attend(
            query,
            key,
            value,
            layout,
            self.causal,
            self.window,
            self.slopes,
            self.dropout if self.training else 0.0,
            prefix=added,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [B heads T head width].

        In training by one product with the three matrices, so that x is read and cast once; not
        where one of them was replaced or is watched.
        """
        maps: tuple[Any, ...] = (self.query, self.key, self.value)
        counts = [self.heads, self.key_heads, self.key_heads]
        if self.training and all(map(_is_plain, maps)):
            weight = torch.cat([part.weight for part in maps])
            bias = torch.cat([part.bias for part in maps]) if self.bias else None
            made = nn.functional.linear(x, weight, bias)
            heads = made.unflatten(-1, (sum(counts), self.head_width)).transpose(1, 2)
            query, key, value = heads.split(counts, 1)
            return query, key, value
        query, key, value = (
            part(x).unflatten(-1, (count, self.head_width)).transpose(1, 2)
            for part, count in zip(maps, counts, strict=True)
        )
        return query, key, value

    def remember(
        self, key: Tensor, value: Tensor, cache: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """All keys and values so far, these included."""
        for name, new in (("key", key), ("value", value)):
            place = f"{self.place}.{name}"
            cache[place] = torch.cat((cache[place], new), 2) if place in cache else new
        return cache[f"{self.place}.key"], cache[f"{self.place}.value"]


def _is_plain(part: nn.Module) -> bool:
    """Whether it computes what its weight and bias say, and nobody listens."""
    heard = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
    return type(part) is nn.Linear and not (heard or part._backward_pre_hooks)
