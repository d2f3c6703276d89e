"""Several ways to learn one thing, each with its own learning rate, over seeds."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from _results import commit, ended, flags, processor

Row = dict[str, Any]
"""What one run came to: "validation" chooses the rate, "test" is reported, in shares of 1."""


def best_of(rows: Mapping[float, Sequence[Row]]) -> float:
    """The rate whose runs validate best on the mean."""
    return max(rows, key=lambda rate: statistics.mean(r["validation"] for r in rows[rate]))


def compared(
    names: Iterable[str], rates: Sequence[float], seeds: int, run: Callable[..., Row]
) -> dict[str, Any]:
    """By name: the rate that was chosen by validation, and the runs of it, one for each seed."""
    found: dict[str, Any] = {}
    for name in names:
        rows = {rate: [run(name, rate, seed) for seed in range(seeds)] for rate in rates}
        rate = best_of(rows)
        found[name] = {"rate": rate, "runs": rows[rate]}
        print(name, rate, [round(100 * r["test"], 1) for r in rows[rate]], file=sys.stderr)
    return found


def scores(found: Mapping[str, Any], name: str) -> list[float]:
    return [100 * run["test"] for run in found[name]["runs"]]


def mean(found: Mapping[str, Any], name: str) -> float:
    """Points of accuracy."""
    return statistics.mean(scores(found, name))


def table(found: Mapping[str, Any], what: str) -> list[str]:
    """One line for each name: accuracy and its spread, numbers, bytes, CPU time."""
    lines = [
        f"| {what} | accuracy | spread | rate | numbers | saved bytes | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in found.items():
        points, runs = scores(found, name), entry["runs"]
        spread = statistics.stdev(points) if len(points) > 1 else 0.0
        seconds = statistics.mean(r["seconds"] for r in runs)
        lines.append(
            f"| {name} | {statistics.mean(points):.1f} | {spread:.1f} | {entry['rate']:g} "
            f"| {runs[0]['count']:,} | {runs[0]['saved']:,} | {seconds:.1f} |"
        )
    return lines


def finish(
    name: str,
    figures: dict[str, Any],
    text: str,
    claims: Sequence[tuple[str, bool]],
    asked: argparse.Namespace,
) -> int:
    """Print, save and check as all benchmarks do; the exit status."""
    figures |= {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": processor(),
        "commit": commit(),
        "claims": [{"claim": claim, "holds": holds} for claim, holds in claims],
    }
    told = [f"- {'holds' if holds else 'DOES NOT HOLD'}: {claim}" for claim, holds in claims]
    where = f"torch {figures['torch']}, {figures['machine']}, commit {figures['commit']}."
    whole = "\n".join([text, "", *told, "", where])
    status = ended(name, figures, whole, claims, asked)
    print(json.dumps(figures))
    return status


def arguments(about: str | None) -> argparse.Namespace:
    """--quick, --check and --save."""
    asked = flags(about, "few seeds and rates; minutes").parse_args()
    torch.set_num_threads(1)
    return asked
