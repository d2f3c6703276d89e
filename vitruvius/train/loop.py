"""The training loop: one for all objectives.

It calls one thing of an objective (``step``), one of a schedule (``value``), one of an optimizer
(``step(closure)``). Nothing in it waits for the device between evaluations. Each round seeds its
own generators, so that a training that goes on from a checkpoint ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Given,
    Lab,
    Measurement,
    Model,
    Objective,
    Optimizer,
    Progress,
    Schedule,
)
from vitruvius.space import Infeasible
from vitruvius.train.checkpoint import CheckpointError, load_tensors, pack, save_tensors, unpack
from vitruvius.train.flows import Flow, mix
from vitruvius.train.grouping import Widths, group_parameters

CHECKPOINT_SECONDS = 20.0  # at least this long between two checkpoints of one training
CHECKPOINT = "checkpoint.safetensors"


class Diverged(RuntimeError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Course:
    """How a training goes: it is judged after each round of its flow.

    It ends early after ``patience`` rounds without a better validation score.
    """

    patience: int | None = None
    clip: float | None = None
    """Largest norm of the gradient."""
    until: int | None = None
    """Rounds after which it stands still, to go on another time; None: at the end."""
    keep: Literal["best", "last"] = "best"
    """The weights that remain: those of the best round, or as they are at the end."""

    def end(self, rounds: int) -> int:
        """Rounds of this run, those that an earlier one did included."""
        return rounds if self.until is None else min(rounds, self.until)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training did."""

    best: Measurement
    """Of the round whose weights the model holds: the best, or the last."""
    best_round: int
    rounds: int
    steps: int
    tokens: int
    """Seen, with repetition; items where they have no tokens."""
    parts: nn.Module
    """The objective's own: it says which of them stay with the model."""


def train(
    model: Model,
    *,
    network: nn.Module,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule[float],
    course: Course,
    flow: Flow,
    judge: Callable[[nn.Module], Measurement],
    given: Given,
    lab: Lab,
    key: str,
    widths: Widths | None = None,
    still: Sequence[nn.Module] = (),
) -> Trained:
    """Train ``network``, the parts of the model that learn, in place.

    ``judge`` measures the model on what is held out, and gets the objective's own parts. Raises
    Infeasible where the objective does not fit the model, Diverged where the loss is no number, and
    Stopped, with the best weights in place, where the lab ends the trial. ``widths`` are those of
    the network; ``still`` are modules that stay as they are in evaluation, without dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=lab.generator("parts"))))
        try:
            parts = objective.build(model).to(lab.device)
        except ValueError as error:
            raise Infeasible("objective", str(error)) from error
    trained = nn.ModuleDict({"network": network, "parts": parts})
    groups = group_parameters(trained, widths and widths.under("network"))
    updater = optimizer.build(groups)
    rates = [group["lr"] for group in updater.param_groups]
    learning = [p for group in updater.param_groups for p in group["params"]]
    seeds = lab.generator("epochs")
    seed = int(torch.randint(2**62, (1,), generator=seeds))
    end = course.end(flow.rounds)

    memory = _Memory(lab, key, trained, updater)
    start = Progress(0, 0, flow.batch_tokens, 0.0)
    progress, run = memory.recall(start, end) or (start, _Run())
    broken = torch.zeros((), dtype=torch.bool, device=lab.device)
    autocast = torch.autocast(lab.device.type, lab.precision, lab.precision != torch.float32)
    checked = time.monotonic()
    try:
        while run.round < end and not run.over(course.patience):
            devices = [lab.device] if lab.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(mix(seed, run.round, 2))
                trained.train()
                for module in still:
                    module.eval()
                for batch, count in flow.batches(run.round, seed):
                    given.rng.manual_seed(mix(seed, progress.step, 1))
                    factor = schedule.value(progress)
                    for group, rate in zip(updater.param_groups, rates, strict=True):
                        group["lr"] = rate * factor

                    def closure(batch: Any = batch, now: Progress = progress) -> Tensor:
                        updater.zero_grad(set_to_none=True)
                        with autocast:
                            loss = objective.step(model, parts, batch, now, given)
                        if not loss.accumulated:
                            loss.value.backward()
                        if course.clip is not None:
                            nn.utils.clip_grad_norm_(learning, course.clip)
                        return loss.value.detach()

                    loss = cast(Tensor, updater.step(cast(Any, closure)))
                    broken |= ~torch.isfinite(loss)
                    step, tokens = progress.step + 1, progress.tokens + count
                    done = flow.fraction(step, tokens)
                    progress = replace(progress, step=step, tokens=tokens, fraction=done)
                    lab.report(progress)
            if bool(broken):
                raise Diverged(
                    f"the loss became no number in round {run.round + 1} of {flow.rounds} "
                    f"(step {progress.step})"
                )
            measured = judge(parts)
            score = measured.value if measured.better != "lower" else -measured.value
            progress = replace(progress, history=(*progress.history, score))
            run.note(score, measured, trained, course.keep)
            if time.monotonic() - checked >= CHECKPOINT_SECONDS:
                memory.keep(progress, run)
                checked = time.monotonic()
            ranked = course.keep == "best"  # what chooses no weights describes, and ranks nothing
            lab.report(progress, (measured if ranked else replace(measured, better=None),))
        if end < flow.rounds:
            lab.keep(run.round, *memory.pack(progress, run))
    finally:
        if run.weights:
            trained.load_state_dict(run.weights)
    if run.best is None:
        raise ValueError("A training needs at least one round.")
    memory.forget()
    return Trained(run.best, run.best_round, run.round, progress.step, progress.tokens, parts)


@dataclass
class _Run:
    """What a training remembers between rounds."""

    round: int = 0
    best_round: int = 0
    best_score: float = float("-inf")
    best: Measurement | None = None
    weights: dict[str, Tensor] | None = None

    def note(
        self, score: float, measured: Measurement, trained: nn.Module, keep: str = "best"
    ) -> None:
        self.round += 1
        if keep == "last":
            self.best_round, self.best_score, self.best = self.round, score, measured
        elif self.best is None or score > self.best_score:
            self.best_round, self.best_score, self.best = self.round, score, measured
            self.weights = {n: t.detach().clone() for n, t in trained.state_dict().items()}

    def over(self, patience: int | None) -> bool:
        return patience is not None and self.round - self.best_round >= patience > 0


class _Memory:
    """Where a training stands: its checkpoint, if it has a folder, and its rungs.

    Damaged or foreign checkpoints are not used.
    """

    def __init__(
        self, lab: Lab, key: str, trained: nn.Module, updater: torch.optim.Optimizer
    ) -> None:
        self.path = None if lab.folder is None else lab.folder / CHECKPOINT
        self.lab, self.key, self.trained, self.updater = lab, key, trained, updater

    def pack(self, progress: Progress, run: _Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the training needs to go on, as tensors and JSON."""
        tensors, values = pack("optimizer", self.updater.state_dict())
        tensors |= {f"now.{n}": t for n, t in self.trained.state_dict().items()}
        tensors |= {f"best.{n}": t for n, t in (run.weights or {}).items()}
        best = run.best
        assert best is not None
        return (
            {name: t.clone() for name, t in tensors.items()},  # tied weights are written twice
            {
                "key": self.key,
                "optimizer": values,
                "progress": [progress.step, progress.tokens, progress.fraction, progress.history],
                "run": [run.round, run.best_round, run.best_score],
                "best": [best.name, best.value, best.better, best.stderr, best.items],
            },
        )

    def keep(self, progress: Progress, run: _Run) -> None:
        if self.path is not None and run.best is not None:
            save_tensors(self.path, *self.pack(progress, run))

    def recall(self, start: Progress, end: int) -> tuple[Progress, _Run] | None:
        """The checkpoint or the last rung, whichever is further."""
        tensors, values = self._checkpoint(end) or ({}, {})
        rung = self.lab.recall(end)
        if rung is not None and rung[0] > values.get("run", [0])[0]:
            tensors, values = dict(rung[1]), dict(rung[2])
        if not values:
            return None
        self.trained.load_state_dict(_under("now.", tensors))
        self.updater.load_state_dict(unpack("optimizer", tensors, values["optimizer"]))
        step, tokens, fraction, history = values["progress"]
        done, best_round, best_score = values["run"]
        name, value, better, stderr, items = values["best"]
        best = Measurement(name, value, better, stderr, items)
        progress = Progress(step, tokens, start.batch_tokens, fraction, tuple(history))
        device = next(self.trained.parameters()).device
        weights = {n: t.to(device) for n, t in _under("best.", tensors).items()}
        return progress, _Run(done, best_round, best_score, best, weights or None)

    def _checkpoint(self, most: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if self.path is None or not self.path.exists():
            return None
        try:
            tensors, values = load_tensors(self.path)
        except CheckpointError:
            return None
        of_this = values.get("key") == self.key and values["run"][0] <= most
        return (tensors, values) if of_this else None

    def forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
