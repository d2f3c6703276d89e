"""What the runs of ``search_peers.py`` say: tables, and the claims with their figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from _peer_runs import COSTED, PRELOADED
from _peer_searches import OURS, PEERS, RANDOM, present
from _peer_statistics import (
    Values,
    grouped,
    holm,
    mean_interval,
    normalised,
    pairs,
    pooled_difference,
    ratio_interval,
)
from _peer_tasks import TABLES

CLAIMED = {64: 1.0, 256: 0.85, 1000: 0.85}  # of the best peer's regret on the tree
POOLED = (64, 256)
MARGIN, ALPHA, LIMIT = 0.05, 0.05, 5.0
AIMS = {100: 0.45, 300: 0.10, 1000: 0.05}
Figures = dict[str, Any]
"""``runs``, ``expected`` (by task, instance and size), ``costs``, ``sizes`` by task, ``quick``."""


def values(figures: Figures, peer: str, task: str, size: int) -> Values:
    """Normalised regret by seed, of the runs that reached the size."""
    runs = [r for r in figures["runs"] if r["peer"] == peer and r["task"] == task]
    if not runs or size not in sizes_of(figures, task):
        return {}
    return normalised(runs, figures["expected"][task], size)


def seeds(figures: Figures, peer: str, task: str) -> int:
    return sum(r["peer"] == peer and r["task"] == task for r in figures["runs"])


def reached(figures: Figures, peer: str, task: str, size: int) -> bool:
    """Whether at least half of the runs did: then the size counts, by those that did."""
    count = seeds(figures, peer, task)
    return count > 0 and 2 * len(values(figures, peer, task, size)) >= count


def tasks(figures: Figures) -> list[str]:
    return [name for name in (*TABLES, "tree") if any(r["task"] == name for r in figures["runs"])]


def sizes_of(figures: Figures, task: str) -> list[int]:
    return figures["sizes"].get(task, [])


def rivals(figures: Figures) -> list[str]:
    """Peers that have runs, random search apart."""
    ran = {r["peer"] for r in figures["runs"]}
    return [name for name in PEERS if name in ran and name not in (OURS, RANDOM)]


# ------------------------------------------------------------------------ claims


def claims(figures: Figures) -> Iterator[tuple[str, bool]]:
    """Each in words, and whether it holds. Where tasks or peers are missing, that fails."""
    for name in COSTED:
        row = figures["costs"].get(name)
        if row is not None:
            said = f"{name}: {row['milliseconds']:.2f} ms <= {LIMIT:g} ms of CPU an ask and tell"
            yield f"{said} after {row['trials']:,} trials", row["milliseconds"] <= LIMIT
    if figures["quick"]:
        return
    for name in PEERS:
        if name not in present() or not any(r["peer"] == name for r in figures["runs"]):
            yield f"{name} was run", False
    for task in (*TABLES, "tree"):
        if task not in tasks(figures):
            yield f"the task {task} is there", False
    if "tree" in tasks(figures):
        yield from tree_claims(figures)
    yield from pooled_claims(figures)


def best_rival(figures: Figures, task: str, size: int) -> str | None:
    """The peer whose regret is smallest on the mean, of those that reach the size."""
    there = [n for n in rivals(figures) if reached(figures, n, task, size)]
    means = {n: np.mean(list(values(figures, n, task, size).values())) for n in there}
    return min(means, key=lambda n: means[n]) if means else None


def tree_claims(figures: Figures) -> Iterator[tuple[str, bool]]:
    for size, most in CLAIMED.items():
        rival = best_rival(figures, "tree", size)
        if rival is None:
            yield f"some peer reaches {size} on the tree", False
            continue
        both = pairs(values(figures, OURS, "tree", size), values(figures, rival, "tree", size))
        if not len(both):
            yield f"{OURS} and {rival} were run on the tree", False
            continue
        ratio, low, high = ratio_interval(both)
        said = f"tree, {size}: {ratio:.2f} [{low:.2f}, {high:.2f}] of the regret of {rival}"
        if most < 1:
            yield f"{said}, the whole interval at most {most}", high <= most
        else:
            yield f"{said}, not above it", ratio <= most


def pooled(figures: Figures) -> dict[str, dict[str, float]]:
    """Of each peer: ours less theirs over all tasks, a task's pair being the mean over the sizes
    that both reached. Random search has exactly 1 on the mean."""
    found = {}
    for name in [RANDOM, *rivals(figures)]:
        strata = []
        for task in tasks(figures):
            held: dict[int, list[float]] = {}
            for size in POOLED:
                ours = values(figures, OURS, task, size)
                theirs = values(figures, name, task, size)
                if name == RANDOM:
                    theirs = dict.fromkeys(grouped(ours), 1.0)
                elif not reached(figures, name, task, size):
                    continue
                mine = grouped(ours)
                for seed in set(mine) & set(theirs):
                    held.setdefault(seed, []).append(mine[seed] - theirs[seed])
            if held:
                strata.append(np.array([np.mean(held[seed]) for seed in sorted(held)]))
        if strata:
            found[name] = pooled_difference(strata)
    corrected = holm({name: row["p"] for name, row in found.items()})
    return {name: {**row, "holm": corrected[name]} for name, row in found.items()}


def pooled_claims(figures: Figures) -> Iterator[tuple[str, bool]]:
    for name, row in pooled(figures).items():
        said = f"all tasks, 64 and 256: {row['difference']:+.3f} to {name}"
        if abs(row["difference"]) < MARGIN and row["holm"] >= ALPHA:
            told = f"{said}, not worse by more than {MARGIN} (upper end {row['high']:+.3f})"
            yield told, row["high"] <= MARGIN
        else:
            better = row["difference"] < 0 and row["holm"] < ALPHA
            yield f"{said}, Holm's p = {row['holm']:.2g} < {ALPHA}", better


# ------------------------------------------------------------------------ report


LEGEND = """
Regret over what random search has on the mean after as many evaluations (1: no better than random,
0: the best there is): its mean over seeds and the 95 % bootstrap interval. "7 of 10" reached the
size within 60 CPU seconds; where fewer than half did, no figure is given, but where runs ended: at
a size, if the next would at their pace take 1.25 times what was left. ms: CPU time of an ask and
its tell, on the mean of a run as far as it came. MB: the most that a run's process held, and
of that what came on top of the imported packages.
"""


def report(figures: Figures) -> str:
    lines = [f"{', '.join(f'{n} {v}' for n, v in versions(figures).items())}.", LEGEND]
    for task in tasks(figures):
        lines += ["", f"## {task}", "", *table(figures, task), "", *winners(figures, task)]
    if "tree" in tasks(figures):
        lines += ["", *aims(figures)]
    lines += ["", "## All tasks, 64 and 256 pooled", "", *pooled_table(figures)]
    if figures["costs"]:
        lines += ["", f"## CPU time of an ask and its tell after {PRELOADED:,} trials", ""]
        lines += [
            "| searcher | ms | 1 M additions, s (idle: 0.05) |",
            "|---|---|---|",
        ]
        lines += [
            f"| {name} | {row['milliseconds']:.2f} | {row['calibration']:.3f} |"
            for name, row in figures["costs"].items()
        ]
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    return "\n".join(lines)


def versions(figures: Figures) -> dict[str, str]:
    """Of the packages that the runs were made with; several if they changed in between."""
    held: dict[str, set[str]] = {}
    for run in figures["runs"]:
        held.setdefault(PEERS[run["peer"]].package, set()).add(run["version"])
    return {name: " and ".join(sorted(found)) for name, found in held.items()}


def table(figures: Figures, task: str) -> list[str]:
    """A row for each searcher, the best first at the largest size that all reach."""
    sizes = sizes_of(figures, task)
    lines = [f"| searcher | seeds | {' | '.join(f'@{n}' for n in sizes)} | ms | MB |"]
    lines.append("|---|---|" + "---|" * (len(sizes) + 2))
    exact = figures["expected"][task].values()
    cells = [f"1 ({np.mean([row[str(n)] for row in exact]):.4f})" for n in sizes]
    lines.append(f"| random search, exactly (regret) |  | {' | '.join(cells)} |  |  |")
    for name in PEERS:
        runs = [r for r in figures["runs"] if r["peer"] == name and r["task"] == task]
        if not runs:
            continue
        cells = [cell(figures, name, task, size) for size in sizes]
        milliseconds = np.mean([r["milliseconds"] for r in runs])
        before, most = np.max([r["memory"] for r in runs], axis=0)
        lines.append(
            f"| {name} | {len(runs)} | {' | '.join(cells)} "
            f"| {milliseconds:.3g} | {most:.0f} (+{most - before:.0f}) |"
        )
    return lines


def cell(figures: Figures, name: str, task: str, size: int) -> str:
    held, count = values(figures, name, task, size), seeds(figures, name, task)
    share = "" if len(held) == count else f" ({len(held)} of {count})"
    if not reached(figures, name, task, size):
        runs = [r for r in figures["runs"] if r["peer"] == name and r["task"] == task]
        at = int(np.median([r["evaluations"] for r in runs]))
        return f"not reached: {len(held)} of {count}, at {at}"
    mean, low, high = mean_interval(list(held.values()))
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]{share}"


def winners(figures: Figures, task: str) -> list[str]:
    """Where a peer has the smaller regret, and whether chance explains it."""
    lines = []
    for size in sizes_of(figures, task):
        ours = values(figures, OURS, task, size)
        for name in rivals(figures):
            if not ours or not reached(figures, name, task, size):
                continue
            both = pairs(ours, values(figures, name, task, size))
            if not len(both):
                continue
            ratio, low, high = ratio_interval(both)
            if ratio > 1:
                sure = "the interval holds 1" if low <= 1 else "beyond chance"
                lines.append(
                    f"- **{name} wins at {size}**: ours has {ratio:.2f} [{low:.2f}, {high:.2f}] "
                    f"times its regret ({sure})."
                )
    return lines or ["No peer has the smaller mean regret at any size it reaches."]


def aims(figures: Figures) -> list[str]:
    cells = []
    for size, aim in AIMS.items():
        held = values(figures, OURS, "tree", size)
        if held:
            mean, low, high = mean_interval(list(held.values()))
            cells.append(f"{mean:.2f} [{low:.2f}, {high:.2f}] after {size:,} (aim {aim})")
    return [f"{OURS} on the tree, ratio to random's regret: {'; '.join(cells)}."] if cells else []


def pooled_table(figures: Figures) -> list[str]:
    lines = ["| ours less | difference | 90 % interval | pairs | p | Holm's p |"]
    lines.append("|---|---|---|---|---|---|")
    for name, row in pooled(figures).items():
        lines.append(
            f"| {name} | {row['difference']:+.3f} | [{row['low']:+.3f}, {row['high']:+.3f}] "
            f"| {row['pairs']} | {row['p']:.2g} | {row['holm']:.2g} |"
        )
    return lines


def shown(run: Figures) -> str:
    """What is known of a run, in a line."""
    regrets = ", ".join(f"{n}: {r:.4f}" for n, r in run["regret"].items())
    different = f" ({run['different']} different)" if "different" in run else ""
    return (
        f"{run['peer']}, {run['task']}, seed {run['seed']}: {regrets}; {run['evaluations']} "
        f"evaluations{different}, {run['milliseconds']:.3g} ms"
    )
