"""What designs scored on the way: a fold over the events of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vitruvius.search.history import Better, Event, outcome
from vitruvius.space import canonical

MOST = 12
"""Shares of the horizon that are looked at; of more, some that are spread evenly."""
CLOSE = 1e-6


class Curves:
    """The learning curve of every design so far, whether it ran to its end or stands at a rung.

    A promotion is a trial of its own with the same point, so that curves go by point. Gains are
    scores of which higher is better.
    """

    def __init__(self, better: Better = "higher", events: Iterable[Event] = ()) -> None:
        self.sign = 1.0 if better == "higher" else -1.0
        self.keys: dict[int, str] = {}  # the point of each trial
        self.shares: dict[int, float] = {}  # at which each was asked
        self.known: dict[str, dict[float, float]] = {}  # point: share: gain
        self.failed: set[str] = set()
        for event in events:
            self.hear(event)

    def hear(self, event: Event) -> None:
        """Take in the next event: the scores of ``rung`` and ``told``."""
        body, trial = event.body, event.trial
        if event.kind == "asked":
            self.keys[trial] = canonical(dict(body["point"]))
            self.shares[trial] = body.get("share", 1.0)
        key = self.keys.get(trial)
        if key is None:
            return
        if event.kind == "rung" and body.get("fraction") is not None:
            score = body.get("score")
            if score is not None and math.isfinite(score) and 0 < body["fraction"] <= 1:
                self.learn(key, body["fraction"], score)
        elif event.kind == "told":
            score = outcome(event)
            if score is None:
                self.failed.add(key)
            else:
                self.learn(key, body.get("share", self.shares[trial]), score)

    def learn(self, key: str, share: float, score: float) -> None:
        """The score of a point at a share of its horizon; a later word replaces an earlier one."""
        self.known.setdefault(key, {})[round(share, 6)] = self.sign * score

    def at(self, key: str, share: float) -> float:
        """The gain of a point at its last checkpoint up to a share; NaN where there is none, and
        minus infinity where it failed before."""
        if key in self.failed and share > max(self.known.get(key, ()), default=0.0) + CLOSE:
            return -math.inf
        reached = [s for s in self.known.get(key, ()) if s <= share + CLOSE]
        return self.known[key][max(reached)] if reached else math.nan

    def whole(self, key: str) -> bool:
        """Whether it is known how a point ends."""
        return key in self.failed or max(self.known.get(key, ()), default=0.0) >= 1 - CLOSE

    def table(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shares of the horizon, the last of them 1, and gains [design, share].

        The shares are those at which at least half of the designs that are known to the end have a
        score of their own; where there is none, tenths from where half of them have any, each with
        the last score before it. A gain is NaN beyond where a design stands still, and minus
        infinity beyond where it failed.
        """
        done = [self.known[key] for key in self.known if self.whole(key)]
        counts: dict[float, int] = {}
        for curve in done:
            for share in curve:
                counts[share] = counts.get(share, 0) + 1
        common = {share for share, n in counts.items() if 2 * n >= len(done)} - {1.0}
        if done and not common:  # each has checkpoints of its own
            firsts = sorted(min(curve) for curve in done)
            common = {k / 10 for k in range(1, 10) if k / 10 >= firsts[len(firsts) // 2]}
        shares = sorted(common | {1.0})
        if len(shares) > MOST:
            shares = [shares[round(i * (len(shares) - 1) / (MOST - 1))] for i in range(MOST)]
        met = dict.fromkeys(self.keys.values())
        keys = [key for key in met if key in self.known or key in self.failed]
        gains = np.full((len(keys), len(shares)), np.nan)
        for i, key in enumerate(keys):
            last = max(self.known.get(key, ()), default=0.0)
            for k, share in enumerate(shares):
                if share <= last + CLOSE or key in self.failed:
                    gains[i, k] = self.at(key, share)
        return np.array(shares), gains
