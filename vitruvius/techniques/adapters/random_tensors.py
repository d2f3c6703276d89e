"""Train any tensors of the model that fit a budget.

Source: Su et al. 2023, "Exploring the impact of model scaling on parameter-efficient tuning",
arXiv:2306.02320, section 3 (APET), whose code picks whole tensors.
Differs from the paper: of tensors that go together the sum has to fit, not the first alone; what an
adapter adds is no candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from vitruvius.contracts import Choose, Given, Model, Tensors, whole
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.structure import candidates


@dataclass(frozen=True)
class RandomTensors(Choose):
    """W itself trains in tensors that are drawn until no other fits the budget.

    At most ``budget`` numbers, and fewer by less than the smallest tensor that was not drawn. The
    seed decides, whatever the process and the order of names.
    """

    budget: int = hyper(2500, one_of(250, 2500, 25000, 250000), "numbers that train, at most")
    seed: int = hyper(0, None, "decides which tensors")
    unit: str = hyper(
        "tensor", one_of("tensor", "module"), "what is drawn: tensors, or all of a module together"
    )

    knob: ClassVar[str] = "budget"

    def check(self) -> None:
        if self.budget < 1:
            raise ValueError(
                f"RandomTensors.budget must be at least 1; got {self.budget}. "
                "To train the head alone, take LinearProbe."
            )
        if self.unit not in ("tensor", "module"):
            raise ValueError(f"RandomTensors.unit must be 'tensor' or 'module'; got {self.unit!r}.")

    def choose(self, model: Model, given: Given) -> Tensors:
        parameters = candidates(model)
        groups: dict[str, list[str]] = {}
        for name in parameters:
            unit = name if self.unit == "tensor" else name.rpartition(".")[0]
            groups.setdefault(unit, []).append(name)
        sizes = {
            unit: sum(parameters[name].numel() for name in names) for unit, names in groups.items()
        }
        picked = filled(sizes, self.budget, self.seed)
        if not picked:
            raise ValueError(
                f"RandomTensors.budget must be at least that of the smallest {self.unit}, "
                f"{min(sizes.values())} numbers; got {self.budget}. Take RandomEntries."
            )
        return {name: whole(parameters[name]) for unit in picked for name in groups[unit]}


def filled(sizes: Mapping[str, int], budget: int, seed: int) -> tuple[str, ...]:
    """Names in a drawn order, each taken where its size still fits."""
    names = sorted(sizes)
    rng = torch.Generator().manual_seed(seed)
    taken: list[str] = []
    for place in torch.randperm(len(names), generator=rng).tolist():
        if sizes[names[place]] <= budget:
            taken.append(names[place])
            budget -= sizes[names[place]]
    return tuple(taken)
