"""What the runs of ``adapters.py`` say: claims, tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import _adapter_digits as digits
import _adapter_texts as texts

Figures = Mapping[str, Any]
Claim = tuple[str, bool]
POINTS, NEAR, KEPT, MORE, SLOWER, MERGED = 5.0, 3.0, 0.20, 1.02, 1.05, 1.02
LEAST = 0.9  # of the budget


def of(figures: Figures, part: str, apart: int = 100) -> dict[str, list[dict[str, Any]]]:
    """Runs of a part by name, in the order of their seeds; not those that chose the rate."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(figures["runs"], key=lambda r: r["seed"]):
        if run["part"] == part and run["seed"] < apart:
            found.setdefault(run["name"], []).append(run)
    return found


def points(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [100 * run["test"] for run in runs]


def mean(runs: Sequence[Mapping[str, Any]]) -> float:
    return statistics.fmean(points(runs))


def claims(figures: Figures, truth: str) -> Iterator[Claim]:
    """Each claim, and whether it holds; of a quick run those alone that no chance decides."""
    quick = figures["quick"]
    for part, budget, methods in (
        ("i", digits.BUDGET, digits.METHODS),
        ("ii", texts.BUDGET, texts.METHODS),
    ):
        counts = {r["count"] for n, rows in of(figures, part).items() if n in methods for r in rows}
        if counts:
            told = f"{part}: {min(counts):,} to {max(counts):,} numbers train, of {budget:,}"
            yield f"{told} (+0, -10 %)", LEAST * budget <= min(counts) <= max(counts) <= budget
    if not quick:
        yield from _of_digits(figures)
        yield from _of_texts(figures, truth)
        yield from _of_search(figures)
    yield from _of_speed(figures)


def _of_digits(figures: Figures) -> Iterator[Claim]:
    found = of(figures, "i")
    if digits.PROBE in found:
        for name in digits.CLAIMED:
            gain = mean(found[name]) - mean(found[digits.PROBE])
            told = f"i: {name} ends {gain:.1f} points above the linear probe"
            yield f"{told} (at least {POINTS:g})", gain >= POINTS


def _of_texts(figures: Figures, truth: str) -> Iterator[Claim]:
    found = of(figures, "ii")
    if {texts.PROBE, texts.LOW_RANK} <= found.keys():
        told = interval(found[texts.LOW_RANK], truth, found[texts.PROBE])
        gain, low, high = told
        yield f"ii: low rank less the linear probe is {_told(gain, low, high)}, above 0", low > 0


def _of_search(figures: Figures) -> Iterator[Claim]:
    rows = beside(figures)
    if rows:
        ended = statistics.fmean(row["search"] for row in rows)
        best = max(
            statistics.fmean(row["fixed"][name] for row in rows) for name in rows[0]["fixed"]
        )
        told = f"search: it ends with {ended:.1f} on the mean, the best method has {best:.1f}"
        yield f"{told} (at most {NEAR:g} more)", ended >= best - NEAR
        above = sum(row["search"] > row["median"] for row in rows)
        yield f"search: above the median method in {above} of {len(rows)} seeds", above == len(rows)


def _of_speed(figures: Figures) -> Iterator[Claim]:
    for run in of(figures, "speed").get("speed", ()):
        for tokens, one in run["lengths"].items():
            share = one["reader"]["saved"] / one["equal"]["saved"]
            told = f"speed, {tokens} tokens: UniPT keeps {share:.1%} of what low rank keeps"
            yield f"{told} (at most {KEPT:.0%})", share <= KEPT
            for what, most in (("flops", MORE), ("saved", MORE), ("seconds", SLOWER)):
                if what != "seconds" or not figures["quick"]:
                    ratio = one["ours"][what] / one["peft"][what]
                    told = f"speed, {tokens} tokens: {what} {ratio:.3f} times those of peft"
                    yield f"{told} (at most {most})", ratio <= most
            if not figures["quick"]:
                ratio = one["merged"] / one["bare"]
                told = f"speed, {tokens} tokens: merged {ratio:.3f} times the bare model"
                yield f"{told} (at most {MERGED})", ratio <= MERGED


def beside(figures: Figures) -> list[dict[str, Any]]:
    """Of each seed that was searched: its score, and those of the methods with the same head."""
    fixed = {
        name: {run["seed"]: 100 * run["test"] for run in runs}
        for name, runs in of(figures, "i").items()
        if name in digits.METHODS and digits.METHODS[name].head == digits.HEAD
    }
    rows = []
    for run in of(figures, "search").get("search", ()):
        here = {name: seeds[run["seed"]] for name, seeds in fixed.items() if run["seed"] in seeds}
        if here and here.keys() == fixed.keys():
            median = statistics.median(here.values())
            rows.append({**run, "search": 100 * run["test"], "fixed": here, "median": median})
    return rows


def interval(
    runs: Sequence[Mapping[str, Any]], truth: str, against: Sequence[Mapping[str, Any]] | None
) -> tuple[float, float, float]:
    """Macro F1 of 100 with its interval, of seeds that both have."""
    shared = {r["seed"] for r in runs} & {r["seed"] for r in (runs if against is None else against)}
    said = [r["said"] for r in runs if r["seed"] in shared]
    other = None if against is None else [r["said"] for r in against if r["seed"] in shared]
    size = min(map(len, said))  # of a quick run, the first texts
    value, low, high = texts.resampled(said, truth[:size], other)
    return 100 * value, 100 * low, 100 * high


def _told(value: float, low: float, high: float, sign: str = "+") -> str:
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def report(figures: Figures, truth: str) -> str:
    lines = [*_digits_table(figures), *_texts_table(figures, truth)]
    lines += [*_search_table(figures), *_speed_table(figures)]
    lines += [
        f"- {'holds' if holds else 'DOES NOT HOLD'}: {told}"
        for told, holds in claims(figures, truth)
    ]
    return "\n".join([*lines, "", json.dumps(figures["made"])])


def _digits_table(figures: Figures) -> list[str]:
    found = of(figures, "i")
    if not found:
        return []
    probe = found.get(digits.PROBE, [])
    seeds = max(map(len, found.values()))
    lines = [
        f"## i. Digits 5 to 9 from 200 labels, {seeds} seeds",
        "",
        "| method | accuracy | deviation | above the probe | rate | numbers | saved kB | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(found, key=lambda n: (n in digits.BESIDE, -mean(found[n]))):
        runs = found[name]
        spread = statistics.stdev(points(runs)) if len(runs) > 1 else 0.0
        above = f"{mean(runs) - mean(probe):+.1f}" if probe else "-"
        seconds = statistics.fmean(run["seconds"] for run in runs)
        lines.append(
            f"| {name} | {mean(runs):.1f} | {spread:.1f} | {above} | {runs[0]['rate']:g} "
            f"| {runs[0]['count']:,} | {runs[0]['saved'] / 1e3:,.0f} | {seconds:.1f} |"
        )
    last = list(digits.BESIDE)
    return [*lines, "", f"Of another size than the budget, at the end: {', '.join(last)}.", ""]


def _texts_table(figures: Figures, truth: str) -> list[str]:
    found = of(figures, "ii")
    if not found:
        return []
    seeds = max(map(len, found.values()))
    lines = [
        f"## ii. MiniLM on SciCite, {texts.LABELLED} labels, {seeds} seeds",
        "",
        f"| method | macro F1 [95 %] | less {texts.PROBE} | less {texts.DRAWN} | rate | numbers "
        "| saved MB | CPU s | peak MB | of these before |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        cells = [_told(*interval(runs, truth, None), sign="")]
        for other in (texts.PROBE, texts.DRAWN):
            known = other in found and other != name
            cells.append(_told(*interval(runs, truth, found[other])) if known else "-")
        seconds = statistics.fmean(run["seconds"] for run in runs)
        peak, before = (statistics.fmean(run[key] for run in runs) for key in ("peak", "before"))
        cells += [f"{runs[0]['rate']:g}", f"{runs[0]['count']:,}", f"{runs[0]['saved'] / 1e6:.1f}"]
        cells += [f"{seconds:.0f}", f"{peak / 1e6:.0f}", f"{before / 1e6:.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _search_table(figures: Figures) -> list[str]:
    runs, rows = of(figures, "search").get("search", []), beside(figures)
    if not runs:
        return []
    lines = [
        f"## Search over any adapter, {len(runs)} seeds",
        "",
        "| seed | accuracy | best method | median | trials | whole | refused | CPU s | design |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        row = next((row for row in rows if row["seed"] == run["seed"]), None)
        best = "-" if row is None else f"{max(row['fixed'].values()):.1f}"
        median = "-" if row is None else f"{row['median']:.1f}"
        lines.append(
            f"| {run['seed']} | {100 * run['test']:.1f} | {best} | {median} | {run['trials']} "
            f"| {run['whole']} | {len(run['failed'])} | {run['cpu_seconds']:.0f} "
            f"| `{run['adapter']}`, `{run['optimizer']}` |"
        )
    return [*lines, ""]


def _speed_table(figures: Figures) -> list[str]:
    found = of(figures, "speed").get("speed", [])
    if not found:
        return []
    lines = [
        f"## Memory and speed, MiniLM, 32 rows, medians of {found[0]['pairs']} pairs",
        "",
        "| tokens | UniPT MB | low rank MB | ours MB | peft MB | ours GFLOP | peft GFLOP | ours s "
        "| peft s | merged s | bare s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for tokens, one in found[0]["lengths"].items():
        saved = [f"{one[name]['saved'] / 1e6:.1f}" for name in ("reader", "equal", "ours", "peft")]
        flops = [f"{one[name]['flops'] / 1e9:.2f}" for name in ("ours", "peft")]
        seconds = [one["ours"]["seconds"], one["peft"]["seconds"], one["merged"], one["bare"]]
        cells = [*saved, *flops, *(f"{s:.3f}" for s in seconds)]
        lines.append(f"| {tokens} | {' | '.join(cells)} |")
    return [*lines, ""]
