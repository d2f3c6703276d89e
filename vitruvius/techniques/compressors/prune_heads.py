"""Remove whole heads of attention.

Source: Chen et al. 2023, "DSEE: Dually sparsity-embedded efficient tuning of pre-trained language
models", arXiv:2111.00160, section 3.4; that heads can go at all is from Michel, Levy & Neubig 2019,
"Are sixteen heads really better than one?", arXiv:1905.10650.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Compressed,
    Compressor,
    Given,
    Layer,
    Mixer,
    Model,
    Structure,
    base_parameters,
)
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.compressors.heads import Headed, Heads, cut, heads_of
from vitruvius.techniques.compressors.importance import RULES, importance, need_rule
from vitruvius.techniques.compressors.prune_weights import copy_of
from vitruvius.techniques.layers import Attention, Block
from vitruvius.techniques.layers.attention import SelfAttention
from vitruvius.techniques.layers.transformer import Transformer


@dataclass(frozen=True)
class PruneHeads(Compressor):
    """The ``share`` of the heads of each attention that counts least is gone, with its weights.

    A head counts the sum over its rows of the query's and the value's map. Those rows go, the key's
    and the columns of the map back: the answers are those of the model whose map back is zero in
    these columns. Heads that share keys and values go together with them; where all share one key
    and value, these stay. At least one head, or group, stays. The model is the base without its
    adapter, which is ``given.adapted`` and follows by ``restrict``.

    Bodies of transformers lose heads too, where a trial shows that they compute the same.
    """

    share: float = hyper(0.25, uniform(0.1, 0.75), "share of the heads of each attention that goes")
    importance: str = hyper(
        "change", one_of(*RULES), "by |W|, the change |dW|, both |W + dW|, or drawn"
    )

    @classmethod
    def example(cls) -> PruneHeads:
        return cls(importance="weight")

    def check(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"PruneHeads.share must be above 0 and below 1; got {self.share}.")
        need_rule("PruneHeads", self.importance)

    def compress(self, model: Model, given: Given) -> Compressed:
        made = copy_of(model)
        kept: dict[str, Tensor] = {}
        axes: dict[str, int] = {}
        for stream, body in headed(made).items():
            found = body.attentions()
            stays = {
                path: self.stays(heads, f"{stream}.", model, given) for path, heads in found.items()
            }
            one, axis = body.keep_heads(stays)
            kept |= {f"{stream}.{name}": places for name, places in one.items()}
            axes |= {f"{stream}.{name}": number for name, number in axis.items()}
        designs = {
            stream: thinner(design, own_attentions(made.bodies[stream]))
            for stream, design in made.designs.items()
        }
        return Compressed(replace(made, designs=designs), Structure({}, kept, axes))

    def stays(self, heads: Heads, stream: str, model: Model, given: Given) -> Tensor:
        """Which of the heads of an attention, or groups of them, count most, in their order."""
        weights = {f"{stream}{path}.weight": rows for path, rows in heads.counted.items()}
        parameters = {name: p for name, p in base_parameters(model).items() if name in weights}
        scores = importance(parameters, self.importance, given)
        counts = torch.zeros(heads.count)
        for name, rows in weights.items():
            counts += scores[name].float().sum(1).cpu()[rows].sum(1)
        gone = min(round(self.share * heads.count), heads.count - 1)
        return counts.sort(stable=True).indices[gone:].sort().values


def headed(model: Model) -> Mapping[str, Headed]:
    """Its bodies by the first stream of each. Raises ValueError where heads of none can go."""
    found: dict[nn.Module, str] = {}
    for stream, body in model.bodies.items():
        if isinstance(body, Headed) or own_attentions(body):
            found.setdefault(body, stream)
    if not found:
        raise ValueError(
            "PruneHeads removes heads of Attention(), and no body here has one. Take PruneWeights."
        )
    return {
        stream: body if isinstance(body, Headed) else OwnHeads(body)
        for body, stream in found.items()
    }


def own_attentions(body: nn.Module) -> dict[str, SelfAttention]:
    """By path, each once."""
    return {p: part for p, part in body.named_modules() if isinstance(part, SelfAttention)}


class OwnHeads:
    """The attentions of our layers in a body."""

    def __init__(self, body: nn.Module) -> None:
        self.body, self.parts = body, own_attentions(body)

    def attentions(self) -> Mapping[str, Heads]:
        found: dict[str, Heads] = {}
        for path, part in self.parts.items():
            if part.slopes:
                raise ValueError(
                    f"PruneHeads removes heads that have no slope of their own; {path} has "
                    "ALiBi(). Take PruneWeights."
                )
            query, key, value, out = (f"{path}.{n}" for n in ("query", "key", "value", "out"))
            paths = query, key, value, out
            found[path] = heads_of(paths, part.heads, part.key_heads, part.head_width)
        return found

    def keep_heads(self, stays: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
        kept: dict[str, Tensor] = {}
        axes: dict[str, int] = {}
        for path, heads in self.attentions().items():
            one, axis = cut(self.body, heads, stays[path])
            part = self.parts[path]
            part.heads = len(stays[path]) * heads.each
            part.key_heads = len(stays[path]) * heads.key_heads or 1
            kept |= one
            axes |= axis
        return kept, axes


def thinner(design: Layer, left: Mapping[str, SelfAttention]) -> Layer:
    """The design of what is left: in the order of its blocks, each attention as it is now."""
    waiting = list(left.values())

    def thin(mixer: Mixer) -> Mixer:
        if isinstance(mixer, Block):
            return mixer.replace(mixer=thin(mixer.mixer))
        if isinstance(mixer, Attention) and waiting:
            part = waiting.pop(0)
            sharing = part.heads // part.key_heads
            return mixer.replace(heads=part.heads, sharing=sharing, head_width=part.head_width)
        return mixer

    if isinstance(design, Transformer):
        design = design.replace(blocks=tuple(map(thin, design.blocks)))
    if waiting:
        raise ValueError(
            "PruneHeads knows the attention of an Encoder or a Decoder, in its blocks; "
            f"got {design!r:.60}. Take PruneWeights."
        )
    return design
