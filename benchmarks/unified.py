"""Beside or behind? Where small networks help, at equal numbers of trained parameters.

    nice python benchmarks/unified.py            # 5 seeds, two rates: six minutes of one core
    python benchmarks/unified.py --quick         # two seeds, one rate, the methods of the claims
    python benchmarks/unified.py --check --save  # exit status 1 where a claim does not hold

The transfer task of ``_transfer.py``: a vision transformer of digits 0 to 4 learns 5 to 9 from 200
labels, each adapter at about 2,500 numbers (+0, -10 %) with the rate that validates best.
The claims (card 41): on the mean over seeds a parallel bottleneck ends above a serial one, and MAM
above a prefix alone. Printed beside them: an aside module beside low-rank updates against those
alone (card 05), where nothing is claimed.
"""

from __future__ import annotations

import sys
from typing import Any

from _compared import arguments, compared, finish, mean, table
from _transfer import adapt, pretrained, target

from vitruvius.contracts import Adapter
from vitruvius.techniques.adapters import (
    MAM,
    Aside,
    Bottleneck,
    Houlsby,
    LinearProbe,
    LowRank,
    Prefix,
    Together,
)

RATES = (5e-3, 1.5e-2)
SEEDS = 5
PARALLEL, SERIAL, PROBE = "parallel bottleneck", "serial bottleneck", "linear probe"
METHODS: dict[str, Adapter] = {
    PROBE: LinearProbe(),
    PARALLEL: Bottleneck(8),
    SERIAL: Bottleneck(8, "serial", "add"),
    "Houlsby": Houlsby(4),
    "prefix": Prefix(8),
    "MAM": MAM(2, 6),
    "low rank": LowRank(4),
    "low rank and aside": Together((LowRank(2), Aside("layer", 3))),
}
CLAIMED = (PARALLEL, SERIAL, "prefix", "MAM")


def run(name: str, rate: float, seed: int) -> dict[str, Any]:
    made = adapt(pretrained(seed), METHODS[name], target(seed), rate, seed)
    return {
        "validation": made.validation,
        "test": made.test,
        "seconds": made.seconds,
        "saved": made.saved,
        "count": made.count,
    }


def main() -> int:
    asked = arguments(__doc__)
    seeds, rates = (2, RATES[:1]) if asked.quick else (SEEDS, RATES)
    found = compared(CLAIMED if asked.quick else METHODS, rates, seeds, run)
    claims = []
    for better, other in ((PARALLEL, SERIAL), ("MAM", "prefix")):
        gain = mean(found, better) - mean(found, other)
        claims.append((f"{better} ends above {other}, by {gain:.1f} points", gain > 0))
    text = [f"Digits 5 to 9 from 200 labels, {seeds} seeds.", "", *table(found, "adapter")]
    return finish("unified", {"seeds": seeds, "methods": found}, "\n".join(text), claims, asked)


if __name__ == "__main__":
    sys.exit(main())
