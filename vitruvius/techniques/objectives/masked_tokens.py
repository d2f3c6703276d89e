"""Predicting hidden tokens from those around them.

Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, section 3.1, task 1.
Differs from the paper: no next-sentence task; the output layer sees hidden positions only, which
gives the same loss at about rate times its cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from vitruvius.contracts import Batch, Corrupted, Given, Loss, Model, Objective, Policy, Progress
from vitruvius.space import hyper, one_of
from vitruvius.techniques.objectives.token_head import (
    by_place,
    loss_of,
    need_tokens,
    places_of,
    surprise,
    table_of,
    token_head,
)
from vitruvius.techniques.policies import MaskPolicy


@dataclass(frozen=True)
class MaskedTokens(Objective):
    """Mean of -log p(token) over the hidden tokens, in nats.

    Its head "mlm" (a map of d to the width of the token table, GELU, norm, the table, a bias) stays
    with the model.
    """

    policy: Policy = hyper(MaskPolicy(), MaskPolicy.space(), "what is hidden, and how")
    tied: bool = hyper(True, one_of(True, False), "whether the output layer is the token table")
    needs: ClassVar[tuple[str, ...]] = ("rng", "tokenizer")
    reads: ClassVar[str] = "tokens"

    def build(self, model: Model) -> nn.Module:
        return nn.ModuleDict({"mlm": token_head(model, "mlm", transform=True, tied=self.tied)})

    def heads(self, parts: Any) -> Mapping[str, nn.Module]:
        return {"mlm": parts["mlm"]}

    def corrupt(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        need_tokens("MaskedTokens", batch)
        return self.policy.hide(batch, now, given)

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        body, ids, weight = model.bodies["input"], seen.targets["ids"], seen.weight["ids"]
        places = places_of(weight > 0, None if weight.device.type == "cpu" else seen.most)
        hidden = body(seen.batch.streams["input"]).hidden.flatten(0, 1).index_select(0, places)
        asked = ids.flatten().index_select(0, places)
        losses = surprise(parts["mlm"], hidden, table_of(body), asked)
        return loss_of(by_place(losses, places, weight))
