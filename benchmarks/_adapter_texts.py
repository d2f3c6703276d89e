"""Adapters of MiniLM on SciCite: what they score, and what they cost."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _text_sets import drawn, items, mini_lm
from _transfer import CPU, head_of, lab_of, learn
from torch import nn

from vitruvius.contracts import Adapter, Documents, Given, Model, Task
from vitruvius.interop.peft import LoRA
from vitruvius.interop.pretrained import load_pretrained
from vitruvius.techniques.adapters import (
    MAM,
    BitFit,
    Bottleneck,
    FullTuning,
    LinearProbe,
    LowRank,
    RandomEntries,
    Tucker,
    UniPT,
    Within,
)
from vitruvius.techniques.heads import PooledReadout
from vitruvius.train.adapter_costs import saved_bytes
from vitruvius.train.adapting import attach
from vitruvius.train.building import network_of
from vitruvius.train.frozen import freeze
from vitruvius.train.predicting import predict
from vitruvius.train.reading import text_feed
from vitruvius.train.text_feeding import TextFeed

BUDGET = 113_566  # 0.5 % of MiniLM; the classifier is not counted
LABELLED, HELD, TOKENS, EPOCHS, BATCH = 800, 200, 48, 3, 32
LABELS = ("background", "method", "result")
HEAD = PooledReadout(pool="mean", dense=False)
PROBE, LOW_RANK, DRAWN = "linear probe", "low rank", "drawn entries (APET)"


@dataclass(frozen=True)
class Method:
    """An adapter, and the learning rates it may have."""

    adapter: Adapter
    rates: tuple[float, float] = (1e-3, 4e-3)


METHODS = {
    LOW_RANK: Method(Within(LowRank(), BUDGET)),
    "parallel bottleneck": Method(Within(Bottleneck(), BUDGET)),
    "MAM": Method(Within(MAM(length=8), BUDGET)),
    "Tucker core": Method(Within(Tucker(), BUDGET)),
    "UniPT": Method(Within(UniPT(), BUDGET)),
    DRAWN: Method(RandomEntries(BUDGET)),
    "LoRA of peft": Method(LoRA(6)),
}
BESIDE = {
    PROBE: Method(LinearProbe(), (5e-3, 2e-2)),
    "BitFit": Method(BitFit()),
    "full tuning": Method(FullTuning(), (1e-4, 3e-4)),
}
ALL = {**METHODS, **BESIDE}


def data_of(kit: Path, seed: int) -> tuple[Documents, Documents, Documents]:
    """Labelled, validation and test part; the rows of the first two are drawn by the seed."""
    tested = items(kit, "SciCite", "test")
    known = {" ".join(text.split()) for text, _ in tested}
    rows = [r for r in items(kit, "SciCite", "train") if " ".join(r[0].split()) not in known]
    found = drawn(rows, LABELLED + HELD, seed)
    labelled, held, test = map(documents, (found[:LABELLED], found[LABELLED:], tested))
    return labelled, held, test


def documents(rows: list[tuple[str, str]]) -> Documents:
    label = np.array([LABELS.index(name) for _, name in rows], np.int64)
    return Documents({"text": np.array([text for text, _ in rows], object)}, {"label": label})


def run(kit: Path, name: str, rate: float, seed: int, quick: bool, test: bool) -> dict[str, Any]:
    """One adaptation, in a process of its own: its peak memory is the method's.

    ``said`` is what the model says of each text of the test part, a digit each; empty where the
    test part stays closed.
    """
    labelled, held, tested = data_of(kit, seed)
    if quick:
        labelled, held, tested = (d.take(np.arange(64)) for d in (labelled, held, tested))
    adapter, task = ALL[name].adapter, Task("SciCite", "item", LABELS)
    if isinstance(adapter, RandomEntries):
        adapter = adapter.replace(seed=seed)
    found = mini_lm()
    assert found is not None
    base = replace(load_pretrained(str(found)), longest=TOKENS)
    given = Given(rng=torch.Generator().manual_seed(seed), task=task, documents=labelled)
    adapted = attach(adapter, base, given)
    feeds = [text_feed(adapted.model, part, CPU) for part in (labelled, held, tested)]
    feed = feeds[0]
    assert isinstance(feed, TextFeed)
    model = replace(adapted.model, heads={"task": head_of(HEAD, adapted.model, feed, task, seed)})
    ready(model, adapter)
    forget_peak()
    before, began = peak(), time.process_time()
    learner, shown, epochs = model, feed, 1 if quick else EPOCHS
    if adapter.frozen:
        learner, (shown,) = freeze(model, (feed,), lab_of(seed))
    learn(learner, shown, task, rate, seed, epochs, BATCH, still=adapter.frozen)
    told = {
        "count": adapted.count,
        "seconds": time.process_time() - began,
        "before": before,
        "peak": peak(),
    }
    ready(model, adapter)
    told["saved"] = kept(model, feed)
    held_right = right(model, feeds[1], task)
    said = predict(model, feeds[2], task, torch.float32).values.argmax(1).tolist() if test else []
    return {**told, "validation": held_right, "said": "".join(map(str, said))}


def answers(kit: Path) -> str:
    """What is true of each text of the test part, a digit each."""
    return "".join(str(LABELS.index(label)) for _, label in items(kit, "SciCite", "test"))


def right(model: Model, feed: Any, task: Task) -> float:
    """Macro F1 on a part that is at hand."""
    made = predict(model, feed, task, torch.float32)
    assert made.targets is not None
    return float(macro_f1(made.values.argmax(1).numpy()[None], made.targets.numpy()[None])[0])


def ready(model: Model, adapter: Adapter) -> None:
    """In training, but for bodies in which nothing learns."""
    network_of(model).train()
    if adapter.frozen:
        model.bodies["input"].eval()


def kept(model: Model, feed: TextFeed) -> int:
    """Bytes that autograd keeps for the backward pass of a step on the first items."""
    batch = feed.batch(torch.arange(min(BATCH, len(feed))))

    def loss() -> torch.Tensor:
        answer = model.heads["task"](model.bodies["input"](batch.streams["input"]), batch)
        return nn.functional.cross_entropy(answer, batch.fields["label"])

    return saved_bytes(network_of(model), loss)


def forget_peak() -> None:
    """Let ``peak`` begin anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes that this process has held at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def macro_f1(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes, of each row of labels [R N]."""
    scores = []
    for kind in range(len(LABELS)):
        hits = ((said == kind) & (true == kind)).sum(1)
        either = (said == kind).sum(1) + (true == kind).sum(1)
        scores.append(2 * hits / np.maximum(either, 1))
    return np.mean(scores, 0)


def resampled(
    said: list[str], true: str, against: list[str] | None = None, draws: int = 1000
) -> tuple[float, float, float]:
    """Macro F1 on the mean of the seeds, less that of another method, with its 95 % interval.

    The bootstrap draws texts of the test part and, with them, seeds; both methods get the same.
    """
    made = np.array([list(map(int, one)) for one in said])  # [seeds N]
    other = None if against is None else np.array([list(map(int, one)) for one in against])
    truth, rng = np.array(list(map(int, true))), np.random.default_rng(0)

    def value(seeds: np.ndarray, texts: np.ndarray) -> float:
        rows, here = np.ix_(seeds, texts), np.broadcast_to(truth[texts], (len(seeds), len(texts)))
        mean = macro_f1(made[rows], here).mean()
        return float(mean if other is None else mean - macro_f1(other[rows], here).mean())

    whole = value(np.arange(len(made)), np.arange(len(truth)))
    drawn_values = [
        value(rng.integers(len(made), size=len(made)), rng.integers(len(truth), size=len(truth)))
        for _ in range(draws)
    ]
    low, high = np.quantile(drawn_values, (0.025, 0.975))
    return whole, float(low), float(high)
