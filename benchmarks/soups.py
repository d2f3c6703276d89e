"""Is the mean of several fine-tunings' weights better than one of them?

    python benchmarks/soups.py                  # 3 repeats, some four minutes of CPU time
    python benchmarks/soups.py --quick          # 1 repeat, fewer epochs
    python benchmarks/soups.py --check --save   # exit status 1 where a claim does not hold

After Wortsman et al. 2022, "Model soups" (arXiv:2203.05482), on the transfer task of
``_transfer.py``: a small vision transformer that knows the digits 0 to 4 learns 5 to 9 from 120
labels. In each repeat there is another base and another draw of labels. A head is trained first on
the frozen body; from there 8 fine-tunings of all weights begin (3 rates x with or without shifts by
a pixel, two of them again with another seed): once with rates that are far apart and 15 epochs, as
in our first trials, once with rates that all learn well and 45. The mergers see the validation part
(150 images); the test part (500) is opened for each result once.

Beside the soups: the mean of the 8, the best of them on the validation part, and the ensemble that
averages the logits of all 8 at 8 times the cost. The negative control are networks of the same
design that begin with weights of their own and are trained to at least 80 %: as strangers they are
refused, and with the same lineage written on them their mean must collapse.

The claims: the uniform soup is above the mean of its members, in the mean over the repeats by at
least a point; the greedy one is never more than 0.3 points below the best single one in the mean;
both on the test part. All else is printed as it comes out.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from _results import circumstances, ended, flags
from _transfer import CPU, HEAD, head_of, lab_of, learn, pretrained, target, task_of
from torch import Tensor, nn

from vitruvius.contracts import Batch, Candidate, Given, Lineage, Measurement, Merger, Model, Stream
from vitruvius.pipeline.beginning import copied
from vitruvius.techniques.mergers import GreedySoup, LearnedSoup, UniformSoup, WiSE
from vitruvius.techniques.metrics import Accuracy
from vitruvius.train.building import network_of, reset
from vitruvius.train.candidates import answers_of, judge_of, of_model, put, start_of
from vitruvius.train.feeding import Feed
from vitruvius.train.frozen import freeze
from vitruvius.train.predicting import measure
from vitruvius.train.reading import feed_of

LABELS = 120
SETS = {  # rates, and how many times the epochs
    "far apart": ((3e-4, 1e-3, 2e-3), 1),
    "alike": ((1e-3, 2e-3, 3e-3), 3),
}
BATCH = 32
CONTROLS = 3
ENOUGH = 0.80  # test accuracy of each independent network, before their mean is held against them
SIZES = {  # repeats, epochs of the base, of a fine-tuning, of an independent network
    "quick": (1, 10, 6, 60),
    "full": (3, 40, 15, 60),
}
SOUPS: dict[str, Merger] = {
    "uniform soup": UniformSoup(),
    "greedy soup": GreedySoup(),
    "learned soup, of each tensor": LearnedSoup(),
    "learned soup, of the model": LearnedSoup(by_tensor=False),
}
WITH_START: dict[str, Merger] = {
    "greedy soup with the start": GreedySoup(),
    "WiSE of the uniform soup": WiSE(),
    "WiSE of the greedy soup": WiSE(soup=GreedySoup()),
}
SINGLES = ("mean of the singles", "best single on validation")
ENSEMBLE = "ensemble of all logits"


@dataclass(frozen=True, eq=False)
class Shifted(Feed):
    """Batches of images, each moved by up to a pixel each way, zeros behind it."""

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        for batch in super().shuffled(size, generator):
            values = batch.streams["input"].values  # [B, C, 8, 8]
            height, width = values.shape[-2:]
            wide = nn.functional.pad(values, (1, 1, 1, 1))
            moves = torch.randint(3, (len(values), 2), generator=generator).tolist()
            moved = torch.stack(
                [
                    image[:, y : y + height, x : x + width]
                    for image, (y, x) in zip(wide, moves, strict=True)
                ]
            )
            yield replace(batch, streams={"input": Stream(moved)})


def accuracy(model: Model, feed: Feed, task: Any) -> Measurement:
    return measure(model, feed, task, Accuracy(), torch.float32)


def logits(model: Model, feed: Feed) -> Tensor:
    answered = network_of(model).eval()
    with torch.no_grad():
        return torch.cat([answered(batch.streams["input"]) for batch in feed.ordered(512)])


def repeat(seed: int, size: str) -> dict[str, Any]:
    """All of one repeat: accuracies on the test part by name, ingredients, seconds of CPU time."""
    _, base_epochs, epochs, control_epochs = SIZES[size]
    began = time.process_time()
    base = pretrained(seed, epochs=base_epochs)
    data = target(seed, LABELS)
    task = task_of(data[0])
    labelled, validation, test = (feed_of(base, part, CPU) for part in data)
    assert isinstance(labelled, Feed) and isinstance(validation, Feed) and isinstance(test, Feed)

    first = copied(base)
    first = replace(first, heads={"task": head_of(HEAD, first, labelled, task, seed)})
    for parameter in first.bodies["input"].parameters():
        parameter.requires_grad_(False)
    learner, (shown,) = freeze(first, (labelled,), lab_of(seed))
    learn(learner, shown, task, 1e-2, seed, 40, BATCH, still=True)
    for parameter in first.bodies["input"].parameters():
        parameter.requires_grad_(True)
    network_of(first).eval()
    lineage = Lineage(start_of(first))
    first = replace(first, lineage=lineage)

    begun = Begun(first, task, seed, labelled, validation, test)
    sets = {name: merged(begun, rates, epochs * n) for name, (rates, n) in SETS.items()}
    return {
        "seed": seed,
        "sets": sets,
        "control": control(seed, first, data, control_epochs),
        "seconds": time.process_time() - began,
    }


@dataclass(frozen=True, eq=False)
class Begun:
    """What all fine-tunings of a repeat begin with."""

    first: Model
    """The base with a head that was trained alone."""
    task: Any
    seed: int
    labelled: Feed
    validation: Feed
    test: Feed


def ways(rates: tuple[float, ...]) -> list[tuple[float, bool, int]]:
    """Rate, whether images are shifted, number of the seed."""
    first = [(rate, shifts, 0) for rate in rates for shifts in (False, True)]
    return first + [(rates[1], shifts, 1) for shifts in (False, True)]


def merged(begun: Begun, rates: tuple[float, ...], epochs: int) -> dict[str, Any]:
    """Fine-tunings, and all that can be made of them."""
    first, task, seed, test = begun.first, begun.task, begun.seed, begun.test
    labelled, validation = begun.labelled, begun.validation
    began, singles = time.process_time(), []
    for number, (rate, shifts, again) in enumerate(ways(rates)):
        model = copied(first)
        shown = Shifted(labelled.inputs, labelled.label, CPU) if shifts else labelled
        learn(model, shown, task, rate, 1000 * seed + 100 * again + number, epochs, BATCH)
        network_of(model).eval()
        singles.append(model)
    trained = time.process_time() - began

    def candidate(model: Model, is_trained: bool = True) -> Candidate:
        return of_model(model, accuracy(model, validation, task), is_trained)

    candidates = [candidate(model) for model in singles]
    start = candidate(first, False)
    tests = [accuracy(model, test, task).value for model in singles]
    scores = [one.score.value for one in candidates]
    hand = copied(first)
    given = Given(
        rng=torch.Generator().manual_seed(seed),
        task=task,
        judge=judge_of(hand, lambda model: accuracy(model, validation, task)),
        answers=answers_of(copied(first), task),
        batches=lambda: validation.ordered(BATCH),
    )
    found = {
        "the start (head alone)": accuracy(first, test, task).value,
        SINGLES[0]: statistics.fmean(tests),
        SINGLES[1]: tests[max(range(len(scores)), key=lambda i: scores[i])],
        "best single on test (not to be known)": max(tests),
    }
    shares, seconds = {}, {}
    merging = [(n, m, candidates) for n, m in SOUPS.items()]
    merging += [(n, m, [start, *candidates]) for n, m in WITH_START.items()]
    for name, merger, ingredients in merging:
        started = time.process_time()
        made_of = merger.merge(ingredients, given)
        seconds[name] = time.process_time() - started
        put(hand, made_of.tensors)
        found[name] = accuracy(hand, test, task).value
        shares[name] = [round(share, 4) for share in made_of.shares]
    ensemble = torch.stack([logits(model, test) for model in singles]).mean(0)
    right = (ensemble.argmax(1) == test.label).double().mean()
    found[ENSEMBLE] = float(right)
    return {
        "test": found,
        "singles": [
            {"rate": r, "shifts": s, "validation": v, "test": t}
            for (r, s, _), v, t in zip(ways(rates), scores, tests, strict=True)
        ],
        "shares": shares,
        "merging seconds": seconds,
        "training seconds": trained,
    }


def control(seed: int, like: Model, data: Any, epochs: int) -> dict[str, Any]:
    """Networks that have nothing in common but their design, and what their mean is worth.

    They learn from all images of the digits that are neither tested nor validated on.
    """
    task = task_of(data[0])
    more = target(seed, 5 * 44)
    labelled, validation, test = (feed_of(like, part, CPU) for part in more)
    models = []
    for number in range(CONTROLS):
        model = copied(like)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7000 + 100 * seed + number)
            for part in network_of(model).modules():
                reset(part)
        model = replace(model, lineage=Lineage(start_of(model)))
        learn(model, labelled, task, 2e-3, 7000 + 100 * seed + number, epochs, BATCH)
        network_of(model).eval()
        models.append(model)
    alone = [accuracy(model, test, task).value for model in models]
    candidates = [of_model(model, accuracy(model, validation, task)) for model in models]
    try:
        UniformSoup().merge(candidates, Given())
        refused = ""
    except ValueError as error:
        refused = str(error)
    kin = [replace(one, lineage=Lineage("pretended")) for one in candidates]
    hand = copied(like)
    put(hand, UniformSoup().merge(kin, Given()).tensors)
    return {
        "alone": alone,
        "soup": accuracy(hand, test, task).value,
        "refused": refused,
        "enough": min(alone) >= ENOUGH,
    }


def points(runs: list[dict[str, Any]], kind: str, one: str, other: str) -> list[float]:
    """Differences in points of accuracy, of each repeat."""
    tests = [run["sets"][kind]["test"] for run in runs]
    return [100 * (test[one] - test[other]) for test in tests]


def interval(values: list[float]) -> str:
    """Mean and its standard error over the repeats."""
    if len(values) < 2:
        return f"{values[0]:+.2f}"
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):+.2f} ± {error:.2f}"


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    runs = figures["runs"]
    for kind in SETS:
        gain = points(runs, kind, "uniform soup", SINGLES[0])
        yield (
            f"{kind}: the uniform soup is above the mean of its members, by {interval(gain)} "
            "points (at least 1 in the mean)",
            statistics.fmean(gain) >= 1,
        )
        greedy = points(runs, kind, "greedy soup", SINGLES[1])
        yield (
            f"{kind}: the greedy soup is at most 0.3 points below the best on validation: "
            f"{interval(greedy)}",
            statistics.fmean(greedy) >= -0.3,
        )
    controls = [run["control"] for run in runs]
    yield (
        "networks that began elsewhere are refused: "
        f"{controls[0]['refused'].split('.')[0] or 'no'}",
        all("mixes models of one lineage" in one["refused"] for one in controls),
    )
    known = [one for one in controls if one["enough"]]
    falls = [100 * (statistics.fmean(one["alone"]) - one["soup"]) for one in known]
    yield (
        f"their mean, forced, falls by {min(falls, default=0.0):.1f} points at least (20 are "
        f"claimed), where each has {ENOUGH:.0%}: in {len(known)} of {len(controls)} repeats",
        bool(known) and min(falls) >= 20,
    )


def report(figures: dict[str, Any]) -> str:
    runs = figures["runs"]
    lines: list[str] = []
    for kind, (rates, _) in SETS.items():
        sets = [run["sets"][kind] for run in runs]
        lines += [
            f"\n## Rates {kind}: {', '.join(f'{rate:g}' for rate in rates)}\n",
            "| test accuracy, % | mean | deviation | each repeat | against the best single | "
            "members |",
            "|---|---|---|---|---|---|",
        ]
        for name in sets[0]["test"]:
            values = [100 * one["test"][name] for one in sets]
            spread = f"{statistics.stdev(values):.1f}" if len(values) > 1 else "-"
            each = ", ".join(f"{value:.1f}" for value in values)
            against = "-" if name == SINGLES[1] else interval(points(runs, kind, name, SINGLES[1]))
            told = [one["shares"][name] for one in sets if name in one["shares"]]
            members = ", ".join(str(sum(s > 0 for s in one)) for one in told) or "-"
            mean = statistics.fmean(values)
            lines.append(f"| {name} | {mean:.1f} | {spread} | {each} | {against} | {members} |")
        seconds = statistics.fmean(one["training seconds"] for one in sets)
        merging = ", ".join(
            f"{name} {statistics.fmean(one['merging seconds'][name] for one in sets):.2f}"
            for name in sets[0]["merging seconds"]
        )
        lines.append(f"\nCPU seconds: {seconds:.1f} to train the members; to merge: {merging}.")
    lines.append("\nThe negative control, networks that began with weights of their own:\n")
    lines += ["| repeat | alone, % | their mean, % |", "|---|---|---|"]
    for run in runs:
        alone = ", ".join(f"{100 * value:.1f}" for value in run["control"]["alone"])
        lines.append(f"| {run['seed']} | {alone} | {100 * run['control']['soup']:.1f} |")
    total = sum(run["seconds"] for run in runs)
    lines.append(
        f"\n{total:.0f} CPU seconds in all. The validation part has 150 images, the test part 500: "
        "of one repeat a point is within the noise of drawing the test part.\n"
    )
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "1 repeat, fewer epochs").parse_args()
    torch.set_num_threads(1)
    size = "quick" if given.quick else "full"
    runs = []
    for seed in range(SIZES[size][0]):
        runs.append(repeat(seed, size))
        for kind, one in runs[-1]["sets"].items():
            told = {name: round(100 * value, 1) for name, value in one["test"].items()}
            print(f"repeat {seed}, {kind}: {told}", file=sys.stderr, flush=True)
    figures = {"runs": runs, "made": circumstances("torch", size=size)}
    return ended("soups", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
