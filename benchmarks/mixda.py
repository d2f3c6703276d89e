"""Do adapters of domains learn their domain, keep the rest, and help a task?

    nice python benchmarks/mixda.py            # 3 seeds: four minutes of one core
    python benchmarks/mixda.py --quick         # one seed, half the steps
    python benchmarks/mixda.py --save          # writes results/mixda

A masked model of our own (two layers, 64 wide, 1,024 word pieces) is trained on a manual, and a
little of two domains: the King James Bible and the Free On-line Dictionary of Computing. Stage 1
trains an adapter of each domain by L = 0.5 L_K + L_S, with L_S on the manual's text, and again
without L_S. Stage 2 loads both, which stay, and trains a gate and a task adapter on ten labels of
each domain, against the task adapter alone. Nothing is claimed: what card 26 expects (the
perplexity of the domain falls, and L_S keeps that of general text closer to what it was) is
printed. Texts come from a data kit beside the checkout; without it nothing is run.
"""

from __future__ import annotations

import gzip
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _compared import arguments, finish
from _text_sets import KIT
from torch import Tensor, nn

from vitruvius.contracts import (
    Adapted,
    Batch,
    Documents,
    Fitted,
    Given,
    Layout,
    Lineage,
    Model,
    Objective,
    Progress,
    Stream,
    Task,
)
from vitruvius.pipeline.beginning import copied
from vitruvius.techniques.adapters import Bottleneck, DomainMixture, Together
from vitruvius.techniques.adapters.domain_mixture import EVERY, stacked
from vitruvius.techniques.heads import PooledReadout
from vitruvius.techniques.layers import Attention, Block, Encoder, LearnedPositions
from vitruvius.techniques.layers import Tokens as Table
from vitruvius.techniques.objectives import MaskedTokens, Sum, Supervised, Term, Unchanged
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.tokenizers import WordPiece
from vitruvius.train.adapting import attach, handed_on
from vitruvius.train.grouping import group_parameters
from vitruvius.train.text_bodies import fill, outline_text

GENERAL = "corpus_debian_reference/en.txt.gz"
DOMAINS = {
    "bible": "corpus_kjv/kjv.txt.gz",
    "computing": "corpus_foldoc/foldoc.txt.gz",
}
CHARACTERS, LENGTH, ROWS, WIDTH = 500_000, 32, 32, 64
SHOTS, TESTED, LAMBDA = 10, 200, 0.5
KIND = Task("domain", "item", tuple(DOMAINS))
MIXTURE = DomainMixture(1, 32, hidden=16, sites=EVERY)
Rows = dict[str, tuple[Tensor, Tensor]]
"""By name the ids to train on and those that are held out, [N LENGTH]."""


def text_of(name: str) -> str:
    with gzip.open(KIT / name, "rt", encoding="utf-8", errors="ignore") as opened:
        return " ".join(opened.read(2 * CHARACTERS).split())[:CHARACTERS]


def read() -> tuple[Rows, Any]:
    """The three texts as rows of ids, and the tokenizer that was trained on all."""
    texts = {"general": text_of(GENERAL), **{n: text_of(path) for n, path in DOMAINS.items()}}
    pieces = [t[i : i + 200] for t in texts.values() for i in range(0, len(t), 200)]
    made = WordPiece(1024)
    codec = made.build(made.fit(Given(documents=Documents({"text": np.array(pieces, object)}, {}))))
    found: Rows = {}
    for name, text in texts.items():
        ids = [i for n in range(0, len(text), 200) for i in codec.encode(text[n : n + 200]).ids]
        rows = torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).reshape(-1, LENGTH)
        found[name] = (rows[: -len(rows) // 10], rows[-len(rows) // 10 :])
    return found, codec


def batch(rows: Tensor, label: Tensor | None = None) -> Batch:
    ones = torch.ones_like(rows)
    layout = Layout(ones.cumsum(1) - 1, ones, packed=False, padded=False)
    fields = {} if label is None else {"label": label}
    return Batch({"input": Stream(rows, layout)}, fields, torch.arange(len(rows)))


def given(codec: Any, seed: int, **more: Any) -> Given:
    return Given(rng=torch.Generator().manual_seed(seed), tokenizer=codec, **more)


def learn(
    model: Model,
    objective: Objective,
    parts: nn.Module,
    batches: Callable[[int], Batch],
    steps: int,
    rate: float,
    codec: Any,
    seed: int,
) -> None:
    """AdamW with a falling line, all that requires a gradient."""
    network = nn.ModuleList([*model.bodies.values(), *model.heads.values(), parts])
    updater = AdamW(rate, 0.01).build(group_parameters(network))
    network.train()
    for step in range(steps):
        now = Progress(step, step * ROWS, ROWS, step / steps)
        for group in updater.param_groups:
            group["lr"] = rate * min(1.0, 10 * (step + 1) / steps) * (1 - step / steps)

        def closure(step: int = step, now: Progress = now) -> Tensor:
            updater.zero_grad()
            asked = given(codec, 7919 * seed + step, task=KIND)
            loss = objective.step(model, parts, batches(step), now, asked).value
            loss.backward()
            return loss.detach()

        updater.step(closure)  # pyright: ignore[reportArgumentType]
    network.eval()


def drawn(rows: Tensor, seed: int, step: int) -> Tensor:
    rng = torch.Generator().manual_seed(104729 * seed + step)
    return rows[torch.randint(len(rows), (ROWS,), generator=rng)]


def perplexity(model: Model, parts: nn.Module, rows: Tensor, codec: Any) -> float:
    """Of hidden tokens of the first rows that are held out; the same are hidden each time."""
    model.bodies["input"].eval()
    now, objective = Progress(0, 0, 1, 0.0), MaskedTokens()
    with torch.no_grad():
        losses = [
            float(objective.step(model, parts, batch(some), now, given(codec, n)).value)
            for n, some in enumerate(rows[:256].split(64))
        ]
    return math.exp(statistics.mean(losses))


def base(rows: Rows, codec: Any, seed: int, steps: int) -> tuple[Model, nn.Module]:
    """Trained on the manual, and for a tenth of its rows on the domains."""
    design = Encoder(
        Table(WIDTH, codec.vocabulary), (Block(Attention(4)),) * 2, LearnedPositions(LENGTH)
    )
    body = fill(outline_text(design, 2, LENGTH)[0], seed)
    model, objective = Model({"input": body}, {}, Lineage(str(seed))), MaskedTokens()
    torch.manual_seed(seed)
    parts = objective.build(model)

    def batches(step: int) -> Batch:
        name = "general" if step % 10 else [*DOMAINS][step // 10 % 2]
        return batch(drawn(rows[name][0], seed, step))

    learn(model, objective, parts, batches, steps, 3e-3, codec, seed)
    return model, parts


def first_stage(
    model: Model, head: nn.Module, rows: Rows, name: str, keep: bool, codec: Any, seed: int, n: int
) -> Adapted:
    """An adapter of one domain, with or without the loss that keeps what was."""
    adapted = attach(MIXTURE, copied(model), given(codec, seed))
    terms = [Term(MaskedTokens(), LAMBDA)] + [Term(Unchanged(), 1.0, "general")] * keep
    objective = Sum(*terms)
    for parameter in head.parameters():
        parameter.requires_grad_(False)

    def batches(step: int) -> Batch:
        general = batch(drawn(rows["general"][0], seed + 1, step))
        return replace(batch(drawn(rows[name][0], seed, step)), sources={"general": general})

    parts = nn.ModuleList([head] + [nn.Module()] * keep)
    learn(adapted.model, objective, parts, batches, n, 3e-3, codec, seed)
    return adapted


def second_stage(
    model: Model, rows: Rows, fitted: Fitted | None, codec: Any, seed: int, steps: int
) -> dict[str, float]:
    """Accuracy on which domain a row is of, from a few labels of each."""
    task = Bottleneck(8)
    adapter = task if fitted is None else Together((MIXTURE.second(2), task))
    more = {} if fitted is None else {"fitted": fitted}
    adapted = attach(adapter, copied(model), given(codec, seed, **more))
    torch.manual_seed(seed)
    head = PooledReadout("mean", dense=False, dropout=0.0).build(torch.zeros(1, 2, WIDTH), KIND)
    made = replace(adapted.model, heads={"task": head})
    rng = random.Random(seed)
    some = [rng.sample(range(len(rows[n][0])), SHOTS) for n in DOMAINS]
    shown = torch.cat([rows[n][0][at] for n, at in zip(DOMAINS, some, strict=True)])
    labels = torch.arange(2).repeat_interleave(SHOTS)
    objective = Supervised()
    learn(made, objective, nn.Module(), lambda _: batch(shown, labels), steps, 1e-3, codec, seed)
    tested = torch.cat([rows[n][1][:TESTED] for n in DOMAINS])
    seen = batch(tested, torch.arange(2).repeat_interleave(TESTED))
    with torch.no_grad():
        answer = head(made.bodies["input"](seen.streams["input"]), seen)
    right = (answer.argmax(1) == seen.fields["label"]).float().mean()
    return {"accuracy": 100 * float(right), "count": float(adapted.count)}


def one(rows: Rows, codec: Any, seed: int, quick: bool) -> dict[str, Any]:
    began = time.process_time()
    model, head = base(rows, codec, seed, 300 if quick else 1500)
    found: dict[str, Any] = {
        "base": {name: perplexity(model, head, rows[name][1], codec) for name in rows}
    }
    saved = []
    for name in DOMAINS:
        for keep in (True, False):
            made = first_stage(model, head, rows, name, keep, codec, seed, 100 if quick else 200)
            here = [perplexity(made.model, head, rows[n][1], codec) for n in (name, "general")]
            found[f"{name}{'' if keep else ' without L_S'}"] = here
            if keep:
                saved.append(handed_on(*made.save(), model))
    steps = 30 if quick else 60
    found["task alone"] = second_stage(model, rows, None, codec, seed, steps)
    found["mixture"] = second_stage(model, rows, stacked(saved), codec, seed, steps)
    found["seconds"] = time.process_time() - began
    print(seed, found, file=sys.stderr)
    return found


def change(found: dict[str, Any], name: str, keep: bool, at: int) -> float:
    """Of perplexity, in percent: of the domain (0) or of the general text (1)."""
    before = found["base"][name if at == 0 else "general"]
    after = found[f"{name}{'' if keep else ' without L_S'}"][at]
    return 100 * (after / before - 1)


def main() -> int:
    asked = arguments(__doc__)
    if not (KIT / GENERAL).exists():
        print(f"Skipped: there is no data kit at {KIT}.")
        return 0
    rows, codec = read()
    runs = [one(rows, codec, seed, asked.quick) for seed in range(1 if asked.quick else 3)]

    def mean(name: str, keep: bool, at: int) -> float:
        return statistics.mean(change(found, name, keep, at) for found in runs)

    told = []
    for name in DOMAINS:
        fall, with_, without = mean(name, True, 0), mean(name, True, 1), mean(name, False, 1)
        told.append(
            f"- {name}: the perplexity of the domain changes by {fall:+.1f} %, that of the manual "
            f"by {with_:+.1f} %, without L_S by {without:+.1f} %"
        )
    lines = [
        f"{len(runs)} seeds; perplexity of hidden word pieces, held out.",
        "",
        "| adapter of | domain before | after | manual before | after | after, without L_S |",
        "|---|---|---|---|---|---|",
    ]
    for name in DOMAINS:
        columns = [
            [found["base"][name] for found in runs],
            [found[name][0] for found in runs],
            [found["base"]["general"] for found in runs],
            [found[name][1] for found in runs],
            [found[f"{name} without L_S"][1] for found in runs],
        ]
        cells = " | ".join(f"{statistics.mean(column):.1f}" for column in columns)
        lines.append(f"| {name} | {cells} |")
    for name in ("task alone", "mixture"):
        found = [f"{run[name]['accuracy']:.1f}" for run in runs]
        lines.append(f"\n{name}: accuracy {', '.join(found)} by seed, from {SHOTS} labels each.")
    lines += ["", *told]
    spent = statistics.mean(run["seconds"] for run in runs)
    lines.append(f"\n{spent:.0f} seconds of CPU time for each seed.")
    return finish("mixda", {"runs": runs}, "\n".join(lines), [], asked)


if __name__ == "__main__":
    sys.exit(main())
