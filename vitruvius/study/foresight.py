"""What the early scores of a study told of its last ones, and whether rungs can rely on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from vitruvius.search.curves import Curves
from vitruvius.search.rank_fidelity import LEAST, Correlation, Fidelity, RankFidelity
from vitruvius.search.rung_plan import GOOD, RungPlan, plan_rungs
from vitruvius.space import canonical
from vitruvius.study.picture import Scale, Svg, frame
from vitruvius.study.trials import Summary
from vitruvius.study.words import plural, score_word

MOST = 500
"""Designs that enter; of more, a seeded sample."""
COST = 0.4


@dataclass(frozen=True)
class Foresight:
    """Rank fidelity of a study, and the rungs that it would place."""

    rungs: tuple[Fidelity, ...]
    plan: RungPlan | None
    designs: int
    """Known to their end; failures count."""
    dropped: int
    """Designs that stand at a rung, so that nobody knows how they end."""
    first: float
    """The smallest share at which the study stood still, else its first checkpoint."""
    verdict: str
    """Whether early scores can be trusted: one or two sentences with numbers."""

    @property
    def steps(self) -> str:
        """The rungs in words: ``all 64 to 12 %, 20 to 50 %, 6 to the end``."""
        if self.plan is None:
            return ""
        told = [
            f"{n} to {_percent(s)}" for n, s in zip(self.plan.reach, self.plan.shares, strict=True)
        ]
        told[-1] = f"{self.plan.reach[-1]} to the end"
        return ", ".join([f"all {told[0]}", *told[1:]])


def foresight(study: Summary) -> Foresight | None:
    """None where the study has neither rungs nor scores on the way."""
    curves, cut = Curves(study.better), 1.0
    for trial in study.trials:
        if trial.status == "infeasible":
            continue
        key = curves.keys[trial.number] = canonical(dict(trial.point))
        for _, fraction, score in trial.curve:
            if fraction is not None and 0 < fraction <= 1 and math.isfinite(score):
                curves.learn(key, fraction, score)
        if trial.status == "finished" and trial.score is not None:
            curves.learn(key, trial.share, trial.score)
            cut = min(cut, trial.share)
        elif trial.status == "failed":
            curves.failed.add(key)
    shares, gains = curves.table()
    whole = gains[~np.isnan(gains[:, -1])]
    if len(whole) > MOST:
        picked = np.random.default_rng(0).permutation(len(whole))[:MOST]
        whole = whole[np.sort(picked)]
    found = RankFidelity(shares, whole)
    dropped = len(gains) - int((~np.isnan(gains[:, -1])).sum()) if cut < 1 else 0
    if len(shares) == 1 and cut == 1:
        return None
    if not found.enough:
        said = (
            f"Too few to tell whether early scores can be trusted: {plural(len(whole), 'design')} "
            f"with scores on the way ended, and it takes at least {LEAST}."
        )
        return Foresight((), None, len(whole), dropped, cut, said) if cut < 1 else None
    placed = plan_rungs(found, len(whole), COST)
    first = cut if cut < 1 else found.rungs[0].share
    said = _verdict(found, placed, first, dropped)
    return Foresight(found.rungs, placed, len(whole), dropped, first, said)


def interval_word(one: Correlation) -> str:
    """``0.83 (0.70 to 0.91)``; ``-`` where it is unknown."""
    if math.isnan(one.value):
        return "-"
    if math.isnan(one.low):
        return f"{one.value:.2f}"
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def chart(found: Foresight) -> Markup | None:
    """Spearman's correlation by share of the training: all designs, and the best fifth."""
    if not found.rungs:
        return None
    width, height = 480.0, 240.0
    svg = Svg(width, height, "how well early scores tell the last order, by share of the training")
    lines = [[rung.spearman for rung in found.rungs], [rung.top_spearman for rung in found.rungs]]
    lows = [one.low for line in lines for one in line if not math.isnan(one.low)]
    x = Scale(0.0, 1.0, 58.0, width - 70)
    y = Scale(min([0.0, *lows]), 1.0, height - 46, 14.0)
    shares = [(v, f"{v:.0%}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    frame(svg, x, y, shares, "share of the training", "rho to the last score")
    svg.line(x(0), y(GOOD), x(1), y(GOOD), "floor")
    heights = []
    for rank, (line, name) in enumerate(zip(lines, ("all", "best fifth"), strict=True), 1):
        known = [(r.share, one) for r, one in zip(found.rungs, line, strict=True)
                 if not math.isnan(one.value)]  # fmt: skip
        for share, one in known:
            if not math.isnan(one.low):
                svg.line(x(share), y(one.low), x(share), y(one.high), f"curve c{rank}")
            svg.circle(x(share), y(one.value), 3, f"mark m{rank}", interval_word(one))
        svg.polyline([(x(share), y(one.value)) for share, one in known], f"curve c{rank}")
        if known:
            at = y(known[-1][1].value) + 4
            at = max(at, heights[-1] + 14) if heights else at
            heights.append(at)
            svg.text(x(1) + 4, at, name, f"t c{rank}")
    return svg.markup()


def _verdict(found: RankFidelity, placed: RungPlan, first: float, dropped: int) -> str:
    at = min(found.rungs, key=lambda rung: abs(rung.share - first))
    every, top = at.spearman, at.top_spearman
    numbers = (
        f"after {_percent(at.share)} of the training the order of "
        f"{plural(every.count, 'design')} agrees with the last one at rho {interval_word(every)}, "
        f"among the best fifth at {interval_word(top)}"
    )
    good = [rung.share for rung in found.rungs if rung.spearman.value >= GOOD]
    since = (
        f"from {_percent(good[0])} on it is at least {GOOD:g}" if good else "it never gets to 0.8"
    )
    if not placed.trusted:
        said = (
            f"Early scores cannot be trusted here: {numbers}. Rungs at {_percent(placed.cost)} of "
            f"the work lose {score_word(placed.loss)} of the best score on average, and training "
            f"as many whole as cost that loses {score_word(placed.blind)}: train designs whole."
        )
    elif not every.value >= GOOD:
        said = (
            f"Early scores cannot be trusted at {_percent(at.share)}: {numbers}; {since}. Let the "
            "first rung stand later, or let more designs go on."
        )
    elif not top.low > 0:
        said = (
            f"Early scores tell the bad designs from the good, not the best among these: {numbers}."
            " Let enough designs go on that the best are among them."
        )
    else:
        said = f"Early scores can be trusted: {numbers}."
    if dropped:
        said += (
            f" Of {plural(dropped, 'design')} that stood still at a rung nobody knows the end, so "
            "that these numbers are of the promoted ones alone, and rather too low than too high."
        )
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
