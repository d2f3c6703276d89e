"""Do second moments of frozen tokens tell more than one vector?

    nice python benchmarks/moments.py            # 5 seeds, two rates: three minutes of one core
    python benchmarks/moments.py --quick         # two seeds, one rate
    python benchmarks/moments.py --check --save  # exit status 1 where the claim does not hold

The transfer task of ``_transfer.py``: a vision transformer of digits 0 to 4, frozen, learns 5 to 9
from 200 labels, each head with the rate of the grid that validates best. The claim (card 23):
moment probing ends above the linear probe of the class token on the mean over seeds. Beside it: the
probe of the mean token, moments around the mean, and MP+, which recalibrates every block.
"""

from __future__ import annotations

import sys
from typing import Any

from _compared import arguments, compared, finish, mean, table
from _transfer import adapt, pretrained, target

from vitruvius.contracts import Adapter, Head
from vitruvius.techniques.adapters import LinearProbe, Recalibrate
from vitruvius.techniques.heads import Moments, PooledReadout

MOMENTS = Moments(4, 8, down="conv1")  # 16 tokens: heads no wider than 8
RATES = (5e-3, 2e-2)
SEEDS = 5
CLS, MP = "probe of the class token", "moments (MP)"
METHODS: dict[str, tuple[Adapter, Head]] = {
    CLS: (LinearProbe(), PooledReadout("cls", dense=False, dropout=0.0)),
    "probe of the mean": (LinearProbe(), PooledReadout("mean", dense=False, dropout=0.0)),
    MP: (LinearProbe(), MOMENTS),
    "moments around the mean": (LinearProbe(), MOMENTS.replace(centred=True)),
    "moments alone": (LinearProbe(), MOMENTS.replace(first="none")),
    "moments, recalibrated (MP+)": (Recalibrate(4), MOMENTS),
}


def run(name: str, rate: float, seed: int) -> dict[str, Any]:
    adapter, head = METHODS[name]
    made = adapt(pretrained(seed), adapter, target(seed), rate, seed, head=head)
    return {
        "validation": made.validation,
        "test": made.test,
        "seconds": made.seconds,
        "saved": made.saved,
        "count": made.count + sum(p.numel() for p in made.head.parameters()),
    }


def main() -> int:
    asked = arguments(__doc__)
    seeds, rates = (2, RATES[:1]) if asked.quick else (SEEDS, RATES)
    names = [CLS, MP] if asked.quick else [*METHODS]
    found = compared(names, rates, seeds, run)
    gain = mean(found, MP) - mean(found, CLS)
    claims = [(f"moments end above the probe of the class token, by {gain:.1f} points", gain > 0)]
    text = "\n".join([f"Digits 5 to 9 from 200 labels, {seeds} seeds.", "", *table(found, "head")])
    return finish("moments", {"seeds": seeds, "methods": found}, text, claims, asked)


if __name__ == "__main__":
    sys.exit(main())
