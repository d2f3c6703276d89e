"""Does a search profit from the journal of an earlier study?

    python benchmarks/transfer.py                 # about two minutes
    python benchmarks/transfer.py --quick         # six pairs
    python benchmarks/transfer.py --check --save  # exit status 1 where the claim fails

Pairs of instances of the conditional tree of ``_tree_space.py``: ``SMBO`` searches an old one for
100 evaluations, then a new one with and without what it found there (``Transfer``). The new one's
weights are 0.8 of the old one's and 0.2 of another's. Three more journals are given to the same
searches: one of an edited space (no Shift, depths to 4, every second learning rate), one of an
unrelated instance, and one whose scores are those of the old instance with their sign changed.

The claim: the median number of evaluations until a search has the regret that the cold search has
after 100 is at least 20 per cent less with the journal than without. What the other journals do is
printed. That of the edited space was claimed as well before the first full run, which refuted it.
With --quick it is checked alone that the regret after 10 evaluations is below the cold search's.

The defaults of ``Transfer`` were chosen on instances 1000 and up.
"""

from __future__ import annotations

import datetime
import platform
import sys
import time
from typing import Any

import _tree_space as tree
import numpy as np
from _results import commit, ended, flags, processor

from vitruvius.search import SMBO, Distinct, Event, Searcher, Transfer, asked, told
from vitruvius.space import Program, compile, restrict
from vitruvius.study.earlier import agreeing

EVALUATIONS = 100
SHOWN = (5, 10, 20, 50, 100)
PAIRS, FEW = 20, 6
OVERLAP = 0.8
FEWER = 0.8  # of the cold search's evaluations, at most
OTHER = 500  # numbers between an instance and the one that it is mixed with
KINDS = ("cold", "same space", "edited space", "unrelated", "contrary")
CLAIMED = ("same space",)


def mixed(old: tree.Instance, other: tree.Instance, share: float) -> tree.Instance:
    """The instance whose weights are ``share`` of the old one's and the rest of the other's."""
    found = tree.Instance(0)
    for name, ours in vars(old).items():
        theirs = getattr(other, name)
        mix = (
            {key: share * ours[key] + (1 - share) * theirs[key] for key in ours}
            if isinstance(ours, dict)
            else share * ours + (1 - share) * theirs
        )
        setattr(found, name, mix)
    return found


def edited() -> Any:
    """The space as it was before: fewer options in places."""
    repeats = {
        f"blocks.repeat.{i}.operation": ("Convolution", "Pool", "Attention") for i in tree.DEPTHS
    }
    return restrict(
        tree.SPACE,
        {"learning_rate": tree.RATES[::2], "blocks.repeat.times": (1, 2, 3, 4), **repeats},
    )


def search(
    searcher: Searcher, instance: tree.Instance, space: Any, event: Event | None = None
) -> list[tuple[dict[str, Any], float]]:
    """Points and scores of a search."""
    found, going = [], Distinct(searcher).begin(space)
    if event is not None:
        going.hear(event)
    for trial in range(1, EVALUATIONS + 1):
        point = going.ask(trial)
        score = instance.score(point)
        going.hear(asked(2 * trial, trial, point))
        going.hear(told(2 * trial + 1, trial, score))
        found.append((point, score))
    return found


def journal(program: Program, found: list[tuple[dict[str, Any], float]], sign: float) -> Event:
    """What a study would take over from that search."""
    trials = []
    for number, (point, score) in enumerate(found, 1):
        known = agreeing(program, point)
        if known is not None:
            trials.append({"trial": number, "point": known[0], "score": sign * score})
    return Event(1, "earlier", 0, {"from": "", "better": "higher", "trials": trials})


def pair(seed: int) -> dict[str, np.ndarray]:
    """Regret of the best so far, by evaluation, of each kind of search of one new instance."""
    old, other = tree.Instance(seed), tree.Instance(seed + OTHER)
    new, program = mixed(old, other, OVERLAP), compile(tree.SPACE)
    apart = tree.Instance(seed + 2 * OTHER)
    own = search(SMBO(seed=seed + 1), old, tree.SPACE)
    before = search(SMBO(seed=seed + 1), old, edited())
    foreign = search(SMBO(seed=seed + 1), apart, tree.SPACE)
    events = {
        "cold": None,
        "same space": journal(program, own, 1.0),
        "edited space": journal(program, before, 1.0),
        "unrelated": journal(program, foreign, 1.0),
        "contrary": journal(program, own, -1.0),
    }
    best, curves = new.best(), {}
    for kind, event in events.items():
        searcher: Searcher = SMBO(seed=seed)
        found = search(searcher if event is None else Transfer(searcher), new, tree.SPACE, event)
        curves[kind] = np.minimum.accumulate([best - score for _, score in found])
    return curves


def measured(pairs: int, first: int) -> dict[str, Any]:
    began = time.process_time()
    runs = [pair(first + number) for number in range(pairs)]
    curves = {kind: np.array([run[kind] for run in runs]) for kind in KINDS}
    goal = curves["cold"][:, -1:]
    steps = {}
    for kind, found in curves.items():
        there = found <= goal + 1e-12
        steps[kind] = np.where(there.any(1), there.argmax(1) + 1, EVALUATIONS + 1)
    figures: dict[str, Any] = {
        "pairs": pairs,
        "instances": [first, first + pairs - 1],
        "cpu seconds": round(time.process_time() - began, 1),
        "kinds": {},
    }
    for kind in KINDS:
        low, high = interval(steps[kind], steps["cold"])
        regret = curves[kind].mean(0)
        difference = curves[kind][:, -1] - curves["cold"][:, -1]
        figures["kinds"][kind] = {
            "median evaluations": float(np.median(steps[kind])),
            "of the cold search's": float(np.median(steps[kind]) / np.median(steps["cold"])),
            "95 % of it": [low, high],
            "never within 100": int((steps[kind] > EVALUATIONS).sum()),
            "mean regret": {str(n): float(regret[n - 1]) for n in SHOWN},
            "regret above cold at 100": float(difference.mean()),
            "standard error": float(difference.std(ddof=1) / len(difference) ** 0.5),
        }
    return figures


def interval(steps: np.ndarray, cold: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """95 per cent interval of the ratio of medians: bootstrap over pairs."""
    picked = np.random.default_rng(0).integers(len(steps), size=(draws, len(steps)))
    ratios = np.median(steps[picked], axis=1) / np.median(cold[picked], axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def claims(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """Of few pairs only what chance does not decide."""
    if figures["pairs"] < PAIRS:
        early = [figures["kinds"][kind]["mean regret"]["10"] for kind in (CLAIMED[0], "cold")]
        words = f"journal of the {CLAIMED[0]}: regret {early[0]:.3f} after 10, below {early[1]:.3f}"
        return [(words, early[0] < early[1])]
    found = []
    for kind in CLAIMED:
        ratio = figures["kinds"][kind]["of the cold search's"]
        words = f"journal of the {kind}: {ratio:.2f} of the evaluations, at most {FEWER}"
        found.append((words, ratio <= FEWER))
    return found


def report(figures: dict[str, Any]) -> str:
    lines = [
        f"SMBO on {figures['pairs']} pairs of instances ({figures['instances'][0]} to "
        f"{figures['instances'][1]}), overlap {OVERLAP}, {EVALUATIONS} evaluations.",
        "",
        "| journal | median evaluations to cold's regret at 100 | of cold's (95 %) | never | "
        + " | ".join(f"regret {n}" for n in SHOWN)
        + " | above cold at 100 |",
        "|---|---|---|---|" + "---|" * (len(SHOWN) + 1),
    ]
    for kind, row in figures["kinds"].items():
        low, high = row["95 % of it"]
        regret = " | ".join(f"{row['mean regret'][str(n)]:.3f}" for n in SHOWN)
        lines.append(
            f"| {'none' if kind == 'cold' else kind} | {row['median evaluations']:g} | "
            f"{row['of the cold search' + chr(39) + 's']:.2f} ({low:.2f} to {high:.2f}) | "
            f"{row['never within 100']} | {regret} | "
            f"{row['regret above cold at 100']:+.3f} ± {row['standard error']:.3f} |"
        )
    lines += ["", *(f"{'holds' if ok else 'FAILS'}: {words}" for words, ok in claims(figures))]
    lines += ["", f"{figures['cpu seconds']} CPU seconds. {figures['made']}"]
    return "\n".join(lines)


def made() -> str:
    today = datetime.date.today().isoformat()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    return f"{versions}, {processor()}, {today}, commit {commit()}."


def main() -> int:
    parser = flags(__doc__, f"{FEW} pairs")
    parser.add_argument("--first", type=int, default=0, help="instance of the first pair")
    given = parser.parse_args()
    figures = {**measured(FEW if given.quick else PAIRS, given.first), "made": made()}
    return ended("transfer", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
