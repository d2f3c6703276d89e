"""The decisions of a study as axes: what every plot, importance and view puts its numbers on."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vitruvius.space import Decision, Domain, Infeasible, compile, decisions_of, from_json
from vitruvius.study.worker import USER_MODULE

Kind = Literal["categorical", "ordered", "integer", "real"]


@dataclass(frozen=True)
class Axis:
    """One decision of a study and how its labels lie to each other."""

    address: str
    name: str
    """The shortest end of the address that no other decision of the study ends with."""
    kind: Kind
    labels: tuple[Any, ...]
    """All labels in order; empty for integer and real decisions."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def position(self, label: Any) -> float:
        """Where a label lies: its index, or the number itself (its logarithm if ``log``)."""
        if self.labels:
            for index, known in enumerate(self.labels):
                if type(known) is type(label) and known == label:
                    return float(index)
            return float(len(self.labels))  # from before the space was edited
        return math.log(label) if self.log else float(label)

    @property
    def title(self) -> str:
        """What the decision is called on a page: its name, or its options where it has none."""
        where, _, word = self.name.rpartition(".")
        options = [written(x) for x in self.labels if x is not None]
        plain = re.sub(r"_\d+$", "", word)
        if not options or plain not in ("one_of", "ordered", "optional", "either_order"):
            return self.name
        if plain == "optional":
            said = f"{options[0]} or none"
        elif plain == "either_order":
            said = "order of " + ", ".join(options[0].split("-"))
        else:
            said = " or ".join(options[:3]) + (f" or {len(options) - 3} more" * (len(options) > 3))
        return f"{where}: {said}" if where else said

    def phrase(self, label: Any) -> str:
        """A decision with what was decided: ``learning_rate 0.003``, ``no Dropout``."""
        where, _, word = self.name.rpartition(".")
        plain = re.sub(r"_\d+$", "", word)
        if not self.labels or plain not in ("one_of", "ordered", "optional", "either_order"):
            return f"{self.name} {written(label)}"
        if plain == "optional":
            option = next((written(x) for x in self.labels if x is not None), "")
            said = f"no {option}" if label is None else f"with {written(label)}"
        else:
            said = written(label)
        return f"{where}: {said}" if where else said


def open_space(meta: Mapping[str, Any]) -> Any | None:
    """The space of a study from its journal; None where its classes are not at hand.

    Nothing is imported for it but our own modules: a user's must have been imported before.
    """
    tree = meta.get("space")
    if not isinstance(tree, Mapping):
        return None
    theirs = (USER_MODULE, *meta.get("modules", ()))
    try:
        return from_json(tree, ("vitruvius", *(m for m in theirs if m in sys.modules)))
    except (ValueError, TypeError, KeyError, ImportError):
        return None


def axes(points: Iterable[Mapping[str, Any]], space: Any | None = None) -> tuple[Axis, ...]:
    """The decisions that some point takes or the space may take, in the order of the space.

    Without a space (or for what an edited space no longer has) an axis is made from the labels
    that were seen: numbers are real or integer, all else is categorical.
    """
    points = list(points)
    domains: dict[str, Domain] = {}
    if space is not None:
        domains = {d.address: d.domain for d in compile(space).unfold(2000)}
    seen: dict[str, list[Any]] = {}
    for point in points:
        if space is not None and any(address not in domains for address in point):
            domains |= {d.address: d.domain for d in _taken(space, point)}
        for address, label in point.items():
            seen.setdefault(address, []).append(label)
    addresses = list(dict.fromkeys([*domains, *seen]))
    names = short_names(addresses)
    return tuple(
        _of_domain(address, names[address], domains[address], seen.get(address, ()))
        if address in domains
        else _of_labels(address, names[address], seen[address])
        for address in addresses
    )


def short_names(addresses: Sequence[str]) -> dict[str, str]:
    """For each address its shortest end, in whole words, that is no other's end."""
    ends = {address: _ends(address) for address in addresses}
    owners = Counter(end for found in ends.values() for end in found)
    return {
        address: next((end for end in found if owners[end] == 1), address)
        for address, found in ends.items()
    }


def _ends(address: str) -> list[str]:
    """Ends of an address, shortest first. Copies' numbers and ``times`` stay with their word."""
    address = address.removeprefix("@")
    starts = [0, *(match.end() for match in re.finditer(r"[.=]", address))]
    whole = [i for i in starts if not re.match(r"(\d+|\*|times)(\.|=|$)", address[i:])]
    return [address[i:] for i in reversed(whole or [0])]


def _taken(space: Any, point: Mapping[str, Any]) -> Sequence[Decision]:
    try:
        return decisions_of(space, point)
    except (KeyError, ValueError, Infeasible):  # of a space that was edited since
        return ()


def _of_domain(address: str, name: str, domain: Domain, seen: Iterable[Any]) -> Axis:
    labels = tuple(getattr(domain, "labels", ()))
    if labels:
        return Axis(address, name, domain.kind, labels)
    numbers = [x for x in seen if _is_number(x)]
    low = min([domain.low, *numbers])  # type: ignore[attr-defined]
    high = max([domain.high, *numbers])  # type: ignore[attr-defined]
    log = bool(domain.log) and low > 0  # type: ignore[attr-defined]
    return Axis(address, name, domain.kind, (), float(low), float(high), log)


def _of_labels(address: str, name: str, seen: Sequence[Any]) -> Axis:
    if all(_is_number(x) for x in seen):
        low, high = float(min(seen)), float(max(seen))
        if len(set(seen)) <= 8:
            return Axis(address, name, "ordered", tuple(sorted(set(seen))))
        kind: Kind = "integer" if all(isinstance(x, int) for x in seen) else "real"
        return Axis(address, name, kind, (), low, high, low > 0 and high / low >= 30)
    labels = {(type(x), x): x for x in seen}
    return Axis(address, name, "categorical", tuple(sorted(labels.values(), key=str)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def written(label: Any) -> str:
    """A label as a person writes it."""
    if label is None:
        return "none"
    if isinstance(label, bool):
        return "yes" if label else "no"
    if isinstance(label, float):
        return f"{label:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return str(label)
