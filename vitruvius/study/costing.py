"""What points would cost, given what the store of a study holds."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vitruvius.search.costs import Price, in_one_unit, written
from vitruvius.space import Infeasible, Point, canonical, digest, replay
from vitruvius.study.session import Session
from vitruvius.study.settings import allowed, store_of

PRICING_SHARE = 0.1
"""Of a study's seconds, at most, that go into finding out what points cost. To weigh a network
takes from 1 to some 100 milliseconds, as much as to train a tiny one."""


class Costing:
    """What is left to compute for points: what a searcher may ask for while it asks.

    The cost of a point is that of all its stages that are not stored, at the share of the horizon
    at which it would run. What comes before its last costly stage is a prefix that other designs
    may share: its cost is divided by the trials that it may be expected to serve, the mean number
    of finished trials that each prefix of this study has served so far. So a search that returns
    to a few prefixes finds new ones cheaper and cheaper, and is not trapped; one that never uses a
    prefix twice pays for each in full.

    ``used`` holds what it was told, so that the journal can tell why it asked what it asked.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.used: list[dict[str, Any]] = []
        self.prices: dict[str, Price] = {}
        self.timed = session.settings.budget.seconds is not None

    def __call__(self, points: Sequence[Point]) -> list[float]:
        found, began = [], time.monotonic()
        for point in points:
            key = canonical(point)
            if key not in self.prices:
                self.prices[key] = self._price(point)
                self.used.append(written(point, self.prices[key]))
            found.append(self.prices[key])
        self.session.pricing += time.monotonic() - began
        return in_one_unit(found)

    def _price(self, point: Point) -> Price:
        from vitruvius.pipeline.cutting import cut
        from vitruvius.pipeline.forecast import prefix_and_rest, steps_left

        session, search = self.session, self.session.search
        try:
            design = session.program.build(point)
            design = cut(design, search.share(point), search.stage) or design
            steps = steps_left(self._lab, design, {}, self._lab.store, session.foreseen)
        except Infeasible:
            return Price(math.inf)
        if any(step.cost is None for step in steps):
            return Price()
        prefix, rest = prefix_and_rest(steps)
        known = self.timed and all(step.cost and step.cost.seconds > 0 for step in steps)
        return Price(
            prefix.flops / self.uses + rest.flops,
            prefix.seconds / self.uses + rest.seconds if known else None,
        )

    @functools.cached_property
    def uses(self) -> float:
        """Finished trials over the prefixes that they have used; 1 before the first."""
        from vitruvius.pipeline.cutting import cut
        from vitruvius.pipeline.forecast import prefix_of

        session, known = self.session, self.session.prefixes
        for trial in session.summary.of("finished"):
            if trial.number not in known:
                design = replay(session.settings.space, trial.point)
                design = cut(design, trial.share, session.search.stage) or design
                known[trial.number] = prefix_of(self._lab, design, self._lab.store)
        served = [key for key in known.values() if key is not None]
        return max(1.0, len(served) / len(set(served))) if served else 1.0

    @functools.cached_property
    def _lab(self) -> Any:
        return lab_of(self.session)


def lab_of(session: Session) -> Any:
    """What surrounds the stages of a study's trials, to look at them before they run."""
    from vitruvius.contracts import Limits
    from vitruvius.pipeline.lab import LocalLab
    from vitruvius.study.worker import setting_of

    around, limits = session.settings.around, session.settings.limits
    return LocalLab(
        setting_of(session.settings.seed, around.device, around.threads, around.precision),
        limits=Limits(limits.max_parameters, limits.max_flops),
        store=_store(session),
    )


def costing(session: Session) -> Costing | None:
    """What points cost in what the budget counts; None where it counts trials alone, for then one
    point costs as much as another.

    Seconds are looked at only where the budget is in seconds: they differ from run to run, and a
    study with any other budget repeats itself. There costs are left out for as long as they have
    taken more than their share of the time.
    """
    budget = session.settings.budget
    if budget.seconds is None:
        return None if budget.flops is None else Costing(session)
    return None if session.pricing > PRICING_SHARE * session.seconds else Costing(session)


def pin(session: Session, trials: Iterable[int]) -> None:
    """Let the states of these trials stay in the store."""
    keys = [session.states[number] for number in sorted(trials) if number in session.states]
    _store(session).pin(f"study-{digest(str(Path(session.folder).absolute()))[:16]}", keys)


def _store(session: Session) -> Any:
    settings = session.settings
    return _opened(str(store_of(settings)), settings.store_bytes, allowed(settings.modules))


@functools.lru_cache(maxsize=4)
def _opened(folder: str, limit: int | None, allow: tuple[str, ...]) -> Any:
    from vitruvius.pipeline.store import Store

    return Store(folder, limit, allow)
