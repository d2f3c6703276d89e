"""Remove whole heads of attention.

Source: Chen et al. 2023, "DSEE: Dually sparsity-embedded efficient tuning of pre-trained language
models", arXiv:2111.00160, section 3.4; that heads can go at all is from Michel, Levy & Neubig 2019,
"Are sixteen heads really better than one?", arXiv:1905.10650.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitruvius.contracts import Compressed, Compressor, Given, Layer, Mixer, Model, Structure
from vitruvius.space import hyper, one_of, uniform
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
    these columns. At least one head stays. The model is the base without its adapter, which is
    ``given.adapted`` and follows by ``restrict``.
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
        found = attentions(made)
        weights = {
            f"{path}.{name}.weight": getattr(part, name).weight
            for path, part in found.items()
            for name in ("query", "value")
        }
        scores = importance(weights, self.importance, given)
        kept: dict[str, Tensor] = {}
        axes: dict[str, int] = {}
        for path, part in found.items():
            by_head = sum(
                scores[f"{path}.{name}.weight"].unflatten(0, (part.heads, -1)).sum((1, 2))
                for name in ("query", "value")
            )
            assert isinstance(by_head, Tensor)
            gone = min(round(self.share * part.heads), part.heads - 1)
            stays = by_head.sort(stable=True).indices[gone:].sort().values
            one, axis = removed(part, stays)
            kept |= {f"{path}.{name}": places for name, places in one.items()}
            axes |= {f"{path}.{name}": number for name, number in axis.items()}
        designs = {
            stream: thinner(design, [p for path, p in found.items() if _of(stream, path)])
            for stream, design in made.designs.items()
        }
        return Compressed(replace(made, designs=designs), Structure({}, kept, axes))


def attentions(model: Model) -> Mapping[str, SelfAttention]:
    """Those whose heads can go, by stream and path. Raises ValueError where one cannot."""
    found: dict[str, SelfAttention] = {}
    seen: set[nn.Module] = set()
    for stream, body in model.bodies.items():
        for path, part in body.named_modules():
            if not isinstance(part, SelfAttention) or part in seen:
                continue
            seen.add(part)
            if part.key_heads != part.heads or part.slopes:
                raise ValueError(
                    "PruneHeads removes heads that have keys and values of their own and no "
                    f"slope; {stream}.{path} has others. Take PruneWeights."
                )
            found[f"{stream}.{path}"] = part
    if not found:
        raise ValueError(
            "PruneHeads removes heads of Attention(), and no body here has one. Take PruneWeights."
        )
    return found


@torch.no_grad()
def removed(part: SelfAttention, stays: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Leave these heads alone in it; what stays of each of its tensors, and along which axis."""
    width = part.head_width
    places = (stays[:, None] * width + torch.arange(width, device=stays.device)).flatten()
    kept: dict[str, Tensor] = {}
    axes: dict[str, int] = {}
    for name in ("query", "key", "value", "out"):
        linear, axis = getattr(part, name), int(name == "out")
        linear.weight = nn.Parameter(linear.weight.index_select(axis, places))
        kept[f"{name}.weight"] = places
        if axis:
            axes[f"{name}.weight"] = axis
            linear.in_features = len(places)
            continue
        linear.out_features = len(places)
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias[places])
            kept[f"{name}.bias"] = places
    part.heads = part.key_heads = len(stays)
    return kept, axes


def thinner(design: Layer, left: Sequence[SelfAttention]) -> Layer:
    """The design of what is left: in the order of its blocks, each attention as it is now."""
    waiting = list(left)

    def thin(mixer: Mixer) -> Mixer:
        if isinstance(mixer, Block):
            return mixer.replace(mixer=thin(mixer.mixer))
        if isinstance(mixer, Attention) and waiting:
            part = waiting.pop(0)
            return mixer.replace(heads=part.heads, head_width=part.head_width)
        return mixer

    if isinstance(design, Transformer):
        design = design.replace(blocks=tuple(map(thin, design.blocks)))
    if waiting:
        raise ValueError(
            "PruneHeads knows the attention of an Encoder or a Decoder, in its blocks; "
            f"got {design!r:.60}. Take PruneWeights."
        )
    return design


def _of(stream: str, path: str) -> bool:
    return path.startswith(f"{stream}.")
