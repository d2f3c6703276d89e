"""What a point would cost, given what the store of a study holds."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vitruvius.space import Infeasible, Point, digest
from vitruvius.study.session import Session
from vitruvius.study.settings import allowed, store_of


class Costing:
    """FLOPs left to compute for a point: what a searcher may ask for while it asks.

    ``used`` holds what it was told, so that the journal can tell why it asked what it asked.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.used: list[tuple[Point, float | None]] = []

    def __call__(self, point: Point) -> float:
        """Infinite where the point names no design that fits its data and the limits."""
        found = math.inf
        with contextlib.suppress(Infeasible):
            found = self._lab.left(self.session.program.build(point)).flops
        self.used.append((point, found if math.isfinite(found) else None))
        return found

    @functools.cached_property
    def _lab(self) -> Any:
        from vitruvius.contracts import Limits
        from vitruvius.pipeline.lab import LocalLab
        from vitruvius.study.worker import setting_of

        settings = self.session.settings
        around, limits = settings.around, settings.limits
        return LocalLab(
            setting_of(settings.seed, around.device, around.threads, around.precision),
            limits=Limits(limits.max_parameters, limits.max_flops),
            store=_store(self.session),
        )


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
