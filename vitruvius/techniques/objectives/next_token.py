"""Predicting each token from those before it.

Source: Bengio et al. 2003, "A neural probabilistic language model"; with transformers Radford et
al. 2018, "Improving language understanding by generative pre-training", section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from vitruvius.contracts import Corrupted, Given, Loss, Model, Objective, Progress
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.transformer import Transformer
from vitruvius.techniques.objectives.token_head import (
    by_row,
    loss_of,
    need_tokens,
    surprise,
    table_of,
    token_head,
)


@dataclass(frozen=True)
class NextToken(Objective):
    """Mean of -log p(token | those before it in its document), in nats.

    The first token of a document is not asked for. The body must see no later token. Its head "lm"
    (the token table, without a bias) stays with the model.
    """

    tied: bool = hyper(True, one_of(True, False), "whether the output layer is the token table")
    reads: ClassVar[str] = "tokens"

    def build(self, model: Model) -> nn.Module:
        design, body = model.designs.get("input"), model.bodies["input"]
        causal = design.reach().causal if isinstance(design, Transformer) else None
        if not (getattr(body, "causal", True) if causal is None else causal):
            raise ValueError(
                "NextToken needs a body that sees no later token, or it copies the answer; got "
                f"{type(design or body).__name__}. Take a Decoder, or MaskedTokens()."
            )
        return nn.ModuleDict({"lm": token_head(model, "lm", transform=False, tied=self.tied)})

    def heads(self, parts: Any) -> Mapping[str, nn.Module]:
        return {"lm": parts["lm"]}

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        stream, body = need_tokens("NextToken", seen.batch), model.bodies["input"]
        ids, segments = stream.values, stream.layout.segments
        follows = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
        at = nn.functional.pad(follows, (0, 1), value=False)
        wanted = ids.roll(-1, 1)[at]
        losses = surprise(parts["lm"], body(stream).hidden[at], table_of(body), wanted)
        return loss_of(by_row(losses, at, at.float()))
