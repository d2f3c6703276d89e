"""The charts of a report: score over time, learning curves, importance, effects of decisions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from random import Random

from markupsafe import Markup

from vitruvius.study.axes import Axis, written
from vitruvius.study.importance import Importances
from vitruvius.study.picture import Scale, Svg, fit, frame
from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import score_word, seconds_word, share_word

WIDTH, HEIGHT = 480.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 30.0, 46.0
HIGHLIGHTED = 5
FAINT = 150
DOTS = 250


def score_over_time(study: Summary, by: str) -> Markup | None:
    """Every trial and the best so far; ``by`` is "trial" or "seconds". None without scores."""
    scored = [t for t in study.of("finished", "stopped") if _known(t.score)]
    start = began(study)
    if by == "seconds":
        scored = [t for t in scored if t.ended is not None]
    if not scored or (by == "seconds" and start is None):
        return None
    scored.sort(key=lambda t: t.ended if by == "seconds" and t.ended is not None else t.number)
    at = {t.number: t.ended - start if by == "seconds" else t.number for t in scored}  # type: ignore[operator]
    title = f"{study.metric} of each trial over {by}"
    svg = Svg(WIDTH, HEIGHT, title)
    y, cut = score_scale([t.score for t in scored], study.better)  # type: ignore[misc]
    last = max([*at.values(), 1.0])
    failed = study.of("failed")
    if by == "trial":
        last = max([last, *(t.number for t in failed)])
    x = Scale(0.0, last, LEFT, WIDTH - RIGHT)
    if by == "seconds":
        ticks = _time_ticks(last)
        frame(svg, x, y, ticks, "time since the start", _axis_word(study))
    else:
        numbers = [v for v in x.ticks(7) if v == int(v)]
        frame(svg, x, y, [(v, f"{v:.0f}") for v in numbers], "trial", _axis_word(study))
    for trial in failed:
        when = trial.number if by == "trial" else (trial.ended or start) - start  # type: ignore[operator]
        px, py = x(when), HEIGHT - BOTTOM - 6
        cross = f"M{px - 3:.1f} {py - 3:.1f}l6 6m0-6l-6 6"
        svg.path(cross, "cross", f"trial {trial.number} failed: {trial.cause or 'no cause given'}")
    steps: list[tuple[float, float]] = []
    best: float | None = None
    whole = 1.0 if study.best is None else study.best.share
    for trial in scored:
        score, px = trial.score, x(at[trial.number])
        if trial.status != "finished" or score is None or trial.share < whole:
            continue
        if best is None or (score > best if study.better == "higher" else score < best):
            if best is not None:
                steps.append((px, y(best)))
            best = score
            steps.append((px, y(best)))
    if best is not None:
        steps.append((x(last), y(best)))
    for trial in scored:
        css = "dot" if trial.status == "finished" and trial.share >= whole else "dot open"
        word = f"trial {trial.number}: {score_word(trial.score)}{share_word(trial.share)}"
        word += f", {seconds_word(trial.seconds)}" if trial.seconds is not None else ""
        word += "" if trial.status == "finished" else f" (stopped: {trial.cause})"
        svg.circle(x(at[trial.number]), y(trial.score), 2.6, css, word)  # type: ignore[arg-type]
    svg.polyline(steps, "best", f"best so far, at the end {score_word(best)}")
    beyond = sum(1 for t in scored if t.score is not None and cut(t.score))
    if beyond:
        edge = "below" if study.better == "higher" else "above"
        words = f"{beyond} {edge} the edge, drawn on it"
        svg.text(WIDTH - RIGHT, TOP - 14, words, "t soft", "end")
    return svg.markup()


def learning_curves(study: Summary) -> Markup | None:
    """The curves of the best trials in colour, of the others faint. None where no trial has one."""
    leaders = [t for t in study.leaders if len(t.curve) > 1][:HIGHLIGHTED]
    chosen = {t.number for t in leaders}
    others = [t for t in study.trials if len(t.curve) > 1 and t.number not in chosen]
    if not leaders and not others:
        return None
    others = others[:: math.ceil(len(others) / FAINT)] if len(others) > FAINT else others
    svg = Svg(WIDTH, HEIGHT, f"validation {study.metric} in the course of training")
    shown = [p[2] for t in (*leaders, *others) for p in t.curve if _known(p[2])]
    if not shown:
        return None
    y, _ = score_scale(shown, study.better, tail=0.1)
    x = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT - 26)
    shares = [(v, f"{v:.0%}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    frame(svg, x, y, shares, "share of the training", _axis_word(study))
    faint = "".join(_curve(t, x, y) for t in others)
    svg.path(faint, "faint")
    taken: list[float] = []
    for rank, trial in reversed(list(enumerate(leaders, 1))):
        word = f"trial {trial.number}, rank {rank}: {score_word(trial.score)}"
        svg.path(_curve(trial, x, y), f"curve c{rank}", word)
    for rank, trial in enumerate(leaders, 1):
        end = trial.curve[-1]
        py = y(end[2]) + 4
        while any(abs(py - other) < 13 for other in taken):
            py += 1 if study.better == "higher" else -1
        taken.append(py)
        svg.text(x(end[1]) + 5, py, f"#{trial.number}", f"t c{rank}")
    return svg.markup()


def importance_bars(found: Importances, most: int = 12) -> Markup | None:
    """A bar per decision with its interval; faint where it cannot be told from chance."""
    shown = found.decisions[:most]
    if not shown or not found.tells:
        return None
    row, left = 32.0, 226.0
    height = row * len(shown) + 44
    svg = Svg(WIDTH, height, "importance of each decision")
    high = max(0.1, *(min(one.high, 1.2) for one in shown))
    x = Scale(0.0, high, left, WIDTH - 46)
    for value in x.ticks(5):
        svg.line(x(value), 4, x(value), height - 40, "grid")
        svg.text(x(value), height - 24, f"{value:.0%}", "t", "middle")
    svg.text((left + WIDTH - 46) / 2, height - 6, "share of the variance", "t label", "middle")
    for i, one in enumerate(shown):
        py = 4 + row * i
        word = (
            f"{one.axis.address}: {one.value:.0%}, 80% interval {one.low:.0%} to {one.high:.0%}, "
            f"active in {one.active:.0%} of the trials"
        )
        svg.text(left - 8, py + 14, fit(one.axis.title, left - 12), "t label", "end")
        if one.active < 1:
            svg.text(left - 8, py + 26, f"in {one.active:.0%} of trials", "t soft small", "end")
        bar = "bar" if one.clear else "bar faintbar"
        svg.rect(left, py + 5, x(max(one.value, 0)) - left, 12, bar, word, 2)
        svg.line(x(max(one.low, 0)), py + 11, x(max(one.high, 0)), py + 11, "whisker")
        svg.text(WIDTH - 4, py + 15, f"{max(one.value, 0):.0%}", "t label", "end")
    return svg.markup()


def effect(study: Summary, axis: Axis) -> Markup | None:
    """Score by label of one decision: trials as dots, median as a bar, middle half as a box."""
    found = [t for t in study.alike if axis.address in t.point and _known(t.score)]
    if not found:
        return None
    width, height = 320.0, 230.0
    svg = Svg(width, height, f"{study.metric} by {axis.title}")
    everyone = [t.score for t in study.alike if t.score is not None and _known(t.score)]
    y, _ = score_scale(everyone, study.better, HEIGHT - height, tail=0.1)
    pairs = [(t.point[axis.address], t.score) for t in found if t.score is not None]
    jitter = Random(axis.address)
    css = "dots" if len(pairs) > 60 else "dots few"
    if axis.labels:
        groups = [
            [s for label, s in pairs if axis.position(label) == i] for i in range(len(axis.labels))
        ]
        names = [written(label) for label in axis.labels]
        if any(axis.position(label) >= len(groups) for label, _ in pairs):
            groups.append([s for label, s in pairs if axis.position(label) >= len(axis.labels)])
            names.append("gone")
        room = (width - LEFT - RIGHT) / len(groups)
        x = Scale(-0.5, len(groups) - 0.5, LEFT, width - RIGHT)
        every = math.ceil(34 / room)
        ticks = [(i, fit(n, room * every)) for i, n in enumerate(names) if i % every == 0]
        frame(svg, x, y, ticks, "", "")
        for i, scores in enumerate(groups):
            if not scores:
                continue
            half = min(room * 0.32, 20)
            _box(svg, x(i), half, scores, y, f"{names[i]}: {len(scores)} trials")
            kept = scores if len(scores) <= DOTS // 4 else jitter.sample(scores, DOTS // 4)
            svg.dots(((x(i) + jitter.uniform(-half, half), y(s)) for s in kept), css)
    else:
        low, high = axis.low, axis.high
        x = Scale(low, high, LEFT, width - RIGHT, axis.log)
        frame(svg, x, y, [(v, written(float(v))) for v in x.ticks(5)], "", "")
        kept = pairs if len(pairs) <= DOTS else jitter.sample(pairs, DOTS)
        svg.dots(((x(v), y(s)) for v, s in kept), css)
        svg.polyline([(x(v), y(s)) for v, s in _running_median(pairs, axis)], "median")
    return svg.markup()


def score_scale(scores: Sequence[float], better: str, shorter: float = 0.0, tail: float = 0.05):
    """The scale of a score axis, and what tells a score beyond its edge.

    The worst scores are cut off (at most the share ``tail``) where they would squeeze the others
    into less than half of the height.
    """
    ordered = sorted(scores)
    low, high = ordered[0], ordered[-1]
    worst = round(tail * (len(ordered) - 1))
    kept = ordered[worst:] if better == "higher" else ordered[: len(ordered) - worst]
    if kept[-1] - kept[0] < 0.5 * (high - low):
        low, high = kept[0], kept[-1]
    room = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    low, high = low - room, high + room
    if low < 0 <= ordered[0]:
        low = 0.0
    if high > 1 >= ordered[-1] and ordered[0] >= 0 and better == "higher":
        high = max(1.0, ordered[-1])
    scale = Scale(
        low, high, HEIGHT - shorter - BOTTOM + (18 if shorter else 0), TOP - (16 if shorter else 0)
    )
    return scale, lambda score: score < low or score > high


def began(study: Summary) -> float | None:
    """When the study began, in Unix seconds."""
    times = [t.started for t in study.trials if t.started is not None]
    at = study.meta.get("at")
    return min(times, default=None) if at is None else min([at, *times])


def _box(svg: Svg, x: float, half: float, scores: Sequence[float], y: Scale, title: str) -> None:
    middle = statistics.median(scores)
    if len(scores) >= 4:
        lower, _, upper = statistics.quantiles(scores, n=4, method="inclusive")
        svg.rect(x - half, y(upper), 2 * half, y(lower) - y(upper), "box", title, 2)
    word = f"{title}, median {score_word(middle)}"
    svg.rect(x - half, y(middle) - 1.5, 2 * half, 3, "medianbar", word)


def _running_median(
    pairs: Sequence[tuple[float, float]], axis: Axis, bins: int = 8
) -> list[tuple[float, float]]:
    """Medians of equally large groups of neighbours, at the mean position of each."""
    ordered = sorted(pairs, key=lambda p: axis.position(p[0]))
    size = max(6, math.ceil(len(ordered) / bins))
    if len(ordered) < 2 * size:
        return []
    groups = [ordered[i : i + size] for i in range(0, len(ordered) - size // 2, size)]
    found = []
    for group in groups:
        at = statistics.fmean(axis.position(label) for label, _ in group)
        found.append((math.exp(at) if axis.log else at, statistics.median(s for _, s in group)))
    return found


def _curve(trial: Trial, x: Scale, y: Scale, most: int = 40) -> str:
    """Path commands of a learning curve, thinned, first and last points kept."""
    known = [(share, score) for _, share, score in trial.curve if _known(score)]
    every = math.ceil(len(known) / most)
    kept = known[::every] + ([known[-1]] if known and (len(known) - 1) % every else [])
    return "".join(f"{'L' if i else 'M'}{x(a):.0f} {y(b):.1f}" for i, (a, b) in enumerate(kept))


def _time_ticks(last: float) -> list[tuple[float, str]]:
    unit, word = (1.0, "s") if last < 180 else (60.0, "min") if last < 10_800 else (3600.0, "h")
    ticks = Scale(0.0, last / unit, 0, 1).ticks(6)
    return [(v * unit, f"{v:g} {word}" if v else "0") for v in ticks]


def _axis_word(study: Summary) -> str:
    return study.metric + (" (lower is better)" if study.better == "lower" else "")


def _known(score: float | None) -> bool:
    return score is not None and math.isfinite(score)
