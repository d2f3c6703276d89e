"""Does a thin twin heal better with what its original gives than from labels alone?

    python benchmarks/pela.py                  # about five minutes
    python benchmarks/pela.py --quick          # one seed, one ratio
    python benchmarks/pela.py --check --save   # exit status 1 where a claim does not hold

A vision transformer of three layers, 48 wide, learns the digits 0 to 4 of scikit-learn (30 of
each are kept for the test). Its linear maps become products of two, with 1/2, 1/4 and 1/8 of their
numbers (PELA, arXiv:2310.10700), and the thin model is trained on 150 of the images it knows: from
the labels alone, with the hidden states of the original (features, taps of all layers), and with
the largest error of each weight too. A twin whose factors are drawn gets the same training. Then
the healed twins learn the digits 5 to 9 from 200 labels.

The claims, on the mean of the seeds and of the ratios 2 and 4: SVD alone < healing from labels <=
healing with the hidden states and the weights; and at ratio 2 that keeps 95 % of the accuracy of
the original. The transfer is printed, and nothing is claimed of it.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from _results import commit, flags, processor, save
from _transfer import CPU, HEAD, HEADS, LAYERS, PATCH, adapt, lab_of, learn, of, target, task_of

from vitruvius.contracts import Documents, Given, Model
from vitruvius.pipeline.beginning import copied
from vitruvius.techniques.adapters import LowRankTwin
from vitruvius.techniques.encoders import Pixels
from vitruvius.techniques.layers import Attention, Block, Encoder, Patches
from vitruvius.techniques.metrics import Accuracy
from vitruvius.techniques.objectives import Healing, Supervised
from vitruvius.train.adapting import attach
from vitruvius.train.building import network_of, outline, realise
from vitruvius.train.encoding import prepare
from vitruvius.train.predicting import measure
from vitruvius.train.reading import feed_of

KNOWN = (0, 1, 2, 3, 4)
TEST, HEALING, EPOCHS, RATE = 30, 150, 15, 5e-4
TAPS = tuple(f"layer.{number}" for number in range(LAYERS))
OBJECTIVES = {
    "labels": Supervised(),
    "hidden states": Healing(1.0, taps=TAPS),
    "hidden states + weights": Healing(1.0, weights=1.0, taps=TAPS),
}
SVD, DRAWN, LABELS, HIDDEN, PELA = "SVD alone", "drawn twin, labels", *OBJECTIVES


def parts(seed: int) -> tuple[Documents, Documents, Documents]:
    """Of the known digits: what the original learns, some of it to heal with, and the test."""
    documents = of(KNOWN)
    label, drawn = documents.attributes["label"], np.random.default_rng(seed)
    rows: tuple[list[int], ...] = ([], [], [])
    for kind in range(len(KNOWN)):
        some = drawn.permutation(np.flatnonzero(label == kind)).tolist()
        test, train = some[:TEST], some[TEST:]
        for found, part in zip(rows, (train, train[: HEALING // len(KNOWN)], test), strict=True):
            found.extend(part)
    known, healing, test = (documents.take(np.array(sorted(part))) for part in rows)
    return known, healing, test


def original(seed: int, documents: Documents) -> Model:
    """The model that is to become thin."""
    lab = lab_of(seed)
    prepared = (prepare(Pixels(), documents, lab),)
    design = Encoder(Patches(48, PATCH), (Block(Attention(HEADS)),) * LAYERS, positions=None)
    task = task_of(documents)
    model = realise(outline(design, HEAD, (1, 8, 8), task, lab.meter), CPU, seed, prepared=prepared)
    learn(model, feed_of(model, documents, CPU), task, 2e-3, seed, 40, 64)
    network_of(model).eval()
    return replace(model, designs={"input": design})


def accuracy(model: Model, documents: Documents) -> float:
    task = task_of(documents)
    return measure(model, feed_of(model, documents, CPU), task, Accuracy(), torch.float32).value


def run(seed: int, ratios: tuple[float, ...]) -> dict[str, float]:
    """Accuracies of one seed, by "ratio method" and, of the transfer, "ratio method transfer"."""
    known, healing, test = parts(seed)
    base, task = original(seed, known), task_of(healing)
    found = {"original": accuracy(base, test)}
    for ratio in ratios:
        for name in (SVD, DRAWN, *OBJECTIVES):
            start = "random" if name == DRAWN else "svd"
            given = Given(rng=torch.Generator().manual_seed(seed))
            adapted = attach(LowRankTwin(ratio, start=start), copied(base), given)
            thin = adapted.model
            if name != SVD:
                objective = OBJECTIVES.get(name, Supervised())
                feed = feed_of(thin, healing, CPU)
                network_of(thin).train()
                learn(thin, feed, task, RATE, seed, EPOCHS, 32, objective=objective, teacher=base)
                network_of(thin).eval()
            found[f"{ratio:g} {name}"] = accuracy(thin, test)
            if name in (SVD, LABELS, PELA):
                healed = adapted.merge()  # products of that rank: their SVD is exact
                result = adapt(healed, LowRankTwin(ratio), target(seed), 5e-3, seed)
                found[f"{ratio:g} {name} transfer"] = result.test
    return found


def main() -> int:
    asked = flags(__doc__, "one seed, one ratio").parse_args()
    torch.set_num_threads(1)
    seeds, ratios = ((0,), (2.0,)) if asked.quick else ((0, 1, 2), (2.0, 4.0, 8.0))
    began, found = time.process_time(), defaultdict[str, list[float]](list)
    for seed in seeds:
        for name, value in run(seed, ratios).items():
            found[name].append(value)
    text = report(found, ratios, seeds, time.process_time() - began)
    print(text)
    if asked.save:
        figures = {"seeds": seeds, "commit": commit(), "accuracies": dict(found)}
        save("pela", figures, text)
    wrong = broken(found, [ratio for ratio in ratios if ratio <= 4], few=asked.quick)
    for claim in wrong:
        print(f"does not hold: {claim}")
    return int(asked.check and bool(wrong))


def report(
    found: dict[str, list[float]], ratios: tuple[float, ...], seeds: tuple[int, ...], seconds: float
) -> str:
    def cell(name: str) -> str:
        values = 100 * np.array(found[name])
        return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"

    lines = [
        f"Accuracy in percent, mean of {len(seeds)} seeds (least to most); the original has "
        f"{cell('original')}. {HEALING} images heal, {EPOCHS} epochs at {RATE:g}.",
        "",
        "| twin | " + " | ".join(f"1/{ratio:g}" for ratio in ratios) + " |",
        "|---|" + "---|" * len(ratios),
    ]
    for name in (SVD, DRAWN, LABELS, HIDDEN, PELA):
        cells = [cell(f"{ratio:g} {name}") for ratio in ratios]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name in (SVD, LABELS, PELA):
        cells = [cell(f"{ratio:g} {name} transfer") for ratio in ratios]
        lines.append(f"| transfer: {name} | " + " | ".join(cells) + " |")
    made = f"torch {torch.__version__}, one thread of {processor()}, commit {commit()}"
    return "\n".join([*lines, "", f"{seconds:.0f} seconds of CPU time; {made}."])


def broken(found: dict[str, list[float]], ratios: list[float], few: bool) -> list[str]:
    """The claims that do not hold; of ``few`` seeds those alone that chance does not decide."""

    def mean(name: str) -> float:
        return float(np.mean([found[f"{ratio:g} {name}"] for ratio in ratios]))

    wrong = []
    if not mean(SVD) < mean(LABELS):
        wrong.append(f"SVD alone {mean(SVD):.3f} < healing from labels {mean(LABELS):.3f}")
    if not few and not mean(LABELS) <= mean(PELA):
        wrong.append(
            f"healing from labels {mean(LABELS):.3f} <= with the original {mean(PELA):.3f}"
        )
    kept = np.mean(found[f"2 {PELA}"]) / np.mean(found["original"])
    if kept < 0.95:
        wrong.append(f"at ratio 2 it keeps 95 % of the accuracy; {100 * kept:.1f} %")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
