"""Real tables of learning curves for the searchers: what they hold, and how they are made.

    python benchmarks/real_tables.py                                   # what the tables hold
    python benchmarks/real_tables.py --check --save
    python benchmarks/real_tables.py --make-table phoneme --data .../tab_small/phoneme.csv
    python benchmarks/real_tables.py --make-table characters

The claim: each table has at least 2,048 designs in at most 2 MB, curves of at least 8 points, every
point of its space and no other, at most 5 % of the designs within a point of the best, and
decisions that interact: of the variance of the ranks, the sum of what each decision explains alone
leaves out at least a tenth.

Making one takes up to 14 CPU minutes on one thread; a run that was cut goes on where it was.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _character_table as character_table
import _tabular_table as tabular_table
import numpy as np
from _learning_curves import Table
from _results import commit, flags, save

from vitruvius.search.rank_fidelity import ranks, spearman
from vitruvius.space import canonical, compile

MODULES = {"phoneme": tabular_table, "characters": character_table}


def figures_of(table: Table, path: Path) -> dict[str, Any]:
    gains = table.gains[:, -1]
    program = compile(table.space)
    drawn = {canonical(program.sample(Random(i))) for i in range(2000)}
    places = ranks(gains)
    explained: dict[str, float] = {}
    for address in sorted({name for point in table.points for name in point}):
        groups: dict[str, list[int]] = {}
        for i, point in enumerate(table.points):
            groups.setdefault(repr(point.get(address)), []).append(i)
        means = np.zeros(len(places))
        for rows in groups.values():
            means[rows] = places[rows].mean()
        explained[address] = float(means.var() / places.var())
    best = int(np.argmax(gains))
    tested = table.test[:, -1] * (1 if table.better == "higher" else -1) / table.unit
    finite = np.isfinite(gains) & np.isfinite(tested)
    return {
        "designs": len(table.points),
        "kB": round(path.stat().st_size / 1000),
        "checkpoints": table.validation.shape[1],
        "CPU seconds": float((table.seconds * table.validation.shape[1]).sum()),
        "seconds of a design": [
            float(v) for v in np.quantile(table.seconds, [0, 0.5, 1]) * table.validation.shape[1]
        ],
        "drawn points in the table": bool(drawn <= table.index.keys()),
        "distinct": len(table.index),
        "best": table.best,
        "of the best on test": float(table.test[best, -1]),
        "best point": table.points[best],
        "quantiles": [float(v) for v in np.nanquantile(table.scores, [0.1, 0.5, 0.9])],
        "within a point of the best": float((gains >= gains.max() - 1).mean()),
        "failed": float((~np.isfinite(gains)).mean()),
        "rank correlation with test": spearman(gains[finite], tested[finite]).value,
        "explained alone": explained,
        "interaction": 1 - sum(explained.values()),
    }


def told(name: str, one: dict[str, Any]) -> str:
    ordered = sorted(one["explained alone"].items(), key=lambda pair: -pair[1])
    alone = ", ".join(f"{address} {value:.0%}" for address, value in ordered)
    q, cost = one["quantiles"], one["seconds of a design"]
    return (
        f"## {name}\n\n{one['designs']} designs, {one['checkpoints']} checkpoints, {one['kB']} kB, "
        f"{one['CPU seconds']:.0f} CPU s in all; a design {cost[0]:.3f}, {cost[1]:.3f} and "
        f"{cost[2]:.3f} s (least, median, most). Validation at the end: best {one['best']:.4f} "
        f"({one['of the best on test']:.4f} on test), 10, 50 and 90 % of the designs {q[0]:.4f}, "
        f"{q[1]:.4f}, {q[2]:.4f}; {one['within a point of the best']:.1%} within a point of the "
        f"best, {one['failed']:.1%} failed. Rank correlation of validation and test "
        f"{one['rank correlation with test']:.3f}.\n\nBest: {one['best point']}.\n\nVariance of "
        f"the ranks that each decision explains alone: {alone}; left to interactions: "
        f"{one['interaction']:.0%}.\n"
    )


def failures(name: str, one: dict[str, Any]) -> list[str]:
    wrong = {
        "fewer than 2,048 designs": one["designs"] < 2048,
        "more than 2 MB": one["kB"] > 2000,
        "fewer than 8 checkpoints": one["checkpoints"] < 8,
        "a point of the space is missing": not one["drawn points in the table"],
        "a point stands twice": one["distinct"] != one["designs"],
        "more than 5 % within a point of the best": one["within a point of the best"] > 0.05,
        "decisions hardly interact": one["interaction"] < 0.1,
    }
    return [f"{name}: {word}." for word, is_so in wrong.items() if is_so]


def main() -> int:
    parser = flags(__doc__, "the same: it takes seconds")
    parser.add_argument("--make-table", choices=tuple(MODULES))
    parser.add_argument("--data", type=Path, help="phoneme.csv of the data kit's tab_small")
    parser.add_argument("--seconds", type=float, help="of CPU time, after which making pauses")
    arguments = parser.parse_args()
    began, limit = time.process_time(), arguments.seconds

    def stop() -> bool:
        return limit is not None and time.process_time() - began > limit

    if arguments.make_table is not None:
        if arguments.make_table == "phoneme":
            if arguments.data is None:
                parser.error("--make-table phoneme needs --data, the path of phoneme.csv")
            whole = tabular_table.make_table(arguments.data, stop=stop)
        else:
            whole = character_table.make_table(stop=stop)
        print(f"{time.process_time() - began:.0f} CPU s; {'whole' if whole else 'paused'}")
        return 0
    figures: dict[str, Any] = {"commit": commit(), "date": datetime.date.today().isoformat()}
    for name, module in MODULES.items():
        if module.TABLE.exists():
            figures[name] = figures_of(module.load(), module.TABLE)
    found = {name: figures[name] for name in MODULES if name in figures}
    text = "\n".join(told(name, one) for name, one in found.items())
    print(text)
    if arguments.save:
        save("real_tables", figures, text)
    ill = [line for name, one in found.items() for line in failures(name, one)]
    for line in ill:
        print("not met:", line)
    return int(bool(ill) and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
