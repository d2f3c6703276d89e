"""Rungs placed by measured rank fidelity: what they lose, at which cost, on three real tables.

    python benchmarks/rank_fidelity.py                 # about a minute of CPU time
    python benchmarks/rank_fidelity.py --quick         # 20 subsets instead of 200
    python benchmarks/rank_fidelity.py --check --save  # exit status 1 where the claim does not hold

The claim: in 200 random subsets of 64 designs of each table, rungs that were placed by the curves
of 64 other designs lose on average at most 0.2 points of the best of the subset, at no more than
40 % of the cost of training all 64, and less than training a random 40 % of them whole (paired
bootstrap over subsets, 95 %).

What the predictor sees. "Of an earlier study": the whole curves of 64 designs drawn from outside of
the subset, and of the subset's designs each score up to where the design stands still, no further.
"In the study itself": nothing from outside; 12 of the 64 are trained whole first, which is part of
the cost, and the rest as before. Neither sees a last score that was not paid for.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
import time
from math import comb
from typing import Any

from _results import commit, flags, processor, save

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _character_table as character_table
import _digits_table as digits_table
import _tabular_table as tabular_table
import numpy as np

from vitruvius.search.rank_fidelity import RankFidelity
from vitruvius.search.rung_plan import place, survivors

DESIGNS, SUBSETS, COST, WHOLE = 64, 200, 0.4, 12
LOSS = 0.2  # points
RANDOM, POWERS = "a random 40 % whole", "powers of 3 (the default)"
RULE = "first rung at rho >= 0.8, then thirds"
EARLIER, ITSELF = "measured, of an earlier study", "measured, in the study itself"
WAYS = (RANDOM, POWERS, RULE, EARLIER, ITSELF)


def tables() -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Gains in points [design, checkpoint], seconds of a design, and what a point is."""
    digits = digits_table.load()
    right = digits.validation.reshape(-1, digits.validation.shape[-1]).astype(float)
    right[right == digits_table.FAILED] = -np.inf
    found = {
        "digits": (
            100 * right / digits.of_validation,
            digits.seconds.reshape(-1) / right.shape[1],
            "1 % of the digits",
        )
    }
    for module, point in (
        (tabular_table, "1 % of the vowels"),
        (character_table, "1 % of a guess's bits, 0.056"),
    ):
        table = module.load()
        found[table.name] = (table.gains, table.seconds, point)
    return found


def cost(shares: tuple[float, ...], left: list[np.ndarray], price: np.ndarray) -> float:
    """Of training all whole: ``left`` holds who runs to each share."""
    parts = zip((0.0, *shares), shares, left, strict=False)
    return float(sum((b - a) * price[who].sum() for a, b, who in parts))


def run(
    fidelity: RankFidelity | None,
    gains: np.ndarray,
    grid: np.ndarray,
    shares: tuple[float, ...],
    reach: tuple[int, ...],
) -> list[np.ndarray]:
    """Who runs to each share. Without a fidelity the scores at the rung are all that is used."""
    left = [np.arange(len(gains))]
    plain = RankFidelity(grid, gains[:0])
    for i in range(1, len(reach)):
        picked = survivors(
            fidelity or plain, gains[left[-1]], shares[i - 1 : i + 1], reach[i - 1 : i + 1]
        )
        left.append(left[-1][picked])
    return left


def thirds(grid: np.ndarray, first: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Rungs from ``first`` on, three times as long each, at the checkpoints; a third goes on."""
    shares = [float(grid[np.abs(grid - first).argmin()])]
    while 3 * shares[-1] < 0.99:
        shares.append(float(grid[np.abs(grid - 3 * shares[-1]).argmin()]))
    shares.append(1.0)
    return tuple(shares), tuple(max(1, DESIGNS // 3**i) for i in range(len(shares)))


def subset(gains: np.ndarray, seconds: np.ndarray, grid: np.ndarray, seed: int) -> dict[str, Any]:
    """Loss in points and cost in epochs and seconds of each way, on one subset."""
    order = np.random.default_rng(seed).permutation(len(gains))
    mine, others = gains[order[:DESIGNS]], gains[order[DESIGNS : 2 * DESIGNS]]
    price = seconds[order[:DESIGNS]] / seconds[order[:DESIGNS]].sum()
    even = np.full(DESIGNS, 1 / DESIGNS)
    last, best = mine[:, -1], mine[:, -1].max()
    worst = last[np.isfinite(last)].min()
    found: dict[str, Any] = {}

    def note(way: str, shares: tuple[float, ...], left: list[np.ndarray]) -> None:
        costs = [cost(shares, left, weight) for weight in (even, price)]
        found[way] = (best - max(mine[left[-1], -1].max(), worst), *costs)

    count = int(COST * DESIGNS)
    falling = np.maximum(np.sort(last)[::-1], worst)
    chance = [comb(DESIGNS - 1 - i, count - 1) / comb(DESIGNS, count) for i in range(DESIGNS)]
    found[RANDOM] = (best - float(np.dot(chance, falling)), count / DESIGNS, count / DESIGNS)

    shares, reach = thirds(grid, 1 / 9)
    note(POWERS, shares, run(None, mine, grid, shares, reach))
    known = RankFidelity(grid, others)
    faithful = [rung.share for rung in known.rungs if rung.spearman.value >= 0.8]
    shares, reach = thirds(grid, faithful[0] if faithful else 1 / 3)
    note(RULE, shares, run(None, mine, grid, shares, reach))
    shares, reach, _ = place(known, DESIGNS, COST)
    left = run(known, mine, grid, shares, reach)
    note(EARLIER, shares, left)
    found["plan"] = (shares, reach)

    first = np.arange(WHOLE)
    paid = RankFidelity(grid, mine[:WHOLE])
    rest = (COST * DESIGNS - WHOLE) / (DESIGNS - WHOLE)
    shares, reach, _ = place(paid, DESIGNS - WHOLE, rest)
    inside = [who + WHOLE for who in run(paid, mine[WHOLE:], grid, shares, reach)]
    note(ITSELF, shares, [np.concatenate([first, who]) for who in inside])

    k = int(np.abs(grid - 0.3).argmin())
    chances = known.chances(k, mine[:, : k + 1])
    winner = int(last.argmax())
    likeliest = np.argsort(-chances, kind="stable")[:6]
    found["foreseen"] = (float(chances[winner]), float(winner in likeliest))
    return found


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval over subsets."""
    draw = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(values[draw].mean(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def figures_of(gains: np.ndarray, seconds: np.ndarray, point: str, subsets: int) -> dict[str, Any]:
    grid = np.arange(1, gains.shape[1] + 1) / gains.shape[1]
    everything = RankFidelity(grid, gains)
    found = [subset(gains, seconds, grid, seed) for seed in range(subsets)]
    ways: dict[str, Any] = {}
    losses = {way: np.array([one[way][0] for one in found]) for way in WAYS}
    for way in WAYS:
        ways[way] = {
            "loss": interval(losses[way]),
            "nothing lost": None if way == RANDOM else float((losses[way] == 0).mean()),
            "cost": float(np.mean([one[way][1] for one in found])),
            "most cost": float(np.max([one[way][1] for one in found])),
            "cost in seconds": float(np.mean([one[way][2] for one in found])),
            "less than random": interval(losses[RANDOM] - losses[way]),
        }
    middle = found[0]["plan"]
    return {
        "designs": len(gains),
        "point": point,
        "spread": [
            float(v) for v in np.quantile(np.maximum(gains[:, -1], -1e9), [0.1, 0.5, 0.9, 1])
        ],
        "rungs": [
            {
                "share": rung.share,
                **{
                    name: [
                        getattr(rung, name).value,
                        getattr(rung, name).low,
                        getattr(rung, name).high,
                    ]
                    for name in ("spearman", "kendall", "top_spearman", "top_kendall")
                },
            }
            for rung in everything.rungs
        ],
        "ways": ways,
        "a plan": {"shares": middle[0], "reach": middle[1]},
        "foreseen": [float(v) for v in np.mean([one["foreseen"] for one in found], 0)],
    }


def told(figures: dict[str, Any]) -> str:
    lines = []
    for name, one in figures["tables"].items():
        lines += [
            f"## {name}: {one['designs']} designs, a point is {one['point']}",
            "",
            "| share | rho, all | rho, best fifth | tau, all | tau, best fifth |",
            "|---|---|---|---|---|",
        ]
        for rung in one["rungs"]:
            cells = [
                "{:.2f} ({:.2f} to {:.2f})".format(*rung[key])
                for key in ("spearman", "top_spearman", "kendall", "top_kendall")
            ]
            lines.append(f"| {rung['share']:.0%} | {' | '.join(cells)} |")
        lines += [
            "",
            "| way | loss, points | nothing lost | cost | most | cost in seconds |",
            "|---|---|---|---|---|---|",
        ]
        for way, it in one["ways"].items():
            held = "-" if it["nothing lost"] is None else f"{it['nothing lost']:.0%}"
            loss = "{:.2f} ({:.2f} to {:.2f})".format(*it["loss"])
            lines.append(
                f"| {way} | {loss} | {held} | {it['cost']:.1%} | {it['most cost']:.1%} | "
                f"{it['cost in seconds']:.1%} |"
            )
        shares, reach = one["a plan"]["shares"], one["a plan"]["reach"]
        steps = ", ".join(f"{n} to {s:.0%}" for n, s in zip(reach, shares, strict=True))
        chance, among = one["foreseen"]
        lines += [
            "",
            f"The rungs of the first subset, by the earlier study: {steps}. At 30 % of the "
            f"training the later best has a foreseen chance of {chance:.0%} on average (a guess: "
            f"{1 / DESIGNS:.1%}) and is among the six likeliest in {among:.0%} of the subsets.",
            "",
        ]
    return "\n".join(lines)


def failures(figures: dict[str, Any]) -> list[str]:
    found = []
    for name, one in figures["tables"].items():
        it = one["ways"][EARLIER]
        if it["loss"][0] > LOSS:
            found.append(f"{name}: the mean loss is {it['loss'][0]:.3f} points, above {LOSS}.")
        if it["most cost"] > COST + 1e-9:
            found.append(f"{name}: the cost is {it['most cost']:.1%}, above {COST:.0%}.")
        if it["less than random"][1] <= 0:
            found.append(f"{name}: not clearly better than training a random 40 % whole.")
    return found


def main() -> int:
    parser = flags(__doc__, "20 subsets")
    parser.add_argument("--tables", nargs="*", help="only these")
    arguments = parser.parse_args()
    began = time.process_time()
    subsets = 20 if arguments.quick else SUBSETS
    figures: dict[str, Any] = {
        "subsets": subsets,
        "tables": {
            name: figures_of(*parts, subsets)
            for name, parts in tables().items()
            if not arguments.tables or name in arguments.tables
        },
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "machine": processor(),
    }
    figures["CPU seconds"] = round(time.process_time() - began, 1)
    head = (
        f"{subsets} random subsets of {DESIGNS} designs, seeds 0 to {subsets - 1}. Loss: against "
        "the best of the subset, mean and 95 % bootstrap interval over subsets. Cost: of training "
        f"all whole. {figures['CPU seconds']} CPU s, {figures['machine']}, "
        f"numpy {figures['numpy']}, "
        f"commit {figures['commit']}.\n\nWhat the{(__doc__ or '').split('What the', 1)[1]}\n"
    )
    text = head + told(figures)
    print(text)
    if arguments.save:
        save("rank_fidelity", figures, text)
    ill = failures(figures)
    for line in ill:
        print("not met:", line)
    return int(bool(ill) and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
