"""Encoders and decoders: a stem, blocks that may each be another, and a last norm.

Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762; encoders alone from
Devlin et al. 2019, "BERT", arXiv:1810.04805; decoders alone from Radford et al. 2018, "Improving
language understanding by generative pre-training".
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer, Layout, Mixer, Reach, Stem
from vitruvius.space import Repeat, hyper, one_of
from vitruvius.techniques.layers.attention import Attention, SelfAttention
from vitruvius.techniques.layers.block import Block, ResidualBlock
from vitruvius.techniques.layers.layer_norm import LayerNorm
from vitruvius.techniques.layers.positions import ALiBi, LearnedPositions, Positions, Rotary
from vitruvius.techniques.layers.rms_norm import RMSNorm
from vitruvius.techniques.layers.shapes import Unfit, keys, need_layers
from vitruvius.techniques.layers.tokens import Tokens

DEPTHS: Any = (Repeat(Block.space(), times=one_of(2, 4, 6, 8), tied=True),)


@dataclass(frozen=True)
class Transformer(Layer):
    """What encoders and decoders share: the module maps (ids [B T], layout) to hidden [B T d].

    With another stem it maps what that reads: Patches reads images [B C H W]. Where the stem ends
    in a norm, the first block does not norm again. Without blocks a token knows of no other: the
    mean of its hidden states is that of the embeddings (a bag of words).
    """

    stem: Stem = hyper(Tokens(), Tokens.space(), "from ids to vectors")
    blocks: tuple[Mixer, ...] = hyper(
        (Block(), Block(), Block(), Block()),
        DEPTHS,
        "layers, first to last; Repeat without tied lets each be another",
    )
    positions: Positions | None = hyper(
        Rotary(),
        one_of(LearnedPositions(), Rotary(), ALiBi()),
        "how order is known, by the stem and all attention that do not say it themselves",
    )
    norm: Layer | None = hyper(
        LayerNorm(), one_of(LayerNorm(), RMSNorm()), "after the last block, where it is pre-norm"
    )
    reads_layout: ClassVar[bool] = True

    def check(self) -> None:
        name = type(self).__name__
        if not isinstance(self.stem, Stem):
            raise ValueError(f"{name}.stem takes a stem such as Tokens(); got {self.stem!r}.")
        for block in self.blocks:
            if not isinstance(block, Mixer):
                raise ValueError(
                    f"{name}.blocks takes mixers such as Block(); got {block!r:.60}. "
                    "A layer of each step alone belongs into Block.feed_forward."
                )
        if self.norm is not None:
            need_layers(self, "norm")

    def sized(self, vocabulary: int) -> Transformer:
        """The same with so many ids, where its stem was given none."""
        stem = self.stem
        return self.replace(stem=stem.sized(vocabulary)) if isinstance(stem, Tokens) else self

    @abstractmethod
    def settled(self) -> tuple[Mixer, ...]:
        """Its blocks, with what the network says of all of them."""

    def reach(self) -> Reach:
        """What a position of the whole network sees."""
        each = [block.reach() for block in self.settled()]
        lengths = [reach.longest for reach in each if reach.longest is not None]
        positions = self._stem().positions if isinstance(self.stem, Tokens) else None
        if isinstance(positions, LearnedPositions):
            lengths.append(positions.longest)
        return Reach(
            causal=all(reach.causal for reach in each),
            segmented=all(reach.segmented for reach in each),
            cached=all(reach.cached for reach in each),
            coupled=any(reach.coupled for reach in each),
            longest=min(lengths, default=None),
        )

    def build(self, x: Tensor) -> nn.Module:
        """The module for ids [B T], or what else the stem reads, on meta."""
        try:
            stem = self._stem().build(x)
        except ValueError as error:
            raise Unfit("stem", str(error)) from error
        hidden = _hidden(stem, x)
        modules = []
        for address, block in zip(keys(self.blocks), self.settled(), strict=True):
            try:
                module = block.build(hidden)
            except ValueError as error:
                raise Unfit(f"blocks.{address}", str(error)) from error
            for part in module.modules():
                if isinstance(part, SelfAttention):
                    part.place = str(len(modules))
            modules.append(module)
        first = next(iter(modules), None)
        if isinstance(first, ResidualBlock) and first.pre and stem.normed:
            first.mixer_norm = nn.Identity()
        last = next(reversed(self.blocks), None)
        pre = bool(modules) and (not isinstance(last, Block) or last.order == "pre")
        norm = self.norm.build(hidden) if self.norm is not None and pre else None
        return TokenNetwork(stem, nn.ModuleList(modules), norm)

    def _stem(self) -> Any:
        stem = self.stem
        learned = isinstance(self.positions, LearnedPositions)
        if learned and isinstance(stem, Tokens) and stem.positions is None:
            return stem.replace(positions=self.positions)
        return stem

    def _given(self, block: Mixer, causal: bool) -> Mixer:
        """A block whose attention knows the network's positions, and whether it is causal."""
        inner = block.mixer if isinstance(block, Block) else block
        if not isinstance(inner, Attention):
            return block
        relative = None if isinstance(self.positions, LearnedPositions) else self.positions
        mixer = inner.replace(
            positions=relative if inner.positions is None else inner.positions,
            causal=causal or inner.causal,
        )
        return block.replace(mixer=mixer) if isinstance(block, Block) else mixer


@dataclass(frozen=True)
class Encoder(Transformer):
    """Hidden states in which each token has seen those of its document on both sides.

    Costs what its stem and blocks cost.
    """

    def settled(self) -> tuple[Mixer, ...]:
        return tuple(self._given(block, causal=False) for block in self.blocks)


@dataclass(frozen=True)
class Decoder(Transformer):
    """Hidden states in which each token has seen none that is later; keys and values can be kept.

    Costs what its stem and blocks cost.
    """

    def check(self) -> None:
        super().check()
        for block in self.settled():
            if not block.reach().causal:
                raise ValueError(
                    f"Decoder.blocks must see no later token; got {block!r:.60}. "
                    "Take a mixer that is causal, or an Encoder."
                )

    def settled(self) -> tuple[Mixer, ...]:
        return tuple(self._given(block, causal=True) for block in self.blocks)


def _hidden(stem: nn.Module, x: Tensor) -> Tensor:
    """What comes out of a stem for x, on meta: its shape alone is told."""
    values = torch.empty_like(x, device="meta")
    ids = values if not x.is_floating_point() else values.new_empty((len(x), 1), dtype=torch.long)
    told = {n: t.to("meta") for n, t in (*stem.named_parameters(), *stem.named_buffers())}
    with torch.no_grad():
        return torch.func.functional_call(stem, told, (values, Layout(ids, ids)))[0]


class TokenNetwork(nn.Module):
    """A stem, blocks and a last norm. ``taps`` is filled for the names that it holds.

    "stem" is what the stem gives, "layer.N" what block N does, counted from 0, before the norm.
    """

    def __init__(self, stem: nn.Module, blocks: nn.ModuleList, norm: nn.Module | None) -> None:
        super().__init__()
        self.stem, self.blocks, self.norm = stem, blocks, norm

    def forward(
        self, values: Tensor, layout: Any, taps: dict[str, Tensor | None] | None = None
    ) -> Tensor:
        layout = replace(layout, shared={})
        if layout.cache is not None:
            for name in ("positions", "segments"):
                new, cache = getattr(layout, name), layout.cache
                cache[name] = torch.cat((cache[name], new), 1) if name in cache else new
        x, layout = self.stem(values, layout)
        wanted = {} if taps is None else taps
        if "stem" in wanted:
            wanted["stem"] = x
        for number, block in enumerate(self.blocks):
            x = block(x, layout)
            if f"layer.{number}" in wanted:
                wanted[f"layer.{number}"] = x
        unknown = [name for name, value in wanted.items() if value is None]
        if unknown:
            raise ValueError(
                f"There is no tap {unknown[0]!r}; there is 'stem' and 'layer.0' to "
                f"'layer.{len(self.blocks) - 1}'."
            )
        return x if self.norm is None else self.norm(x)


def narrowed(design: Transformer, ratio: float, depth: float = 1.0) -> Transformer:
    """A network ``ratio`` times as wide with ``depth`` times the blocks, from the first on.

    Heads keep their width and become fewer; feed-forward parts keep their own ratio. At least one
    head and one block stay.
    """
    stem = design.stem
    if not isinstance(stem, Tokens):
        raise ValueError(f"A network is narrowed by its Tokens(); its stem is {stem!r:.60}.")
    blocks = design.blocks[: max(1, round(depth * len(design.blocks)))]
    inner = [block.mixer if isinstance(block, Block) else block for block in blocks]
    attention = [mixer for mixer in inner if isinstance(mixer, Attention)]
    unit = math.lcm(*(a.head_width or stem.width // a.heads for a in attention), 1)
    width = unit * max(1, round(ratio * stem.width / unit))

    def narrow(block: Mixer) -> Mixer:
        mixer = block.mixer if isinstance(block, Block) else block
        if not isinstance(mixer, Attention):
            return block
        head_width = mixer.head_width or stem.width // mixer.heads
        heads = max(1, round(width / head_width))
        fewer = mixer.replace(heads=heads, sharing=math.gcd(mixer.sharing, heads))
        return block.replace(mixer=fewer) if isinstance(block, Block) else fewer

    return design.replace(stem=stem.replace(width=width), blocks=tuple(map(narrow, blocks)))
