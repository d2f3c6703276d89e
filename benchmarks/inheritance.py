"""Does a network that begins with its parent's weights need fewer steps?

    python benchmarks/inheritance.py                  # some minutes
    python benchmarks/inheritance.py --quick          # one seed, shorter trainings
    python benchmarks/inheritance.py --check --save   # exit status 1 where the claim does not hold

Ten pairs of small networks on scikit-learn's digits: a parent, and a child that differs from it in
one place (``PAIRS``), at least 0.8 of whose parameters are inherited. For each seed the parent is
trained for N steps, then the child twice on other batches: cold, from weights drawn as always, and
warm, from its parent's where that is exact (``vitruvius.train.inheriting``). The validation loss is
measured every few steps, before the first one too.

What is compared are the steps until the child first has the loss that it has after N cold steps.
Cold that is at most N; warm that is counted from the moment the child begins. What the parent took
is printed beside it: a parent that is trained for this alone costs more than it saves. In a search
it is there already.

The claim (FlexiBERT, arXiv:2205.11656, names overlaps from 0.8 on): over all pairs and seeds, the
median warm child needs at least 20 % fewer steps.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from _results import commit, flags, processor, save
from torch import Tensor, nn

from vitruvius.contracts import Layer, Stream, Task
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.training import default_encoder, encode, prepare
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import (
    GELU,
    Affine,
    Attention,
    BatchNorm,
    Block,
    Conv,
    Encoder,
    FeedForward,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Patches,
    ReLU,
    Residual,
    Sequential,
)
from vitruvius.train.aligning import Network
from vitruvius.train.building import Answering, network_of, outline, realise
from vitruvius.train.feeding import Feed
from vitruvius.train.inheriting import inherit
from vitruvius.train.meter import FlopMeter, training_flops

CLAIM, LEAST = 0.20, 0.8
BATCH, RATE, EVERY = 64, 1e-3, 4
SIZES = {"quick": (1, 60), "full": (3, 120)}  # seeds, steps
CPU = torch.device("cpu")
RELU = ReLU()


def conv(first: int = 16, second: int = 32, kernel: int = 3, *more: Layer) -> Sequential:
    """The digits recipe at its smallest, in front of a mean over places."""
    return Sequential(
        *(Conv(first, kernel), ReLU(), BatchNorm(), MaxPool(2)),
        *(Conv(second, 3), ReLU(), BatchNorm(), *more, GlobalAveragePool()),
    )


def hidden(width: int = 64, *more: Layer, activation: Layer = RELU) -> Sequential:
    """The digits recipe with a hidden layer of all places."""
    before = (Conv(16, 3), ReLU(), BatchNorm(), MaxPool(2), Conv(16, 3), activation, BatchNorm())
    return Sequential(*before, Flatten(), Affine(width), ReLU(), *more)


def mlp(width: int = 128, *more: Layer) -> Sequential:
    """Two hidden layers."""
    return Sequential(Flatten(), Affine(width), ReLU(), Affine(width), ReLU(), *more)


def encoder(ratio: float = 2.0, heads: int = 4) -> Encoder:
    """Two blocks over 16 patches."""
    block = Block(Attention(heads, head_width=8), FeedForward(ratio))
    return Encoder(Patches(32, 2), (block, block), positions=None)


PAIRS: dict[str, tuple[Layer, Layer]] = {
    "wider first convolution": (conv(), conv(24)),
    "wider second convolution": (conv(), conv(16, 48)),
    "larger kernel": (conv(), conv(kernel=5)),
    "residual branch added": (
        conv(),
        conv(16, 32, 3, Residual(Sequential(Conv(8, 1), ReLU(), Conv(32, 1)))),
    ),
    "wider hidden layer": (hidden(), hidden(96)),
    "hidden layer added": (hidden(), hidden(64, Affine(64), ReLU())),
    "another activation (not exact)": (hidden(), hidden(activation=GELU())),
    "wider multilayer perceptron": (mlp(), mlp(160)),
    "residual layer added": (
        mlp(),
        mlp(128, Residual(Sequential(Affine(16), ReLU(), Affine(128)))),
    ),
    "larger feed-forward part": (encoder(), encoder(3.0, 5)),
}


class Digits:
    """The parts of the data, as a training sees them."""

    def __init__(self, seed: int) -> None:
        setting = Setting(seed, CPU, torch.float32, 1)
        lab = replace(LocalLab(setting), key="data")
        state = lab.run(Load("digits"), {})
        seen = state.splits["train"].documents
        prepared = (prepare(default_encoder(seen), seen, lab),)
        feeds = [
            Feed.of(encode(prepared, state.splits[part].documents), CPU)
            for part in ("train", "validation")
        ]
        (self.x, label), (self.held, answers) = ((feed.inputs, feed.label) for feed in feeds)
        assert state.task is not None and label is not None and answers is not None
        self.y, self.answers = label, answers
        self.task: Task = state.task
        self.shape = feeds[0].shape


def network(layer: Layer, data: Digits) -> Network:
    found = outline(layer, Readout(), data.shape, data.task, FlopMeter())
    return Network(layer, Readout(), found)


def drawn(made: Network, seed: int) -> Answering:
    return network_of(realise(made.outline, CPU, seed))


def course(found: Answering, data: Digits, steps: int, seed: int) -> list[float]:
    """Validation loss every few steps, the first before any."""
    optimizer = torch.optim.AdamW(found.parameters(), RATE)
    generator = torch.Generator().manual_seed(seed)
    losses = [held_out(found, data)]
    order: list[Tensor] = []
    for step in range(1, steps + 1):
        order = order or list(torch.randperm(len(data.x), generator=generator).split(BATCH))
        rows = order.pop()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(found.train()(Stream(data.x[rows])), data.y[rows])
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            losses.append(held_out(found, data))
    return losses


def held_out(found: Answering, data: Digits) -> float:
    with torch.no_grad():
        answer = found.eval()(Stream(data.held))
        return float(nn.functional.cross_entropy(answer, data.answers))


def steps_to(losses: list[float], goal: float) -> int | None:
    """Steps until a loss is reached; None: never."""
    return next((EVERY * i for i, loss in enumerate(losses) if loss <= goal), None)


def measure(name: str, seed: int, steps: int) -> dict[str, Any]:
    """One pair and seed."""
    data = Digits(seed)
    ours, theirs = (network(layer, data) for layer in PAIRS[name])
    found = inherit(theirs, ours)
    flops = [training_flops(one.outline.cost.flops, BATCH * steps) for one in (ours, theirs)]
    parent = drawn(ours, 1000 + seed)
    before = course(parent, data, steps, 2000 + seed)
    cold = course(drawn(network(PAIRS[name][1], data), 3000 + seed), data, steps, 4000 + seed)
    child = drawn(theirs, 3000 + seed)
    found.fill(child, parent.state_dict(), torch.Generator().manual_seed(5000 + seed))
    warm = course(child, data, steps, 4000 + seed)
    goal = cold[-1]
    cold_steps, warm_steps = steps_to(cold, goal), steps_to(warm, goal)
    assert cold_steps is not None
    needed = steps if warm_steps is None else warm_steps
    return {
        "pair": name,
        "seed": seed,
        "overlap": found.overlap,
        "exact": found.exact,
        "refused": [f"{one.place}: {one.reason}" for one in found.refused],
        "parameters": found.parameters,
        "goal": goal,
        "parent_loss": before[-1],
        "parent_steps": steps,
        "parent_flops": flops[0],
        "child_flops": flops[1],
        "first_losses": [cold[0], warm[0]],
        "last_losses": [cold[-1], warm[-1]],
        "cold_steps": cold_steps,
        "warm_steps": needed,
        "reached": warm_steps is not None,
        "fewer": 1 - needed / cold_steps,
    }


def interval(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """Of the median over pairs, 95 %, by drawing pairs with their seeds."""
    rng = random.Random(0)
    found = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return found[int(0.025 * draws)], found[int(0.975 * draws) - 1]


def report(rows: list[dict[str, Any]], steps: int, about: dict[str, Any]) -> tuple[str, bool]:
    """A page, and whether the claim holds."""
    lines = [
        f"Steps until the child has the validation loss that it has after {steps} cold steps; "
        "medians over seeds, and the least and most of them.",
        "",
        "| the child's change | overlap | exact | loss to reach | parent's loss | warm at step 0 "
        "| cold | warm | fewer |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    per_pair: list[float] = []
    for name in PAIRS:
        mine = [row for row in rows if row["pair"] == name]

        def middle(key: str, mine: list[dict[str, Any]] = mine) -> float:
            return statistics.median(row[key] for row in mine)

        fewer = [row["fewer"] for row in mine]
        per_pair.append(statistics.median(fewer))
        first = statistics.median(row["first_losses"][1] for row in mine)
        lines.append(
            f"| {name} | {middle('overlap'):.2f} | {'yes' if mine[0]['exact'] else 'no'} "
            f"| {middle('goal'):.3f} | {middle('parent_loss'):.3f} | {first:.3f} "
            f"| {middle('cold_steps'):.0f} | {middle('warm_steps'):.0f} "
            f"| {per_pair[-1]:.0%} ({min(fewer):.0%} to {max(fewer):.0%}) |"
        )
    fewer = statistics.median(row["fewer"] for row in rows)
    low, high = interval(per_pair)
    reached = sum(row["reached"] for row in rows)
    whole = sum(row["parent_steps"] + row["warm_steps"] for row in rows)
    cold = sum(row["cold_steps"] for row in rows)
    share = sum(r["parent_flops"] for r in rows) / sum(r["child_flops"] for r in rows)
    holds = fewer >= CLAIM and all(row["overlap"] >= LEAST for row in rows)
    lines += [
        "",
        f"Median of all {len(rows)}: {fewer:.0%} fewer steps (of the pairs' medians, 95 % by "
        f"bootstrap over pairs: {low:.0%} to {high:.0%}). {reached} of {len(rows)} warm children "
        f"reached the loss within {steps} steps; the others count as {steps}.",
        f"The parents took {steps} steps each, {share:.2f} of the FLOPs of as many of the child's. "
        f"Parents and warm children together took {whole:,} steps, cold children {cold:,}: a "
        "parent pays where it was trained anyway.",
        f"Claim: at least {CLAIM:.0%} fewer at overlaps of {LEAST} and more. "
        f"{'Holds.' if holds else 'DOES NOT HOLD.'}",
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
    ]
    return "\n".join(lines), holds


def main() -> int:
    asked = flags(__doc__, "one seed, shorter trainings").parse_args()
    torch.set_num_threads(1)
    began, cpu = time.perf_counter(), time.process_time()
    size = "quick" if asked.quick else "full"
    seeds, steps = SIZES[size]
    rows = [measure(name, seed, steps) for seed in range(seeds) for name in PAIRS]
    about = {
        "seeds": f"0 to {seeds - 1}" if seeds > 1 else "0",
        "steps": steps,
        "batch": BATCH,
        "AdamW at": RATE,
        "torch": importlib.metadata.version("torch"),
        "Python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "CPU seconds": round(time.process_time() - cpu),
        "seconds": round(time.perf_counter() - began),
    }
    text, holds = report(rows, steps, about)
    print(text)
    if asked.save:
        save("inheritance", {"about": about, "rows": rows}, text)
    else:
        print(json.dumps(about))
    return int(asked.check and not holds)


if __name__ == "__main__":
    sys.exit(main())
