"""Tensors that are as another run left them, beside some that train.

Source: Diao et al. 2023, "Mixture-of-Domain-Adapters", arXiv:2306.05406, section 3.3: in the second
stage the adapters of domains are loaded and stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Site, Source, Tensors, Wants
from vitruvius.space import hyper
from vitruvius.techniques.sources.free import FreeTensors


@dataclass(frozen=True)
class Fixed(Source):
    """What is named in ``stay`` is as ``given.fitted`` has them, and does not train; the rest does.

    What is given is what an adapter at the same sites has saved. As many numbers train as the
    others have. The model is not unchanged at the start: what was loaded acts from the first step.
    """

    stay: tuple[str, ...] = hyper((), None, "names of the tensors that do not train")

    needs: ClassVar[tuple[str, ...]] = ("fitted",)
    identity: ClassVar[bool] = False

    @classmethod
    def example(cls) -> Fixed:
        return cls(("b",))

    def check(self) -> None:
        if not self.stay:
            raise ValueError(
                "Fixed.stay must say which tensors stay; got none. If all train, take Free."
            )

    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        made = FreeTensors(wants, given.rng)
        there = dict.fromkeys(name for names in wants.values() for name in names)
        if unknown := [name for name in self.stay if name not in there]:
            raise ValueError(
                f"Fixed.stay has {unknown[0]!r}, which is wanted nowhere; there is "
                f"{', '.join(there)}."
            )
        for path, names in wants.items():
            for name in (name for name in self.stay if name in names):
                own = made.names[path][name]
                tensor = _saved(given.fitted.tensors, own, names[name].size)
                delattr(made, own)
                made.register_buffer(own, tensor.detach().clone())
        return made

    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        return sum(
            one.size.numel()
            for names in wants.values()
            for name, one in names.items()
            if name not in self.stay
        )


def _saved(tensors: Tensors, own: str, size: torch.Size) -> Tensor:
    """What was saved under a name, in whatever part."""
    found = [t for name, t in tensors.items() if name.rpartition(".")[2] == own]
    if len(found) != 1 or found[0].shape != size:
        sizes = [list(t.shape) for t in found]
        raise ValueError(
            f"Fixed needs one saved tensor {own} of {list(size)}; there are {sizes}. "
            "Attach the edit at the sites and in the size that it was saved with."
        )
    return found[0]
