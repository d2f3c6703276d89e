"""Do bottlenecks that one network writes for four tasks do as well as four sets of their own?

    nice python benchmarks/polyhistor.py          # about 20 minutes of CPU time
    python benchmarks/polyhistor.py --quick       # under a minute: one seed and rate
    python benchmarks/polyhistor.py --check --save

Card 14, part b. A transformer of two stages, 32 and 64 wide, learns to tell by how many quarter
turns images of scikit-learn's digits were turned; then it is frozen. Four tasks on the images: the
digit, whether it is odd, whether it is 5 or more, and the quarter of the images to which its ink
belongs. Each has labels of its own, 100 or 20, and a linear head of its own on the mean token.
Compared are bottlenecks of each task alone, and ``Polyhistor`` and ``PolyhistorLite``, which write
those of all tasks with at most a quarter of the numbers. Every method trains as many steps of 32
labels for each task, at the rate of two that is best on the validation part. Scores are means over
tasks of the accuracy on 500 test images. The claim is of size alone: both train at most a quarter
of the numbers. Printed beside it: how they compare, and what is left when each task gets the
bottlenecks of the next.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _results import circumstances, ended, flags
from torch import Tensor, nn

from vitruvius.contracts import Adapter, Given, Layout, Lineage, Model, Outputs, Source, Stream
from vitruvius.data.builtin import digits
from vitruvius.pipeline.beginning import copied
from vitruvius.techniques.adapters import LinearProbe, Polyhistor, PolyhistorLite
from vitruvius.techniques.adapters.written import Written
from vitruvius.techniques.layers import Attention, Block, Patches
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.sources import Free
from vitruvius.train.adapting import attach
from vitruvius.train.grouping import group_parameters

CLASSES = (10, 2, 2, 4)  # of the digit, odd, large, ink
TASKS = len(CLASSES)
NARROW, WIDE, BLOCKS = 32, 64, 2
TEST, VALIDATION, BATCH = 500, 200, 32
SHARE = 0.25


@dataclass(frozen=True)
class Scale:
    """How much is trained."""

    labels: tuple[int, ...]
    rates: tuple[float, ...]
    steps: int
    turning: int
    seeds: int


SCALES = {
    "quick": Scale((100,), (3e-2,), 60, 200, 1),
    "": Scale((20, 100), (1e-2, 3e-2), 300, 600, 3),
}


@dataclass(frozen=True)
class Apart(Written):
    """The same bottlenecks with tensors of their own: those of one task."""

    def source(self) -> Source:
        return Free()


def methods() -> dict[str, Adapter]:
    """Of the first two a model for each task, of the others one for all."""
    return {
        "heads alone": LinearProbe(),
        "apart": Apart(),
        "Polyhistor": Polyhistor(TASKS, embedding=4, rank=2),
        "PolyhistorLite": PolyhistorLite(TASKS, embedding=16, rank=4),
    }


class Stages(nn.Module):
    """Images to the tokens of two stages, the second twice as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (1, 8, 8)
        self.stem = Patches(NARROW, 2).build(torch.empty(2, 1, 8, 8))
        self.widen = nn.Linear(NARROW, WIDE)
        self.layers = nn.ModuleList(
            Block(Attention(4)).build(torch.empty(2, 17, width))
            for width in (NARROW, WIDE)
            for _ in range(BLOCKS)
        )
        self.norm = nn.LayerNorm(WIDE)

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        x, layout = self.stem(stream.values, stream.layout)
        for number, layer in enumerate(self.layers):
            if number == BLOCKS:
                x = self.widen(x)
            x = layer(x, layout)
        return Outputs(self.norm(x))


@dataclass(frozen=True, eq=False)
class Data:
    """Images, what each task says of them, and which are for what."""

    images: Tensor
    answers: Tensor
    """[tasks N]."""
    labelled: tuple[Tensor, ...]
    """For each task rows of its own, in an order drawn by the seed."""
    validation: Tensor
    test: Tensor


def data_of(seed: int) -> Data:
    documents = digits().documents
    images = torch.from_numpy(np.asarray(documents.payload["image"])).float() / 255
    label = torch.from_numpy(np.asarray(documents.attributes["label"]))
    ink = images.flatten(1).mean(1)
    quarter = torch.bucketize(ink, torch.quantile(ink, torch.tensor([0.25, 0.5, 0.75])))
    answers = torch.stack([label, label % 2, (label >= 5).long(), quarter])
    fixed = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    rest = fixed[TEST:]
    rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))]
    validation, pool = rest[:VALIDATION], rest[VALIDATION:]
    return Data(images, answers, pool.chunk(TASKS), validation, fixed[:TEST])


def stream_of(images: Tensor, task: int | Tensor) -> Stream:
    rows = torch.zeros(len(images), 1, dtype=torch.long)
    route = torch.full((len(images),), task) if isinstance(task, int) else task
    return Stream(images, Layout(rows, rows + 1, route=route))


def update(network: nn.Module, rate: float) -> tuple[torch.optim.Optimizer, list[float]]:
    updater = AdamW(rate, 0.01).build(group_parameters(network))
    return updater, [group["lr"] for group in updater.param_groups]


def fall(updater: torch.optim.Optimizer, rates: list[float], done: float) -> None:
    """A tenth of the steps warms up, then a line falls to zero."""
    for group, rate in zip(updater.param_groups, rates, strict=True):
        group["lr"] = rate * min(10 * done + 0.01, (1 - done) / 0.9)


def pretrained(data: Data, seed: int, steps: int) -> Model:
    """A body that tells quarter turns of all images that are in no test or validation part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, head = Stages(), nn.Linear(WIDE, 4)
    pool, rng = torch.cat(data.labelled), torch.Generator().manual_seed(seed)
    network = nn.ModuleDict({"body": body, "head": head})
    updater, rates = update(network, 3e-3)
    for step in range(steps):
        fall(updater, rates, step / steps)
        rows = pool[torch.randint(len(pool), (16,), generator=rng)]
        turned = torch.cat([data.images[rows].rot90(k, (2, 3)) for k in range(4)])
        hidden = body(stream_of(turned, 0)).hidden.mean(1)
        updater.zero_grad()
        nn.functional.cross_entropy(head(hidden), torch.arange(4).repeat_interleave(16)).backward()
        updater.step()
    return Model({"input": body.eval()}, {}, Lineage("start"))


def learn(
    model: Model,
    adapter: Adapter,
    data: Data,
    tasks: tuple[int, ...],
    labels: int,
    rate: float,
    steps: int,
    seed: int,
) -> tuple[nn.Module, nn.ModuleList, int]:
    """The adapted body and heads of these tasks, and how many numbers of the body trained.

    With one task the route is 0; with all it is the task.
    """
    adapted = attach(adapter, copied(model), Given(rng=torch.Generator().manual_seed(seed)))
    body = adapted.model.bodies["input"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = nn.ModuleList(nn.Linear(WIDE, CLASSES[task]) for task in tasks)
    updater, rates = update(nn.ModuleDict({"body": body, "heads": heads}), rate)
    rng = torch.Generator().manual_seed(1000 + seed)
    for step in range(steps):
        fall(updater, rates, step / steps)
        picks = [torch.randint(labels, (BATCH,), generator=rng) for _ in tasks]
        rows = [data.labelled[t][pick] for t, pick in zip(tasks, picks, strict=True)]
        route = torch.arange(len(tasks)).repeat_interleave(BATCH)
        stream = stream_of(data.images[torch.cat(rows)], route)
        hidden = body(stream).hidden.mean(1).chunk(len(tasks))
        losses = [
            nn.functional.cross_entropy(head(h), data.answers[t, r])
            for head, h, t, r in zip(heads, hidden, tasks, rows, strict=True)
        ]
        updater.zero_grad()
        torch.stack(losses).sum().backward()
        updater.step()
    return body.eval(), heads, adapted.count


@torch.no_grad()
def accuracy(
    body: nn.Module, head: nn.Module, data: Data, rows: Tensor, task: int, route: int
) -> float:
    hidden = body(stream_of(data.images[rows], route)).hidden.mean(1)
    return float((head(hidden).argmax(1) == data.answers[task, rows]).float().mean())


def run(
    name: str, model: Model, data: Data, labels: int, rate: float, steps: int, seed: int
) -> dict[str, Any]:
    """Mean accuracy over the tasks on both parts, and with the bottlenecks of the next task."""
    adapter = methods()[name]
    started = time.process_time()
    shared = name.startswith("Polyhistor")
    groups = [tuple(range(TASKS))] if shared else [(task,) for task in range(TASKS)]
    found: dict[str, list[float]] = {"validation": [], "test": [], "shuffled": []}
    count = 0
    for tasks in groups:
        body, heads, numbers = learn(model, adapter, data, tasks, labels, rate, steps, seed)
        count += numbers
        for place, task in enumerate(tasks):
            here = heads[place]
            for part, rows in (("validation", data.validation), ("test", data.test)):
                found[part].append(accuracy(body, here, data, rows, task, place))
            if shared:
                other = (place + 1) % TASKS
                found["shuffled"].append(accuracy(body, here, data, data.test, task, other))
    means = {part: statistics.mean(scores) for part, scores in found.items() if scores}
    seconds = time.process_time() - started
    return means | {"tasks": found["test"], "count": count, "seconds": seconds, "rate": rate}


def measure(scale: Scale) -> dict[str, Any]:
    figures: dict[str, Any] = {str(labels): {n: [] for n in methods()} for labels in scale.labels}
    for seed in range(scale.seeds):
        data = data_of(seed)
        model = pretrained(data, seed, scale.turning)
        for labels in scale.labels:
            for name in methods():
                runs = [
                    run(name, model, data, labels, rate, scale.steps, seed) for rate in scale.rates
                ]
                best = max(runs, key=lambda found: found["validation"])
                figures[str(labels)][name].append(best)
                print(seed, labels, name, best, file=sys.stderr, flush=True)
    return figures


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    found = next(iter(figures["runs"].values()))
    whole = found["apart"][0]["count"]
    for name in ("Polyhistor", "PolyhistorLite"):
        share = found[name][0]["count"] / whole
        yield f"{name} trains {share:.1%} of the numbers", share <= SHARE


def observations(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for labels, found in figures["runs"].items():
        for name in ("Polyhistor", "PolyhistorLite"):
            ahead = [
                a["test"] - b["test"] for a, b in zip(found[name], found["apart"], strict=True)
            ]
            told = ", ".join(f"{gap:+.1%}" for gap in ahead)
            mean = statistics.mean(ahead)
            yield (
                f"{name} is at most a point below at {labels} labels (by {mean:+.1%}: {told})",
                mean >= -0.01,
            )
            lost = statistics.mean(a["test"] - a["shuffled"] for a in found[name])
            yield f"it loses 5 points with the next task's bottlenecks ({lost:.1%})", lost >= 0.05


def report(figures: dict[str, Any]) -> str:
    lines = [
        f"Four tasks, {figures['seeds']} seeds; mean accuracy over tasks on {TEST} test images, "
        "CPU seconds for all four. Numbers are of the bodies, without the heads.",
        "",
        "| labels | method | numbers | accuracy | over seeds | digit, odd, large, ink | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for labels, found in figures["runs"].items():
        for name, runs in found.items():
            scores = [run["test"] for run in runs]
            each = [statistics.mean(run["tasks"][task] for run in runs) for task in range(TASKS)]
            lines.append(
                f"| {labels} | {name} | {runs[0]['count']:,} | {statistics.mean(scores):.3f} | "
                f"{min(scores):.3f} to {max(scores):.3f} | "
                f"{', '.join(f'{score:.2f}' for score in each)} | "
                f"{statistics.mean(run['seconds'] for run in runs):.1f} |"
            )
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines += [f"{'seen' if seen else 'not seen'}: {what}" for what, seen in observations(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "one seed and rate, 100 labels").parse_args()
    torch.set_num_threads(1)
    scale = SCALES["quick" if given.quick else ""]
    started = time.process_time()
    figures: dict[str, Any] = {"runs": measure(scale), "seeds": scale.seeds}
    figures["made"] = circumstances("torch", cpu_seconds=round(time.process_time() - started))
    return ended("polyhistor", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
