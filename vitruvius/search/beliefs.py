"""What a user believes of decisions before any trial: where a number lies, which options to favour.

An address is that of a decision or the end of one, from a ``.``, ``=`` or ``@`` on, and ``*``
stands for anything: ``learning_rate``, ``AdamW.learning_rate``, ``blocks.*.operation``.

Source: ours; priors of users as in Hvarfner et al. 2022, arXiv:2204.11051, section 4.
"""

from __future__ import annotations

import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitruvius.space import Domain, Node, Program, Scalar, hyper
from vitruvius.space.checking import near as nearest
from vitruvius.space.domains import Choice, Integers, Real

FAVOURED = 4.0  # weight of an option that is named alone; each other one has 1
RANGE = 6.0  # standard deviations in the range of a domain, where no width is given
LISTED = 10_000  # decisions that are looked through for an address

Weight = Callable[[Any], float]


@dataclass(frozen=True)
class Belief(Node, ABC):
    """Weights on the labels of the decisions at an address."""

    address: str = hyper("", None, "of a decision, or the end of one; * stands for anything")

    def matches(self, address: str) -> bool:
        """Whether it is of the decision at this address."""
        pattern = ".*".join(map(re.escape, self.address.split("*")))
        return re.fullmatch(rf"(?:.*[.=@])?{pattern}", address) is not None

    @abstractmethod
    def weight(self, domain: Domain) -> Weight:
        """Of each label, above 0 and on any scale. Raises ValueError where it does not fit."""


@dataclass(frozen=True)
class Near(Belief):
    """A normal density around a value.

    ``within`` is its standard deviation: a factor where the domain is logarithmic, so that the
    density is log-normal, else a difference; a sixth of the domain's range where it is left out.
    Numbers to choose among count by ratio where they are positive and grow more evenly by ratio
    than by difference; words in an order count by steps. An option without an order has a weight
    of 4 against 1 for each other one.
    """

    value: Scalar = hyper(None, None, "the most probable value, or the option that is favoured")
    within: float | None = hyper(None, None, "standard deviation, a factor in a logarithmic domain")

    def check(self) -> None:
        if self.within is not None and not self.within > 0:
            raise ValueError(f"Near.within must be above 0; got {self.within}.")

    def weight(self, domain: Domain) -> Weight:
        if domain.kind == "categorical":
            favoured = _label(domain, self.value, self.address)
            if self.within is not None:
                raise ValueError(
                    f"Near.within has no meaning for {self.address!r}, whose options have no "
                    "order. Leave it out, or give a weight to each option."
                )
            return lambda label: FAVOURED if _equal(label, favoured) else 1.0
        if isinstance(domain, Choice) and not all(map(_is_number, domain.labels)):
            at = domain.index(_label(domain, self.value, self.address))
            spread = self.within or domain.size / RANGE
            return lambda label: _bell((domain.index(label) - at) / spread)
        if not _is_number(self.value):
            raise ValueError(
                f"Near.value must be a number, as {self.address!r} is one ({domain!r}); "
                f"got {self.value!r}."
            )
        value = float(self.value)  # type: ignore[arg-type]
        low, high = _ends(domain)
        if not by_ratio(domain):
            spread = self.within or (high - low) / RANGE or 1.0
            return lambda label: _bell((label - value) / spread)
        if not value > 0 or (self.within is not None and not self.within > 1):
            raise ValueError(
                f"{self.address!r} counts by ratio ({domain!r}): Near needs a value above 0 and "
                f"within as a factor above 1; got {self.value} and {self.within}."
            )
        spread = math.log(self.within) if self.within else math.log(high / low) / RANGE or 1.0
        return lambda label: _bell(math.log(label / value) / spread)


@dataclass(frozen=True)
class Weights(Belief):
    """How probable options are against each other.

    One that is not named has the weight 1.
    """

    weights: tuple[tuple[Scalar, float], ...] = hyper((), None, "pairs of an option and its weight")

    def check(self) -> None:
        for pair in self.weights:
            if not (isinstance(pair, tuple) and len(pair) == 2 and _is_number(pair[1])):
                raise ValueError(
                    f"Weights.weights holds pairs of an option and a number; got {pair!r:.60}."
                )
            if not 0 < pair[1] < math.inf:
                raise ValueError(
                    f"Weights.weights must be finite and above 0; got {pair[1]} for {pair[0]!r}. "
                    "To leave an option out, restrict the space."
                )

    def weight(self, domain: Domain) -> Weight:
        if isinstance(domain, Real):
            raise ValueError(
                f"Weights are of options, and {self.address!r} is a real number ({domain!r}). "
                "Say where it lies: near(VALUE)."
            )
        given = [(_label(domain, label, self.address), weight) for label, weight in self.weights]
        return lambda label: next((w for known, w in given if _equal(known, label)), 1.0)


def near(value: Scalar, within: float | None = None) -> Near:
    """A normal density around a value, for ``beliefs``."""
    return Near(value=value, within=within)


def beliefs(of: Mapping[str, Any]) -> tuple[Belief, ...]:
    """Beliefs by address: ``near(1e-3, within=3.0)``, a value alone, or a mapping of weights."""
    found: list[Belief] = []
    for address, belief in of.items():
        if isinstance(belief, Mapping):
            found.append(Weights(address, tuple((k, float(w)) for k, w in belief.items())))
        elif isinstance(belief, Belief):
            found.append(belief.replace(address=address))
        else:
            found.append(Near(address, belief))
    return tuple(found)


def written_beliefs(words: Sequence[str]) -> dict[str, Any]:
    """What the command line means: ``ADDRESS=VALUE``, ``ADDRESS=VALUE~WITHIN`` or
    ``ADDRESS=OPTION:WEIGHT,OPTION:WEIGHT``, for ``beliefs``."""
    found: dict[str, Any] = {}
    for word in words:
        address, _, said = word.rpartition("=")
        try:
            if not address or not said:
                raise ValueError
            if ":" in said:
                pairs = (pair.rpartition(":") for pair in said.split(","))
                found[address] = {_scalar(option): float(weight) for option, _, weight in pairs}
            else:
                value, _, within = said.partition("~")
                found[address] = near(_scalar(value), float(within) if within else None)
        except ValueError:
            raise ValueError(
                "A prior is ADDRESS=VALUE, ADDRESS=VALUE~WITHIN or ADDRESS=OPTION:WEIGHT,...; "
                f"got {word!r}."
            ) from None
    return found


def weighing(program: Program, given: Sequence[Belief]) -> Callable[[str, Domain], Weight | None]:
    """The weights of each decision; of several beliefs on one the last counts.

    Raises ValueError where a belief is of no decision of the space, or does not fit it.
    """
    known = {decision.address: decision.domain for decision in program.unfold(LISTED)}
    for belief in given:
        own = [a for a in known if belief.matches(a)]
        if not own and len(known) < LISTED:
            ends = dict.fromkeys(end for a in known for end in (a, re.split(r"[.=@]", a)[-1]))
            raise ValueError(
                f"No decision of this space has the address {belief.address!r}. "
                + nearest(belief.address, list(ends))
            )
        refused: list[ValueError] = []
        for address in own:
            try:
                belief.weight(known[address])
            except ValueError as error:
                refused.append(error)
        if refused and len(refused) == len(own):
            raise refused[0]

    def weigh(address: str, domain: Domain) -> Weight | None:
        for belief in reversed(given):
            if belief.matches(address):
                try:
                    return belief.weight(domain)
                except ValueError:  # it fits another decision of this address
                    continue
        return None

    return weigh


def by_ratio(domain: Domain) -> bool:
    """Whether the numbers of a domain are nearer to each other by ratio than by difference."""
    if isinstance(domain, (Real, Integers)):
        return domain.log
    assert isinstance(domain, Choice)
    labels = sorted(domain.labels)  # type: ignore[type-var]
    if labels[0] <= 0:  # type: ignore[operator]
        return False
    ratios = [math.log(b / a) for a, b in itertools.pairwise(labels)]  # type: ignore[operator]
    steps = [b - a for a, b in itertools.pairwise(labels)]  # type: ignore[operator]
    return min(ratios) / max(ratios) >= min(steps) / max(steps) if steps else True


def _ends(domain: Domain) -> tuple[float, float]:
    if isinstance(domain, (Real, Integers)):
        return domain.low, domain.high
    assert isinstance(domain, Choice)
    return min(domain.labels), max(domain.labels)  # type: ignore[type-var,return-value]


def _label(domain: Domain, label: Any, address: str) -> Any:
    """The label of a domain that is meant: 1 may stand for 1.0."""
    if domain.contains(label):
        return label
    if _is_number(label) and domain.contains(float(label)):
        return float(label)
    known = list(map(str, domain.labels)) if isinstance(domain, Choice) else []
    hint = nearest(str(label), known) if known else f"It is {domain!r}."
    raise ValueError(f"{address!r} cannot be {label!r}. {hint}")


def _bell(z: float) -> float:
    return math.exp(-z * z / 2)


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _scalar(word: str) -> Scalar:
    """A number, true, false or none, else the word itself."""
    word = word.strip()
    named = {"none": None, "true": True, "false": False}
    if word.lower() in named:
        return named[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
