"""From groups of parameters to what PyTorch's optimizers take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitruvius.contracts import Group


def parameter_groups(
    groups: Sequence[Group], learning_rate: float, weight_decay: float, width_power: float
) -> list[dict[str, Any]]:
    """One for each, in order: its own rate, and weight decay where it decays.

    The rate is divided by width_ratio^width_power, so that activations change as much per step at
    every width. Of updates whose entries are all of size 1 and agree in sign with the inputs
    (Adam's) the power is 1; of updates with spectral norm sqrt(width) it is 1/2. Yang & Hu et al.
    2022, "Tensor Programs V", arXiv:2203.03466, table 3; Yang, Simon & Bernstein 2023, "A Spectral
    Condition for Feature Learning", arXiv:2310.17813.
    """
    return [
        {
            "params": list(group.parameters),
            "lr": learning_rate * group.rate / group.width_ratio**width_power,
            "weight_decay": weight_decay if group.decay else 0.0,
        }
        for group in groups
    ]


def fusible(groups: Sequence[Group]) -> bool:
    """Whether one kernel can update them all: real numbers on the CPU or a GPU.

    Its step counts live beside the parameters, so that no step waits for the device. On the CPU an
    AdamW step of a small network takes a quarter of the time.
    """
    parameters = [p for group in groups for p in group.parameters]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def need_not_negative(owner: object, **numbers: float) -> None:
    """Raise ValueError for a number below 0."""
    for name, number in numbers.items():
        if not number >= 0:
            raise ValueError(
                f"{type(owner).__name__}.{name} must not be negative; got {number}. "
                "For none, take 0."
            )


def need_share(owner: object, **numbers: float) -> None:
    """Raise ValueError for a number outside of [0, 1)."""
    for name, number in numbers.items():
        if not 0 <= number < 1:
            raise ValueError(
                f"{type(owner).__name__}.{name} must be at least 0 and below 1; got {number}."
            )
