"""The training loop: one for all objectives.

It calls one thing of an objective (``step``), one of a schedule (``value``), one of an optimizer
(``step(closure)``). Nothing in it waits for the device between evaluations. Each epoch seeds its
own generators, so that a training that goes on from a checkpoint ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

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
from vitruvius.train.building import network_of
from vitruvius.train.checkpoint import CheckpointError, load_tensors, pack, save_tensors, unpack
from vitruvius.train.feeding import Feed, steps_per_epoch
from vitruvius.train.grouping import Widths, group_parameters

CHECKPOINT_SECONDS = 20.0  # at least this long between two checkpoints of one training
CHECKPOINT = "checkpoint.safetensors"


class Diverged(RuntimeError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Course:
    """How long a training goes: at most ``epochs`` passes over the items.

    It ends early after ``patience`` evaluations (one per epoch) without a better validation score.
    """

    epochs: int
    batch_size: int
    patience: int | None = None
    clip: float | None = None
    """Largest norm of the gradient."""
    until: int | None = None
    """Epochs after which it stands still, to go on another time; None: at the end."""

    @property
    def end(self) -> int:
        """Epochs of this run, those that an earlier one did included."""
        return self.epochs if self.until is None else min(self.epochs, self.until)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training did; the model holds the weights of its best evaluation."""

    best: Measurement
    best_epoch: int
    epochs: int
    steps: int
    items: int
    """Seen, with repetition."""


def train(
    model: Model,
    *,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule[float],
    course: Course,
    feed: Feed,
    judge: Callable[[], Measurement],
    given: Given,
    lab: Lab,
    key: str,
    widths: Widths | None = None,
) -> Trained:
    """Train in place and leave the best weights in the model.

    ``judge`` measures the model on the validation part. Raises Diverged where the loss is no
    number, and Stopped, with the best weights in place, where the lab ends the trial.
    ``widths`` are those of the model's network.
    """
    network = network_of(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=lab.generator("parts"))))
        parts = objective.build(model).to(lab.device)
    trained = nn.ModuleDict({"network": network, "parts": parts})
    groups = group_parameters(trained, widths and widths.under("network"))
    updater = optimizer.build(groups)
    rates = [group["lr"] for group in updater.param_groups]
    total = course.epochs * steps_per_epoch(len(feed), course.batch_size)
    seeds = lab.generator("epochs")
    seed = int(torch.randint(2**62, (1,), generator=seeds))

    memory = _Memory(lab, key, trained, updater)
    progress, run = memory.recall(course) or (Progress(0, 0, course.batch_size, 0.0), _Run())
    broken = torch.zeros((), dtype=torch.bool, device=lab.device)
    autocast = torch.autocast(lab.device.type, lab.precision, lab.precision != torch.float32)
    checked = time.monotonic()
    try:
        while run.epoch < course.end and not run.over(course.patience):
            shuffle = torch.Generator().manual_seed(_mix(seed, run.epoch, 0))
            devices = [lab.device] if lab.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(_mix(seed, run.epoch, 2))
                trained.train()
                for batch in feed.shuffled(course.batch_size, shuffle):
                    given.rng.manual_seed(_mix(seed, progress.step, 1))
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
                            nn.utils.clip_grad_norm_(trained.parameters(), course.clip)
                        return loss.value.detach()

                    loss = cast(Tensor, updater.step(cast(Any, closure)))
                    broken |= ~torch.isfinite(loss)
                    step = progress.step + 1
                    tokens = progress.tokens + len(batch.rows)
                    progress = replace(progress, step=step, tokens=tokens, fraction=step / total)
                    lab.report(progress)
            if bool(broken):
                raise Diverged(
                    f"the loss became no number in epoch {run.epoch + 1} "
                    f"(step {progress.step} of {total})"
                )
            measured = judge()
            score = measured.value if measured.better != "lower" else -measured.value
            progress = replace(progress, history=(*progress.history, score))
            run.note(score, measured, trained)
            if time.monotonic() - checked >= CHECKPOINT_SECONDS:
                memory.keep(progress, run)
                checked = time.monotonic()
            lab.report(progress, (measured,))
        if course.end < course.epochs:
            lab.keep(run.epoch, *memory.pack(progress, run))
    finally:
        if run.weights:
            trained.load_state_dict(run.weights)
    if run.best is None:
        raise ValueError("Course.epochs must be at least 1.")
    memory.forget()
    return Trained(run.best, run.best_epoch, run.epoch, progress.step, progress.tokens)


@dataclass
class _Run:
    """What a training remembers between epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = float("-inf")
    best: Measurement | None = None
    weights: dict[str, Tensor] | None = None

    def note(self, score: float, measured: Measurement, trained: nn.Module) -> None:
        self.epoch += 1
        if self.best is None or score > self.best_score:
            self.best_epoch, self.best_score, self.best = self.epoch, score, measured
            self.weights = {n: t.detach().clone() for n, t in trained.state_dict().items()}

    def over(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.best_epoch >= patience > 0


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
                "run": [run.epoch, run.best_epoch, run.best_score],
                "best": [best.name, best.value, best.better, best.stderr, best.items],
            },
        )

    def keep(self, progress: Progress, run: _Run) -> None:
        if self.path is not None and run.best is not None:
            save_tensors(self.path, *self.pack(progress, run))

    def recall(self, course: Course) -> tuple[Progress, _Run] | None:
        """The checkpoint or the last rung, whichever is further."""
        tensors, values = self._checkpoint(course.end) or ({}, {})
        rung = self.lab.recall(course.end)
        if rung is not None and rung[0] > values.get("run", [0])[0]:
            tensors, values = dict(rung[1]), dict(rung[2])
        if not values:
            return None
        self.trained.load_state_dict(_under("now.", tensors))
        self.updater.load_state_dict(unpack("optimizer", tensors, values["optimizer"]))
        step, tokens, fraction, history = values["progress"]
        epoch, best_epoch, best_score = values["run"]
        name, value, better, stderr, items = values["best"]
        best = Measurement(name, value, better, stderr, items)
        progress = Progress(step, tokens, course.batch_size, fraction, tuple(history))
        device = next(self.trained.parameters()).device
        weights = {n: t.to(device) for n, t in _under("best.", tensors).items()}
        return progress, _Run(epoch, best_epoch, best_score, best, weights)

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


def _mix(seed: int, number: int, use: int) -> int:
    return (seed + 2_654_435_761 * (3 * number + use)) % 2**63
