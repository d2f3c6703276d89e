"""What any model must beat, measured on the same items: without it a score says little.

Each learns from the training part alone and gives predictions that every metric can measure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from vitruvius.contracts import (
    Array,
    Documents,
    Given,
    Measurement,
    Metric,
    Model,
    Predictions,
    Task,
)
from vitruvius.pipeline.embedding import embed
from vitruvius.techniques.retrievers import BM25

STRENGTH = 10.0  # C of the regression on TF-IDF; 10 is better than 1 on all sets that were tried
PROBE_STRENGTH = 0.1  # C on standardised features; best of 0.003 to 1 on a validation part
ITERATIONS = 1000
OUTSIDE = "O"


def text_floors(
    train: Documents, held: Documents, task: Task, metric: Metric, frozen: Model | None = None
) -> tuple[Measurement, ...]:
    """For texts (payload "text") with one label each: majority or mean, TF-IDF with a linear model,
    and a linear probe of a frozen model where one is given. In the order named."""
    seen, answers = train.attributes["label"], held.attributes["label"]
    texts, new = _texts(train), _texts(held)
    classes = len(task.labels)
    found = {
        "the class frequencies" if classes else "the mean": majority(seen, len(new), classes),
        "TF-IDF and a linear model": tfidf(texts, seen, new, classes),
    }
    if frozen is not None:
        features = embed(frozen, texts), embed(frozen, new)
        found["a linear probe of the frozen model"] = probe(features[0], seen, features[1], classes)
    return tuple(
        floor(name, predictions(values, answers), metric) for name, values in found.items()
    )


def retrieval_floors(held: Documents, metric: Metric) -> tuple[Measurement, ...]:
    """For queries with one right text each: BM25, with names whole and cut into their parts."""
    texts = Documents({"text": held.payload["positive"]})
    queries = Documents({"query": held.payload["query"]})
    found = []
    for name, retriever in (("BM25", BM25()), ("BM25 with names cut", BM25(split=True))):
        scores = retriever.index(texts, Given()).scores(queries)
        found.append(floor(name, predictions(scores, np.arange(len(held))), metric))
    return tuple(found)


def floor(name: str, made: Predictions, metric: Metric) -> Measurement:
    """What a metric gives to a simple method, under the method's name."""
    measured = metric.measure(made)
    return replace(measured, name=f"{measured.name} of {name}", details={})


def predictions(values: Array, targets: Array) -> Predictions:
    """Of items in their order."""
    return Predictions(
        torch.from_numpy(np.ascontiguousarray(values)),
        torch.from_numpy(np.ascontiguousarray(targets)),
        torch.arange(len(values)),
    )


def majority(seen: Array, items: int, classes: int) -> Array:
    """Class frequencies [items classes]; or, of numbers (0 classes), their mean [items]."""
    if not classes:
        return np.full(items, np.asarray(seen, np.float64).mean())
    counts = np.bincount(seen, minlength=classes)
    return np.tile(counts / counts.sum(), (items, 1))


def tfidf(
    texts: Sequence[str],
    seen: Array,
    new: Sequence[str],
    classes: int,
    strength: float = STRENGTH,
) -> Array:
    """Words and pairs of words, 1 + ln(count) times inverse document frequency, in a linear model.

    Logistic regression [N classes], or ridge regression [N] of numbers.
    """
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    if not classes:
        learner = make_pipeline(terms, Ridge(1.0))
        return np.asarray(learner.fit(texts, seen).predict(new), np.float64)
    learner = make_pipeline(terms, LogisticRegression(C=strength, max_iter=ITERATIONS))
    return _probabilities(learner, texts, seen, new, classes)


def probe(features: Array, seen: Array, new: Array, classes: int) -> Array:
    """A linear model of frozen features [N d]: what tuning them must beat."""
    if not classes:
        learner = make_pipeline(StandardScaler(), Ridge(len(features) / 100))
        return np.asarray(learner.fit(features, seen).predict(new), np.float64)
    classifier = LogisticRegression(C=PROBE_STRENGTH, max_iter=ITERATIONS)
    learner = make_pipeline(StandardScaler(), classifier)
    return _probabilities(learner, features, seen, new, classes)


def look_up(
    words: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    new: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> Array:
    """Each word gets the tag it had most often in training, one not seen "O"; [words classes].

    Of equally frequent tags the first of ``labels``. A word not seen as it is written is looked up
    in lower case.
    """
    number = {label: i for i, label in enumerate(labels)}
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    folded: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for sentence, its_tags in zip(words, tags, strict=True):
        for word, tag in zip(sentence, its_tags, strict=True):
            counts[word][number[tag]] += 1
            folded[word.lower()][number[tag]] += 1
    outside = number.get(OUTSIDE, 0)

    def known(word: str) -> int:
        of_word = counts.get(word) or folded.get(word.lower())
        return min(of_word, key=lambda k: (-of_word[k], k)) if of_word else outside

    return np.eye(len(labels))[[known(word) for sentence in new for word in sentence]]


def _probabilities(
    learner: Pipeline, inputs: Sequence[str] | Array, seen: Array, new: Sequence[str] | Array,
    classes: int,
) -> Array:  # fmt: skip
    """[N classes], also of classes that training has not."""
    seen = np.asarray(seen)
    if len(known := np.unique(seen)) == 1:
        return np.eye(classes)[np.full(len(new), known[0])]
    found = np.zeros((len(new), classes))
    learner.fit(inputs, seen)
    found[:, learner.classes_] = learner.predict_proba(new)
    return found


def _texts(documents: Documents) -> list[str]:
    return [str(text) for text in documents.payload["text"][:]]
