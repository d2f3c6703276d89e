"""What all bodies from transformers have in common: how they are kept, and their taps."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vitruvius.contracts import Outputs, Stream
from vitruvius.interop import fewer_heads
from vitruvius.interop.foreign_files import library, silenced
from vitruvius.interop.more_keys import registered
from vitruvius.techniques.compressors.heads import Heads

UNUSED = "pooler."  # weights that no body of ours reads: a checkpoint may lack them


class ForeignBody(nn.Module, ABC):
    """A transformers model as a body. Taps: "stem" (what the first layer reads), "layer.0" on."""

    unread: ClassVar[tuple[str, ...]] = (f"network.{UNUSED}",)
    """How the paths of parameters begin that play no part in its answers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._attention: str | None = None  # what was before it was let see more
        self.thinned: dict[str, dict[str, Any]] = {}
        """By path of an attention that lost heads: what it has left, and the sizes of its maps."""

    @abstractmethod
    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs: ...

    def describe(self) -> dict[str, Any]:
        """What a store keeps beside the tensors."""
        config: Any = self.network.config
        return {
            "class": type(self.network).__name__,
            "config": config.to_json_string(use_diff=False),
            "attention": self._attention or config._attn_implementation,
            **({"thinned": self.thinned} if self.thinned else {}),
        }

    @classmethod
    def rebuild(cls, written: Mapping[str, Any]) -> Self:
        """The same body, its tensors still to be put in."""
        made = cls(built(written))
        fewer_heads.thin(made, written.get("thinned", {}))
        return made

    def attentions(self) -> Mapping[str, Heads]:
        """Its heads, by path of the attention, as ``PruneHeads`` asks for them."""
        return fewer_heads.attentions(self)

    def keep_heads(self, stays: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Leave these heads alone; what stays of each tensor, and along which axis. Raises
        ValueError, itself spoilt, where it would then answer otherwise than without the others."""
        return fewer_heads.without(self, stays)

    def let_see_more(self, on: bool) -> None:
        """Whether attention asks the module that calls it for ``prefix(key heads)``."""
        config: Any = self.network.config
        if on and self._attention is None:
            self._attention = config._attn_implementation
            config._attn_implementation = registered()
        elif not on and self._attention is not None:
            config._attn_implementation, self._attention = self._attention, None

    def _outputs(self, made: Any, taps: frozenset[str]) -> Outputs:
        if not taps:
            return Outputs(made.last_hidden_state)
        inner = dict(zip(tap_names(len(made.hidden_states) - 1), made.hidden_states, strict=True))
        if unknown := sorted(taps - set(inner)):
            raise ValueError(
                f"There is no tap {unknown[0]!r}; there is 'stem' and 'layer.0' to "
                f"'layer.{len(inner) - 2}'."
            )
        return Outputs(made.last_hidden_state, taps={name: inner[name] for name in taps})


def built(written: Mapping[str, Any]) -> nn.Module:
    """The network that a body has described, its weights random."""
    theirs = library()
    of = getattr(theirs, written["class"])
    if not issubclass(of, theirs.PreTrainedModel):
        raise ValueError(f"{written['class']} is no model of transformers.")
    config = of.config_class.from_dict(json.loads(written["config"]))
    config._attn_implementation = written["attention"]
    with torch.random.fork_rng(devices=[]), silenced():
        return of(config)


def tap_names(layers: int) -> tuple[str, ...]:
    """Of the hidden states as transformers lists them."""
    return ("stem", *(f"layer.{i}" for i in range(layers)))
