"""The stage that learns tasks one after another, and measures what is left of each."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from vitruvius.contracts import (
    Cost,
    Encoder,
    Given,
    Lab,
    Layer,
    Learner,
    Learning,
    Lesson,
    Lineage,
    Measurement,
    Model,
    Prepared,
    Progress,
    Stage,
    State,
    Stream,
    Task,
)
from vitruvius.pipeline.training import default_encoder
from vitruvius.space import Infeasible, hyper, one_of
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.learners import FineTuning, LwF, RanPAC, Replay
from vitruvius.train.building import network_of, outline, realise, refuse
from vitruvius.train.encoding import encode, prepare
from vitruvius.train.feeding import Feed
from vitruvius.train.meter import forward_flops, training_flops

SCORE = "average accuracy"


@dataclass(frozen=True, kw_only=True)
class LearnTasks(Stage):
    """Learn the tasks of a scenario such as ``ClassIncremental``, in their order.

    After task t the validation items of all classes so far are answered: A_t is the share that is
    right. Measured are, with what each means in ``accuracies``: "final accuracy" A_T, "forgetting",
    "exemplars" that are held at the end, and last, so that designs are ranked by it, "average
    accuracy", the mean of A_1, ..., A_T. An answer that is no number is wrong.

    Inputs are prepared by what the first task shows, since later ones are not known yet; where the
    body comes from the stage before, as it prepares them. They are images, arrays or rows of a
    table (of texts, take their vectors), and lie on the device as a whole, in float32.
    """

    learner: Learner = hyper(
        Replay(),
        one_of(FineTuning.space(), Replay.space(), LwF.space(), RanPAC.space()),
        "how it learns a task without forgetting those before",
    )
    model: Layer | None = hyper(
        None, doc="the network up to [B, d]; None: the body of the stage before"
    )
    encoder: Encoder | None = hyper(
        None, doc="input preparation; None: Columns for tables, Pixels for images and arrays"
    )

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Raises Infeasible where the network does not fit its input or the limits."""
        before = inputs["before"]
        task = before.task
        if task is None or "scenario" not in before.fitted:
            raise ValueError(
                "LearnTasks needs the tasks of a scenario before it: ClassIncremental().arrange "
                "makes them of labelled data."
            )
        told = before.fitted["scenario"].values
        sizes = [int(size) for size in told["tasks"]]
        train, held = (before.splits[name].documents for name in ("train", "validation"))
        first = train.take(np.flatnonzero(np.asarray(train.attributes["task"]) == 0))
        if self.model is None:
            prepared = self._known(before).prepared
        else:
            prepared = (prepare(self.encoder or default_encoder(first), first, lab),)
        feed, asked = (Feed.of(encode(prepared, part), lab.device) for part in (train, held))
        assert feed.label is not None and asked.label is not None
        body, size = self._body(before, feed.shape, task, prepared, lab)
        began, spent, found = time.perf_counter(), 0.0, []
        ends = np.cumsum(sizes).tolist()
        with torch.random.fork_rng(devices=[lab.device] if lab.device.type == "cuda" else []):
            torch.manual_seed(lab.seed)
            learning = self.learner.begin(
                body, int(told["memory"]), Given(rng=lab.generator("learner"))
            )
            for t, (seen, classes) in enumerate(zip([0, *ends], ends, strict=False)):
                now = (feed.label >= seen) & (feed.label < classes)
                lesson = Lesson(feed.inputs[now], feed.label[now], seen, classes)
                effort = learning.learn(lesson)
                flops = training_flops(size.flops, effort.trained)
                spent += flops + size.flops * effort.read + effort.flops
                found.append(right(learning, asked.inputs, asked.label, ends[: t + 1]))
                done = (t + 1) / len(sizes)
                lab.report(Progress(t + 1, effort.trained, 0, done))
        cost = replace(size, flops=spent, seconds=time.perf_counter() - began)
        items = np.histogram(asked.label.cpu().numpy(), [0, *ends])[0].tolist()
        measured = accuracies(found, items, learning.kept, cost)
        model = Model(
            bodies={"input": learning.body},
            heads={"task": learning.head},
            lineage=Lineage(initial=str(lab.seed), data=(train.digest,), stages=(str(lab.seed),)),
            prepared=prepared,
        )
        return replace(
            before, model=model, measurements=(*before.measurements, *measured), digest=""
        )

    def _body(
        self,
        before: State,
        shape: tuple[int, ...],
        task: Task,
        prepared: tuple[Prepared, ...],
        lab: Lab,
    ) -> tuple[nn.Module, Cost]:
        """The network with its first weights, and its size: parameters with a classifier of all
        classes, FLOPs of one item forward."""
        if self.model is not None:
            found = outline(self.model, Readout(), shape, task, lab.meter, "model")
            hidden = found.network.body(Stream(torch.empty((2, *shape), device="meta"))).hidden
            if hidden.dim() != 2:
                got = ", ".join(["B", *map(str, hidden.shape[1:])])
                raise Infeasible(
                    "model",
                    f"LearnTasks needs [B, d]; got [{got}]: end it in GlobalAveragePool()",
                )
            refuse(found, 0, lab.limits, "model")
            made = realise(found, lab.device, lab.seed, prepared=prepared)
            return network_of(made).body, found.cost
        body = copy.deepcopy(self._known(before).bodies["input"]).to(lab.device)
        for parameter in body.parameters():
            parameter.requires_grad_(True)
        one = torch.zeros((1, *shape), device=lab.device)
        flops = forward_flops(lambda: body.eval()(Stream(one)))
        return body, Cost(flops, parameters=sum(p.numel() for p in body.parameters()))

    def _known(self, before: State) -> Model:
        if before.model is None or "input" not in before.model.bodies:
            raise ValueError(
                "LearnTasks.model is None, and no stage before it made a network. Give a model."
            )
        return before.model


def right(
    learning: Learning, inputs: Tensor, label: Int[Tensor, " N"], ends: Sequence[int]
) -> list[int]:
    """How many items of each task so far are answered right, among all classes so far. ``ends`` are
    the classes that were known after each of these tasks."""
    known = label < ends[-1]
    scores, wanted = learning.answer(inputs[known]), label[known]
    correct = torch.isfinite(scores).all(1) & (scores.argmax(1) == wanted)
    task = torch.bucketize(wanted, torch.tensor(ends, device=wanted.device), right=True)
    return torch.bincount(task[correct], minlength=len(ends)).tolist()


def accuracies(
    found: Sequence[Sequence[int]], items: Sequence[int], kept: int, cost: Cost
) -> tuple[Measurement, ...]:
    """What is measured of the right answers: ``found[t][j]`` of the ``items[j]`` of task j, after
    task t, for j <= t.

    A_t = sum_j found[t][j] / sum_j items[j] over j <= t. Forgetting is the mean over all tasks but
    the last of the best accuracy that a task ever had less the one at the end (as in the authors'
    code, the end included among "ever": never below 0); 0 of a single task.
    """
    tasks = len(items)
    matrix = np.full((tasks, tasks), np.nan)
    curve = np.empty(tasks)
    for t, row in enumerate(found):
        matrix[t, : t + 1] = np.array(row) / np.array(items[: t + 1])
        curve[t] = sum(row) / sum(items[: t + 1])
    lost = np.nanmax(matrix, axis=0) - matrix[-1]
    forgotten = float(lost[:-1].mean()) if tasks > 1 else 0.0
    final = float(curve[-1])
    error = (final * (1 - final) / sum(items)) ** 0.5
    details = {"curve": curve, "matrix": matrix}
    return (
        Measurement("final accuracy", final, "higher", error, sum(items)),
        Measurement("forgetting", forgotten, items=sum(items)),
        Measurement("exemplars", float(kept), items=kept),
        Measurement(SCORE, float(curve.mean()), "higher", None, sum(items), cost, details=details),
    )
