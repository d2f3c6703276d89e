"""Does RankMe choose a good encoder without a label?

    python benchmarks/rankme.py                  # a quarter of an hour on one core
    python benchmarks/rankme.py --quick          # under a minute: one objective, few and short
    python benchmarks/rankme.py --check --save   # exit status 1 where the claim does not hold

By SimCLR and by VICReg 48 encoders of 8 x 8 digits are trained on half of scikit-learn's images,
without their labels, three times with seeds of their own. The 48 differ in learning rate, weight
decay, temperature or weights of the loss, hidden width of the projector and strength of the views:
points drawn at random from the spaces below, the same in each seed. RankMe looks at the embeddings
of the images that were trained on, with the paper's epsilon and nothing else to set. How good an
encoder is: accuracy of logistic regression on its representations of 100 labelled images of another
part, 5 draws, measured on the rest of that part.

What a choice loses is the accuracy of the best of the 48 less that of the chosen one. The claim,
for each objective, over the seeds: the encoder that RankMe chooses loses at most half of what the
median encoder loses. Beside it: Spearman's correlation of rank and accuracy, with a bootstrap over
the encoders, and what would be lost by choosing the lowest held-out loss. A training that diverged
counts as the worst in all. With --quick that claim is not checked, since chance decides it there;
what is checked in any case: a look takes at most a tenth of the CPU time of a training.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _results import circumstances, ended, flags
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from vitruvius.contracts import Array, Model, Objective, State, Stream
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pretraining_items import PretrainItems
from vitruvius.space import Point, log_uniform, one_of, replay, sample, uniform
from vitruvius.techniques.layers import Affine, Flatten, ReLU, Sequential
from vitruvius.techniques.objectives import SimCLR, VICReg
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.probes import RankMe
from vitruvius.techniques.views import ImageView
from vitruvius.train.encoding import encode
from vitruvius.train.loop import Diverged

ENCODERS, SEEDS, EPOCHS = 48, 3, 20
WIDTH = 64  # of an embedding: the same for all, so that ranks compare
LABELS, DRAWS = 100, 5
DATA = Load("digits", validation=0.4, test=0.1)
BODY = Sequential(Flatten(), Affine(256), ReLU(), Affine(128), ReLU(), Affine(64))
VIEW = ImageView(crop=0.9, strength=uniform(0.1, 2.0))
HIDDEN = one_of(32, 64, 128, 256)
OBJECTIVES: dict[str, Objective] = {
    "SimCLR": SimCLR(log_uniform(0.02, 2.0), hidden=HIDDEN, width=WIDTH, view=VIEW),
    "VICReg": VICReg(
        log_uniform(1.0, 100.0),
        25.0,
        log_uniform(0.01, 25.0),
        hidden=HIDDEN,
        width=WIDTH,
        view=VIEW,
    ),
}


def space(name: str, epochs: int) -> PretrainItems:
    """What the encoders of an objective are drawn from."""
    return PretrainItems(
        model=BODY,
        objective=OBJECTIVES[name],
        optimizer=AdamW(log_uniform(1e-4, 3e-2), weight_decay=log_uniform(1e-4, 1.0)),
        epochs=epochs,
        batch_size=256,
    )


def trained(name: str, point: Point, seed: int, epochs: int, data: State) -> dict[str, Any]:
    """Rank, held-out loss and accuracy of one encoder, and the CPU seconds it took."""
    lab = LocalLab(Setting(seed, torch.device("cpu"), torch.float32, 1), key=f"{name} {seed}")
    began = time.process_time()
    row: dict[str, Any] = {"objective": name, "seed": seed, "point": dict(point)}
    try:
        state = replay(space(name, epochs), point).run({"before": data}, lab)
        looked = time.process_time()
        row["rank"] = lab.evaluate(state, RankMe()).value
        row["share of a look"] = (time.process_time() - looked) / (looked - began)
        row["rank of representations"] = lab.evaluate(state, RankMe("representation")).value
        row["held-out loss"] = state.measurements[-1].value
        assert state.model is not None
        row["accuracy"] = accuracy(*vectors(state.model, data))
    except (Diverged, ValueError) as error:
        row["failed"] = str(error)
    return {**row, "cpu seconds": time.process_time() - began}


def vectors(model: Model, data: State) -> tuple[Array, Array]:
    """Representations and labels of the part that no encoder was trained on."""
    held = data.splits["validation"].documents
    inputs = torch.from_numpy(np.asarray(encode(model.prepared, held).payload["input"][:]))
    with torch.no_grad():
        hidden = model.bodies["input"].eval()(Stream(inputs)).hidden
    return hidden.numpy().astype(np.float64), np.asarray(held.attributes["label"])


def accuracy(x: Array, y: Array) -> float:
    """Of logistic regression on so many labels, ten of each class, mean over draws."""
    found = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        order = rng.permutation(len(y))
        each = LABELS // len(np.unique(y))
        chosen = np.concatenate([order[y[order] == k][:each] for k in np.unique(y)])
        rest = np.setdiff1d(order, chosen)
        scale = StandardScaler().fit(x[chosen])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one that has not converged after 200 steps
            probe = LogisticRegression(max_iter=200).fit(scale.transform(x[chosen]), y[chosen])
        found.append(probe.score(scale.transform(x[rest]), y[rest]))
    return float(np.mean(found))


def judged(rows: list[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
    """What each way of choosing loses, over the seeds, and how ranks go with accuracy."""
    by_seed = {s: [r for r in rows if r["seed"] == s] for s in sorted({r["seed"] for r in rows})}
    lost: dict[str, list[float]] = {"RankMe": [], "held-out loss": [], "median": []}
    for found in by_seed.values():
        scores = column(found, "accuracy")
        best = scores.max()
        lost["RankMe"].append(float(best - scores[int(np.argmax(column(found, "rank")))]))
        low = int(np.argmin(column(found, "held-out loss")))
        lost["held-out loss"].append(float(best - scores[low]))
        lost["median"].append(float(best - np.median(scores)))
    rng, again = np.random.default_rng(seed), []
    count = len(next(iter(by_seed.values())))
    for _ in range(2000):
        drawn = rng.integers(0, count, count)
        again.append(correlation(by_seed, "rank", drawn))
    low, high = np.nanpercentile(again, [2.5, 97.5])
    whole = np.arange(count)
    return {
        "lost": lost,
        "best": [float(column(found, "accuracy").max()) for found in by_seed.values()],
        "worst": [float(column(found, "accuracy").min()) for found in by_seed.values()],
        "share of a look": float(np.median([r.get("share of a look", 0.0) for r in rows])),
        "spearman": correlation(by_seed, "rank", whole),
        "interval": [float(low), float(high)],
        "by seed": [correlation({s: f}, "rank", whole) for s, f in by_seed.items()],
        "spearman of representations": correlation(by_seed, "rank of representations", whole),
        "spearman of -loss": -correlation(by_seed, "held-out loss", whole),
        "failed": sum("failed" in r for r in rows),
    }


def column(rows: list[dict[str, Any]], name: str) -> Array:
    """Of all encoders; one whose training diverged is the worst."""
    worst = np.inf if name == "held-out loss" else 0.0
    return np.array([r.get(name, worst) for r in rows])


def correlation(by_seed: dict[int, list[dict[str, Any]]], of: str, drawn: Array) -> float:
    """Spearman's, the mean over seeds; nan where nothing varies."""
    found = []
    for rows in by_seed.values():
        x, y = (column(rows, name)[drawn] for name in (of, "accuracy"))
        varies = np.ptp(stats.rankdata(x)) and np.ptp(stats.rankdata(y))
        found.append(float(stats.spearmanr(x, y).statistic) if varies else float("nan"))
    return float(np.mean(found))


def measured(names: list[str], encoders: int, seeds: int, epochs: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    setting = Setting(0, torch.device("cpu"), torch.float32, 1)
    data = LocalLab(setting).run(DATA, {})
    figures: dict[str, Any] = {"encoders": [], "judged": {}}
    for name in names:
        drawn = Random(f"rankme {name}")
        points = [sample(space(name, epochs), drawn) for _ in range(encoders)]
        rows = []
        for seed, point in ((s, p) for s in range(seeds) for p in points):
            rows.append(trained(name, point, seed, epochs, data))
            told = (rows[-1].get("rank", 0.0), rows[-1].get("accuracy", 0.0))
            print(f"{name} {len(rows)}: rank %.2f, accuracy %.4f" % told, file=sys.stderr)
        figures["encoders"] += rows
        figures["judged"][name] = judged(rows)
    return figures


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, found in figures["judged"].items():
        ours, median = (100 * float(np.mean(found["lost"][k])) for k in ("RankMe", "median"))
        said = f"{name}: RankMe's encoder loses {ours:.2f} points, the median one {median:.2f}"
        if figures["made"]["encoders"] == ENCODERS:
            yield f"{said}; at most half", ours <= median / 2
        share = found["share of a look"]
        yield f"{name}: a look takes {share:.1%} of a training, at most 10 %", share <= 0.1


def report(figures: dict[str, Any]) -> str:
    lines = [
        "Points of accuracy lost against the best encoder, mean over seeds (each seed).",
        "",
        "| objective | best, worst | chosen by RankMe | by held-out loss | median one | diverged |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures["judged"].items():
        cells = [f"{100 * np.mean(found['best']):.2f}, {100 * np.mean(found['worst']):.2f}"]
        for way in ("RankMe", "held-out loss", "median"):
            points = [100 * x for x in found["lost"][way]]
            each = ", ".join(f"{x:.2f}" for x in points)
            cells.append(f"{np.mean(points):.2f} ({each})")
        lines.append(f"| {name} | {' | '.join(cells)} | {found['failed']} |")
    lines += [
        "",
        "Spearman's correlation with accuracy, mean over seeds (each seed); 95 % of a bootstrap.",
        "",
        "| objective | RankMe of embeddings | interval | RankMe of representations | -loss |",
        "|---|---|---|---|---|",
    ]
    for name, found in figures["judged"].items():
        each = ", ".join(f"{x:.2f}" for x in found["by seed"])
        low, high = found["interval"]
        lines.append(
            f"| {name} | {found['spearman']:.2f} ({each}) | {low:.2f} to {high:.2f} | "
            f"{found['spearman of representations']:.2f} | {found['spearman of -loss']:.2f} |"
        )
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "one objective, 8 short trainings").parse_args()
    names = ["SimCLR"] if given.quick else list(OBJECTIVES)
    size = (8, 1, 10) if given.quick else (ENCODERS, SEEDS, EPOCHS)
    figures = measured(names, *size)
    figures["made"] = circumstances(
        "torch",
        "numpy",
        "scikit-learn",
        **dict(zip(("encoders", "seeds", "epochs"), size, strict=True)),
        cpu_seconds=round(time.process_time(), 1),
    )
    return ended("rankme", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
