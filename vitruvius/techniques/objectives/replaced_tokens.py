"""Telling replaced tokens from real ones.

Source: Clark et al. 2020, "ELECTRA: pre-training text encoders as discriminators rather than
generators", arXiv:2003.10555, sections 2 and 3.2; for long documents Niklaus & Giofre 2022,
"BudgetLongformer", arXiv:2211.17135.
Differs from the paper: positions are drawn without replacement; the generator is narrowed by whole
heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Corrupted,
    Given,
    Layer,
    Loss,
    Model,
    Objective,
    Policy,
    Progress,
)
from vitruvius.space import hyper, log_uniform, one_of, uniform
from vitruvius.techniques.layers.tokens import Tokens
from vitruvius.techniques.layers.transformer import TokenNetwork, Transformer, narrowed
from vitruvius.techniques.objectives.token_head import (
    TokenHead,
    by_row,
    loss_of,
    need_tokens,
    table_of,
    width_of,
)
from vitruvius.techniques.policies import MaskPolicy, Shares, noise


@dataclass(frozen=True)
class ReplacedTokens(Objective):
    """L = L_generator + weight * L_discriminator, in nats.

    A small generator guesses hidden tokens; the body tells, of every token that is no padding,
    whether it was replaced by a guess. A guess that is right counts as real. The head "replaced"
    stays with the model, the generator goes. 50 is the weight of the paper.
    """

    policy: Policy = hyper(
        MaskPolicy(shares=Shares(0.85, 0.0, 0.15)),
        MaskPolicy.space(shares=Shares(0.85, 0.0, 0.15)),
        "what the generator guesses",
    )
    width: float = hyper(
        0.25, one_of(0.125, 0.25, 0.333, 0.5), "width of the generator over that of the body"
    )
    depth: float = hyper(1.0, one_of(0.5, 1.0), "blocks of the generator over those of the body")
    generator: Layer | None = hyper(
        None, None, "another Encoder; None: the body's design, made narrower"
    )
    weight: float = hyper(50.0, log_uniform(1.0, 100.0), "weight of the discriminator's loss")
    temperature: float = hyper(1.0, uniform(0.7, 1.5), "of the guesses")
    shared: bool = hyper(True, one_of(True, False), "whether both have one table of tokens")
    wrong: bool = hyper(False, one_of(False, True), "whether right guesses are forbidden")
    needs: ClassVar[tuple[str, ...]] = ("rng", "tokenizer")
    reads: ClassVar[str] = "tokens"

    def check(self) -> None:
        for field in ("width", "depth", "temperature"):
            if getattr(self, field) <= 0:
                raise ValueError(
                    f"ReplacedTokens.{field} must be above 0; got {getattr(self, field)}."
                )
        if self.weight < 0:
            raise ValueError(f"ReplacedTokens.weight must not be negative; got {self.weight}.")

    def build(self, model: Model) -> nn.Module:
        body = model.bodies["input"]
        table, width = table_of(body), width_of(body)
        generator = self._generator(model, table)
        inner = generator.stem.table.width
        head = TokenHead(width_of_network(generator), inner, len(table))
        known = model.heads.get("replaced")
        if not (isinstance(known, ReplacedHead) and known.width == width):
            known = ReplacedHead(width)
        return nn.ModuleDict({"generator": generator, "mlm": head, "replaced": known})

    def _generator(self, model: Model, table: Tensor) -> Any:
        design = self.generator
        if design is None:
            design = model.designs.get("input")
            if not isinstance(design, Transformer):
                raise ValueError(
                    "ReplacedTokens.generator must be given where the body is not built from an "
                    f"Encoder; got {type(design).__name__ if design else 'a foreign body'}. "
                    "Give a small Encoder(...)."
                )
            design = narrowed(design, self.width, self.depth)
        if not isinstance(design, Transformer) or not isinstance(design.stem, Tokens):
            raise ValueError(f"ReplacedTokens.generator takes an Encoder; got {design!r:.60}.")
        stem = design.stem.replace(vocabulary=len(table))
        if self.shared:
            stem = stem.replace(inner=table.shape[1])
        network: Any = design.replace(stem=stem).build(torch.zeros(1, 1, dtype=torch.long))
        if self.shared:
            _share(model.bodies["input"], table, network)
        return network.to(table.device)

    def heads(self, parts: Any) -> Mapping[str, nn.Module]:
        return {"replaced": parts["replaced"]}

    def corrupt(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        need_tokens("ReplacedTokens", batch)
        return self.policy.hide(batch, now, given)

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        stream, body = seen.batch.streams["input"], model.bodies["input"]
        ids, weight = seen.targets["ids"], seen.weight["ids"]
        at = weight > 0
        table = parts["generator"].stem.table.weight
        hidden = parts["generator"](stream.values, stream.layout)[at]
        logits = parts["mlm"](hidden, table).float()
        losses = nn.functional.cross_entropy(logits, ids[at], reduction="none")
        guessed = by_row(losses, at, weight)

        chances = noise.of_places(noise.seed_of(given), seen.batch)[at]
        banned = ids[at] if self.wrong else None
        drawn = draw(logits.detach() / self.temperature, chances, banned)
        shown = ids.masked_scatter(at, drawn)
        answers = parts["replaced"](body(replace(stream, values=shown)).hidden).float()
        real = stream.layout.segments > 0
        told = by_row(told_apart(answers, shown != ids, real), real, real.float())
        parts_of_loss = {"generator": guessed.mean(), "discriminator": told.mean()}
        return loss_of(
            guessed + self.weight * told, {n: x.detach() for n, x in parts_of_loss.items()}
        )


class ReplacedHead(nn.Module):
    """Logits [B T] that a token was replaced: W2 GELU(W1 hidden)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Linear(width, width)
        self.answer = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.answer(nn.functional.gelu(self.dense(hidden))).squeeze(-1)


def draw(
    logits: Float[Tensor, "N V"],
    chances: Float[Tensor, " N"],
    banned: Int[Tensor, " N"] | None = None,
) -> Int[Tensor, " N"]:
    """Ids drawn from softmax(logits), one for each chance in [0, 1), never the banned one."""
    if banned is not None:
        logits = logits.scatter(1, banned[:, None], -torch.inf)
    below = logits.double().softmax(-1).cumsum(-1)
    found = torch.searchsorted(below, (chances * below[:, -1])[:, None], right=True)
    return found.squeeze(1).clamp(max=logits.shape[1] - 1)


def told_apart(
    answers: Float[Tensor, "B T"], replaced: Bool[Tensor, "B T"], real: Bool[Tensor, "B T"]
) -> Float[Tensor, " N"]:
    """-log p(right answer) of each token that is no padding."""
    return nn.functional.binary_cross_entropy_with_logits(
        answers[real], replaced[real].float(), reduction="none"
    )


def width_of_network(network: Any) -> int:
    """Features that come out of a network of tokens."""
    stem = network.stem
    return stem.table.width if stem.project is None else stem.project.out_features


def _share(body: nn.Module, table: Tensor, network: Any) -> None:
    """Give a network the tables of a body: the same parameters, not copies."""
    network.stem.table.weight = table
    theirs = next((m for m in body.modules() if isinstance(m, TokenNetwork)), None)
    if theirs is not None and network.stem.positions is not None:
        network.stem.positions = theirs.stem.positions
