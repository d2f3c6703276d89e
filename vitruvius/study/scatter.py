"""The picture of several objectives: every trial by score and cost, and the front."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from vitruvius.study.charts import HEIGHT, LEFT, RIGHT, WIDTH, score_scale
from vitruvius.study.front import Front, cost_word, undominated
from vitruvius.study.picture import Scale, Svg, frame
from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import score_word

TITLES = {
    "parameters": "parameters",
    "flops": "training work, FLOP",
    "seconds": "training time, seconds",
    "latency": "seconds to answer one item",
}


def scatter(study: Summary, front: Front, name: str, chosen: int | None) -> Markup:
    """Score over one cost: all trials faint, the front marked, the chosen design ringed. The line
    leads along what is best in these two objectives alone."""
    costs = {t.number: t.cost(name) or 0.0 for t in front.all}
    scores = {t.number: t.score or 0.0 for t in front.all}
    svg = Svg(WIDTH, HEIGHT, f"{study.metric} over {name} of each trial, with the front")
    y, cut = score_scale(list(scores.values()), study.better)
    low, high = min(costs.values()), max(costs.values())
    log = low > 0 and high / low > 5
    room = (high / low) ** 0.04 if log else (high - low) * 0.04 or abs(high) * 0.05 or 0.5
    ends = (low / room, high * room) if log else (low - room, high + room)
    x = Scale(*ends, LEFT, WIDTH - RIGHT, log)
    ticks = [(v, _tick(name, v)) for v in (_round_values(x) if log else x.ticks(5))]
    word = study.metric + (" (lower is better)" if study.better == "lower" else "")
    frame(svg, x, y, ticks, TITLES[name], word)
    sign = -1.0 if study.better == "higher" else 1.0
    pairs = np.array([[costs[t.number], sign * scores[t.number]] for t in front.all])
    order = sorted(np.flatnonzero(undominated(pairs)), key=lambda i: pairs[i, 0])
    steps: list[tuple[float, float]] = []
    for i in order:
        trial = front.all[i]
        here = x(costs[trial.number]), y(scores[trial.number])
        if steps:
            steps.append((here[0], steps[-1][1]))
        steps.append(here)
    if steps:
        steps.append((WIDTH - RIGHT, steps[-1][1]))
    at = {t.number: (x(costs[t.number]), y(scores[t.number])) for t in front.all}
    for trial in front.all:
        if trial.number not in front.numbers:
            svg.circle(*at[trial.number], 2.6, "dot", _told(trial, name))
    svg.polyline(steps, "best", f"best {study.metric} for each value of {name}")
    for trial in front.trials:
        svg.circle(*at[trial.number], 4, "onfront", _told(trial, name))
    if chosen in at:
        svg.circle(*at[chosen], 8, "chosen", f"trial {chosen} was chosen")
    beyond = sum(cut(score) for score in scores.values())
    if beyond:
        edge = "below" if study.better == "higher" else "above"
        svg.text(WIDTH - RIGHT, 16, f"{beyond} {edge} the edge, drawn on it", "t soft", "end")
    return svg.markup()


def _round_values(x: Scale, most: int = 6) -> list[float]:
    """1, 2, 5, 10, ... times a power of ten inside a logarithmic scale; of many, the powers."""
    powers = range(math.floor(math.log10(x.low)), math.ceil(math.log10(x.high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [k * 10.0**p for p in powers for k in steps if x.low <= k * 10.0**p <= x.high]
        if len(found) <= most:
            break
    return found


def _told(trial: Trial, name: str) -> str:
    return f"trial {trial.number}: {score_word(trial.score)}, {cost_word(name, trial.cost(name))}"


def _tick(name: str, value: float) -> str:
    if name in ("seconds", "latency"):
        return f"{value:g}"
    digits = math.floor(math.log10(value)) if value > 0 else 0
    return cost_word("parameters", value) if digits >= 3 else f"{value:g}"
