"""Do prompts that were trained before help where labels are few?

    nice python benchmarks/pvp.py            # 3 bases x 3 draws, two rates: five minutes
    python benchmarks/pvp.py --quick         # one base, three draws
    python benchmarks/pvp.py --check --save  # exit status 1 where the claim does not hold

The model of ``_transfer.py`` knows the digits 0 to 2. Eight prompts before each layer are trained
on the digits 3 to 5, with the base frozen; then they, or prompts drawn at random, are trained on k
labels of each of the digits 6 to 9, with a new head. Each arm has the rate of the grid that
validates best on the mean. The claim (card 52): trained before, prompts end higher at k = 1 and 4,
on the mean over bases and draws. Beside it: k = 16, and the linear probe. The base is the same
after both.
"""

from __future__ import annotations

import functools
import statistics
import sys
from typing import Any

import numpy as np
from _compared import arguments, best_of, finish
from _transfer import adapt, pretrained, target

from vitruvius.contracts import Adapter, Fitted
from vitruvius.techniques.adapters import LinearProbe, Prompts
from vitruvius.techniques.sources import Loaded
from vitruvius.train.adapting import handed_on
from vitruvius.train.attached import base_digest

FIRST, SECOND, THIRD = (0, 1, 2), (3, 4, 5), (6, 7, 8, 9)
RATES = (3e-3, 3e-2)
BEFORE, RANDOM, PROBE = "prompts trained before", "prompts drawn", "linear probe"
METHODS: dict[str, Adapter] = {
    BEFORE: Prompts(8, source=Loaded()),
    RANDOM: Prompts(8),
    PROBE: LinearProbe(),
}
SHOTS, GATED = (1, 4, 16), (1, 4)
EPOCHS = 40


@functools.cache
def module(seed: int) -> Fitted:
    """Prompts trained on the second digits, for the same base."""
    base = pretrained(seed, digits=FIRST)
    made = adapt(base, Prompts(8), target(seed, 150, SECOND), 1e-2, seed, 2 * EPOCHS)
    fitted = handed_on(*made.adapted.save(), base)
    assert base_digest(made.adapted.detach()) == base_digest(base)
    return fitted


def run(name: str, shots: int, rate: float, seed: int, draw: int) -> dict[str, Any]:
    base = pretrained(seed, digits=FIRST)
    data = target(10 * seed + draw, shots * len(THIRD), THIRD)
    fitted = module(seed) if name == BEFORE else None
    made = adapt(base, METHODS[name], data, rate, 10 * seed + draw, EPOCHS, batch=16, fitted=fitted)
    return {"validation": made.validation, "test": made.test, "seconds": made.seconds}


def measure(bases: int, draws: int, rates: tuple[float, ...], shots: tuple[int, ...]) -> Any:
    assert not {*FIRST, *SECOND} & {*THIRD} and not {*FIRST} & {*SECOND}
    found: dict[str, Any] = {}
    for k in shots:
        for name in METHODS:
            rows = {
                rate: [run(name, k, rate, s, d) for s in range(bases) for d in range(draws)]
                for rate in rates
            }
            rate = best_of(rows)
            found.setdefault(name, {})[k] = {"rate": rate, "runs": rows[rate]}
            tests = [round(100 * r["test"], 1) for r in rows[rate]]
            print(name, k, rate, tests, file=sys.stderr)
    return found


def points(found: Any, name: str, k: int) -> list[float]:
    return [100 * r["test"] for r in found[name][k]["runs"]]


def main() -> int:
    asked = arguments(__doc__)
    bases, draws = (1, 3) if asked.quick else (3, 3)
    shots = GATED if asked.quick else SHOTS
    found = measure(bases, draws, RATES, shots)
    claims = []
    for k in GATED:
        pairs = zip(points(found, BEFORE, k), points(found, RANDOM, k), strict=True)
        gains = [a - b for a, b in pairs]
        error = np.std(gains, ddof=1) / len(gains) ** 0.5
        gain = statistics.mean(gains)
        claims.append((f"k = {k}: {gain:.1f} points higher (standard error {error:.1f})", gain > 0))
    lines = [
        f"{bases} bases x {draws} draws; chance is 25.",
        "",
        "| start | " + " | ".join(f"k = {k}" for k in shots) + " |",
        "|---|" + "---|" * len(shots),
    ]
    for name in METHODS:
        cells = []
        for k in shots:
            here = points(found, name, k)
            rate = found[name][k]["rate"]
            cells.append(f"{statistics.mean(here):.1f} ± {statistics.stdev(here):.1f} ({rate:g})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Mean accuracy ± deviation over bases and draws, and the rate."]
    return finish("pvp", {"methods": found}, "\n".join(lines), claims, asked)


if __name__ == "__main__":
    sys.exit(main())
