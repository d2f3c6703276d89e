"""What the runs of both protocols come to: intervals over splits, claims, a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import stats

from vitruvius.techniques.protocols import swaps

LOWER, MIDDLE, UPPER = "fine-tuning", "replay", "joint"


def judged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Optimism with its interval over splits, swapped pairs, slope over hyperparameters, and the
    three levels by split."""
    both = [row for row in rows if "optimism" in row]
    splits = sorted({row["split"] for row in both})
    of = {s: float(np.mean([r["optimism"] for r in both if r["split"] == s])) for s in splits}
    same = {s: float(np.mean([r["same orders"] for r in both if r["split"] == s])) for s in splits}
    swapped = []
    for key in sorted({(r["split"], r["direction"]) for r in both}):
        some = [r for r in both if (r["split"], r["direction"]) == key]
        orders = [
            [r["method"] for r in sorted(some, key=lambda r: -r[by])]
            for by in ("conventional", "two-phase")
        ]
        swapped.append(swaps(orders[0], orders[1]))
    slopes = []
    for s in splits:
        some = [r for r in both if r["split"] == s]
        x, y = ([r[by] for r in some] for by in ("decisions", "optimism"))
        slopes.append(float(np.polyfit(x, y, 1)[0]))
    levels: dict[str, list[float]] = {}
    for name in (LOWER, MIDDLE, UPPER):
        of_method = [r for r in rows if r["method"] == name]
        levels[name] = [
            float(np.mean([r["two-phase"] for r in of_method if r["split"] == s])) for s in splits
        ]
    return {
        "optimism": interval(list(of.values())),
        "same orders": interval(list(same.values())),
        "by split": list(of.values()),
        "swapped": swapped,
        "slope": interval(slopes),
        "levels": levels,
    }


def interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % of Student's t over splits."""
    x = np.array(values)
    wide = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
    return {"mean": float(x.mean()), "low": float(x.mean() - wide), "high": float(x.mean() + wide)}


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each with whether it holds; with few splits only what chance does not decide."""
    found, whole = figures["judged"], figures["made"]["splits"] >= 5
    if whole:
        o, slope = found["optimism"], found["slope"]
        yield (
            f"optimism {100 * o['mean']:.2f} points ({100 * o['low']:.2f} to "
            f"{100 * o['high']:.2f}) is above 0",
            o["low"] > 0,
        )
        swapped = float(np.mean(found["swapped"]))
        yield (
            f"{swapped:.1f} pairs of methods swapped on the mean, at least 1; or a slope "
            f"above 0: {100 * slope['mean']:.3f} points for each hyperparameter",
            swapped >= 1 or slope["mean"] > 0,
        )
    low, mid, high = (float(np.mean(found["levels"][n])) for n in (LOWER, MIDDLE, UPPER))
    yield (
        f"{LOWER} {100 * low:.1f} < {MIDDLE} {100 * mid:.1f} < {UPPER} {100 * high:.1f}",
        low < mid < high,
    )


def report(figures: dict[str, Any]) -> str:
    rows, found, made = figures["runs"], figures["judged"], figures["made"]
    lines = [
        "Average accuracy in points, mean over splits and directions. Final accuracy and "
        "forgetting are those of phase 2; spread is the mean standard deviation over its orders; "
        "FLOPs are those of a design in one order.",
        "",
        "| method | decisions | conventional | two-phase | optimism | same orders | spread "
        "| final | forgetting | MFLOPs | parameters |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in made["methods"]:
        some = [r for r in rows if r["method"] == name]

        def mean(of: str, some: list[dict[str, Any]] = some) -> str:
            return f"{100 * np.mean([r[of] for r in some]):.2f}" if of in some[0] else "-"

        runs = made["trials"] * made["orders"]
        flops = np.mean([r["flops"] for r in some]) / runs / 1e6
        cells = [mean(of) for of in ("conventional", "two-phase", "optimism", "same orders")]
        cells += [mean(of) for of in ("spread", "final accuracy", "forgetting")]
        most = max(r["parameters"] for r in some)
        lines.append(
            f"| {name} | {some[0]['decisions']} | {' | '.join(cells)} | {flops:.0f} | {most:,} |"
        )
    same, slope = found["same orders"], found["slope"]
    lines += [
        "",
        "Optimism by split, in points: "
        + ", ".join(f"{100 * x:.2f}" for x in found["by split"])
        + f". In the same orders {100 * same['mean']:.2f} ({100 * same['low']:.2f} to "
        f"{100 * same['high']:.2f}).",
        "Pairs swapped by scenario: " + ", ".join(map(str, found["swapped"])) + ". Slope of "
        f"optimism over decisions {100 * slope['mean']:.3f} ({100 * slope['low']:.3f} to "
        f"{100 * slope['high']:.3f}) points each.",
        f"Designs that failed: {sum(r['failed'] for r in rows):.0f}. CPU time "
        f"{figures['cpu seconds']:.0f} s.",
        "",
    ]
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(made))
    return "\n".join(lines)
