"""Masking of tokens, whole words or spans.

Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, section 3.1 (tokens, 80/10/10); whole words as
Gu et al. 2020, "Domain-specific language model pretraining for biomedical NLP", arXiv:2007.15779,
section 2.3; spans from Joshi et al. 2020, "SpanBERT", arXiv:1907.10529, section 3.1.
Differs from the papers: the count is that of rate * tokens as nearly as whole units allow; spans
divide a document by coins at its words, and are then drawn like words, so that they never overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitruvius.contracts import SPECIALS, Batch, Codec, Corrupted, Given, Policy, Progress, Schedule
from vitruvius.space import Node, hyper, one_of, uniform
from vitruvius.techniques.policies import noise

LONGEST = 10  # words of a span, tokens where words are not known


@dataclass(frozen=True)
class Shares(Node):
    """What becomes of the tokens that were drawn: shares that sum to 1."""

    mask: float = hyper(0.8, None, "become <mask>")
    random: float = hyper(0.1, None, "become any token that is no special")
    keep: float = hyper(0.1, None, "stay, and are asked for all the same")

    def check(self) -> None:
        shares = (self.mask, self.random, self.keep)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"Shares.mask, random and keep must be at least 0 and sum to 1; got {shares}."
            )


@dataclass(frozen=True)
class MaskPolicy(Policy):
    """Hides a share of the tokens of each row, by units, and keeps the length.

    "exact" draws units until round(rate * tokens) tokens are hidden, at least one; "independent"
    tosses a coin for each unit. Fixed positions and padding are neither drawn nor counted.
    """

    unit: str = hyper("token", one_of("token", "word", "span"), "what is hidden as a whole")
    rate: float | Schedule = hyper(0.15, uniform(0.1, 0.5), "share of the tokens that are hidden")
    shares: Shares = hyper(
        Shares(),
        one_of(Shares(), Shares(1.0, 0.0, 0.0, label="all"), Shares(0.85, 0.0, 0.15, label="kept")),
        "what becomes of them",
    )
    count: str = hyper("exact", one_of("exact", "independent"), "how many units are drawn")
    span: float = hyper(4.0, None, "mean words of a span, before it is cut at 10")
    together: bool = hyper(False, None, "whether one fate is drawn for all tokens of a unit")
    needs: ClassVar[tuple[str, ...]] = ("rng", "tokenizer")

    def check(self) -> None:
        for field, options in (
            ("unit", ("token", "word", "span")),
            ("count", ("exact", "independent")),
        ):
            if getattr(self, field) not in options:
                raise ValueError(
                    f"MaskPolicy.{field} is one of {', '.join(map(repr, options))}; "
                    f"got {getattr(self, field)!r}."
                )
        if not isinstance(self.rate, Schedule):
            self._check_rate(self.rate)
        if self.span < 1:
            raise ValueError(f"MaskPolicy.span must be at least 1 word; got {self.span}.")

    def hide(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        stream = batch.streams["input"]
        layout, ids = stream.layout, stream.values
        rate = self.rate.value(now) if isinstance(self.rate, Schedule) else float(self.rate)
        self._check_rate(rate)
        free = layout.segments > 0
        if layout.fixed is not None:
            free = free & ~layout.fixed
        units, spans, fates, others = (
            noise.of_places(noise.seed_of(given), batch) for _ in range(4)
        )
        starts = self._starts(batch, free, spans)
        first = _firsts(starts)
        drawn = units.gather(1, first)
        if self.count == "exact":
            chosen = _nearest(drawn, starts, free, rate)
        else:
            chosen = free & (drawn < rate)
        if self.together:
            fates = fates.gather(1, first)
        masked = chosen & (fates < self.shares.mask)
        swapped = chosen & ~masked & (fates < self.shares.mask + self.shares.random)
        hidden = torch.where(swapped, _ordinary(others, given.tokenizer), ids)
        hidden = hidden.masked_fill(masked, special(given.tokenizer, "<mask>"))
        shown = replace(stream, values=hidden)
        return Corrupted(
            replace(batch, streams={**batch.streams, "input": shown}),
            {**batch.fields, "ids": ids},
            {"ids": chosen.float()},
            chosen,
            chosen & (hidden != ids),
            self._most(ids.shape[1], rate),
        )

    def _most(self, tokens: int, rate: float) -> int | None:
        """Tokens that are hidden in a row of this width, at most; None where units may be long."""
        if self.unit != "token" or self.count != "exact":
            return None
        return min(tokens, max(1, int(rate * tokens + 0.501)))

    def _starts(
        self, batch: Batch, free: Bool[Tensor, "B T"], coins: Float[Tensor, "B T"]
    ) -> Bool[Tensor, "B T"]:
        """Where units begin."""
        if self.unit == "token":
            return free
        layout = batch.streams["input"].layout
        edges = free & (~_before(free, False) | _changes(layout.segments))
        words = layout.words
        if words is None and self.unit == "word":
            raise ValueError(
                "MaskPolicy.unit 'word' needs to know the words of a batch; got none. "
                "Tokenize with words, or take 'token' or 'span'."
            )
        begins = free if words is None else edges | (free & (_changes(words) | (words < 0)))
        if self.unit == "word":
            return begins
        starts = edges | (begins & (coins < 1 / self.span))
        number = begins.cumsum(1)
        within = number - number.gather(1, _firsts(starts))
        return starts | (begins & (within % LONGEST == 0))

    def _check_rate(self, rate: float) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"MaskPolicy.rate must be above 0 and below 1; got {rate}.")


def special(tokenizer: Codec, name: str) -> int:
    """The id of a special token by our name for it."""
    specials = getattr(tokenizer, "specials", None)
    if specials is None:
        return SPECIALS.index(name)
    if name not in specials:
        raise ValueError(
            f"The tokenizer has no {name}; it has {', '.join(specials) or 'no specials'}. "
            "Take another objective, or another tokenizer."
        )
    return specials[name]


def _ordinary(places: Float[Tensor, "B T"], tokenizer: Codec) -> Int[Tensor, "B T"]:
    """Ids that are no specials, from numbers in [0, 1)."""
    specials = getattr(tokenizer, "specials", None)
    taken = range(len(SPECIALS)) if specials is None else sorted(set(specials.values()))
    ids = (places * (tokenizer.vocabulary - len(taken))).long()
    for number in taken:
        ids = ids + (ids >= number)
    return ids


def _nearest(
    drawn: Float[Tensor, "B T"], starts: Bool[Tensor, "B T"], free: Bool[Tensor, "B T"], rate: float
) -> Bool[Tensor, "B T"]:
    """The units of the lowest numbers, as many as come nearest to round(rate * tokens) tokens."""
    order = drawn.masked_fill(~free, 2.0).argsort(dim=1, stable=True)
    begins = starts.gather(1, order)
    rank = torch.arange(drawn.shape[1], device=drawn.device).expand_as(order)
    before = rank.where(begins, 0).cummax(1).values
    number = (begins.cumsum(1) - 1).clamp(min=0)
    sizes = torch.zeros_like(rank).scatter_add(1, number, free.gather(1, order).long())
    wanted = (free.sum(1, keepdim=True) * rate + 0.5).floor().clamp(min=1)
    taken = (before == 0) | (before + sizes.gather(1, number) / 2 <= wanted)
    return torch.zeros_like(free).scatter(1, order, taken) & free


def _firsts(starts: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """For each place the last start at or before it."""
    places = torch.arange(starts.shape[1], device=starts.device).expand_as(starts)
    return places.where(starts, 0).cummax(1).values


def _before(x: Tensor, first: bool) -> Tensor:
    """What stands one to the left."""
    return torch.cat((torch.full_like(x[:, :1], first), x[:, :-1]), 1)


def _changes(x: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Where something else stands to the left, or nothing."""
    return torch.cat((torch.ones_like(x[:, :1], dtype=torch.bool), x[:, 1:] != x[:, :-1]), 1)
