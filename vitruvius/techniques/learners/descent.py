"""The training that all learners by gradient share, so that they differ in nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitruvius.contracts import Progress, Schedule
from vitruvius.space import Node, hyper, one_of
from vitruvius.techniques.schedules import Cosine, Milestones

MOMENTUM = 0.9


@dataclass(frozen=True)
class Descent(Node):
    """Stochastic gradient descent with momentum 0.9 over the items of one task, begun anew for each
    task.

    The domains are the grid that Cha & Cho 2025 (arXiv:2403.09066) share among all methods.
    """

    epochs: int = hyper(70, one_of(30, 70, 120, 160, 200), "passes over the items of a task")
    learning_rate: float = hyper(
        0.1, one_of(0.05, 0.1, 0.15, 0.2, 0.3), "step, per unit of gradient"
    )
    batch_size: int = hyper(128, one_of(32, 64, 128, 256, 512), "items of a step")
    weight_decay: float = hyper(
        5e-4, one_of(1e-4, 5e-4, 1e-3, 5e-3), "pull to 0, added to the gradient"
    )
    schedule: Schedule[float] = hyper(
        Milestones(),
        one_of(Milestones.space(warmup=0.0), Cosine()),
        "factor of the rate over a task",
    )

    def check(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "Descent needs at least one epoch and one item in a batch; "
                f"got epochs={self.epochs}, batch_size={self.batch_size}."
            )
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError(
                "Descent needs a learning rate above 0 and no negative decay; "
                f"got learning_rate={self.learning_rate}, weight_decay={self.weight_decay}."
            )


def descend(
    how: Descent,
    modules: Sequence[nn.Module],
    loss: Callable[[Int[Tensor, " B"]], Float[Tensor, ""]],
    items: int,
    rng: torch.Generator,
    *,
    old: int = 0,
    share: float | None = None,
    after: Callable[[], None] | None = None,
) -> int:
    """Train the modules in place on ``loss(rows)``; how many items were seen, with repetition.

    Rows are positions from 0 to items - 1; the last ``old`` of them are exemplars. With ``share``
    they fill that share of each batch, drawn with replacement, and an epoch is one pass over the
    others. ``after`` is called behind each step.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        how.learning_rate,
        momentum=MOMENTUM,
        weight_decay=how.weight_decay,
        fused=all(p.device.type in ("cpu", "cuda") for p in parameters),
    )
    mixed = share is not None and 0 < old < items
    new = items - old if mixed else items
    rest = how.batch_size
    if mixed:
        assert share is not None
        rest = max(1, round(how.batch_size * (1 - share)))
    steps, seen = how.epochs * math.ceil(new / rest), 0
    for module in modules:
        module.train()
    done = 0
    for _ in range(how.epochs):
        for rows in batches(new, rest, rng):
            if mixed:
                drawn = torch.randint(new, items, (how.batch_size - rest,), generator=rng)
                rows = torch.cat([rows, drawn])
            factor = how.schedule.value(Progress(done, seen, how.batch_size, done / steps))
            optimizer.param_groups[0]["lr"] = how.learning_rate * factor
            optimizer.zero_grad(set_to_none=True)
            loss(rows).backward()
            optimizer.step()
            if after is not None:
                after()
            done, seen = done + 1, seen + len(rows)
    return seen


def batches(items: int, size: int, rng: torch.Generator) -> Iterator[Int[Tensor, " B"]]:
    """All positions once, in an order drawn from the generator, in parts of nearly equal size; a
    part of one item is left out where there are others, for the sake of batch statistics."""
    order = torch.randperm(items, generator=rng)
    for rows in order.tensor_split(math.ceil(items / size)):
        if len(rows) > 1 or items == 1:
            yield rows
