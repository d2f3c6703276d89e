"""Reading the hidden states of a frozen body, and answering in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import Given, Outputs, Part, Reader
from vitruvius.train.edits.carrier import (
    Made,
    SourceCarrier,
    first_input,
    output_of,
    stay_in_evaluation,
)
from vitruvius.train.sites import Located


class ReaderCarrier(SourceCarrier):
    """Hooks at layers that note what they give, and one at the body that replaces its hidden.

    What is noted has no gradient: nothing of the body is kept for the backward pass, and its
    modules stay in evaluation. Taps: "stem", what the first layer reads, and "layer.N".
    """

    def __init__(self, number: int, part: Part, found: Sequence[Located], given: Given) -> None:
        super().__init__(number, part, found, given)
        self._readers: list[_Reading] = []

    def install(self) -> None:
        self._readers = []
        super().install()
        for body in self._bodies:
            mine = [one for one in self.found if one.body is body and one.site.kind == "layer"]
            taps = {
                one.site.path: f"layer.{one.site.depth}" if one.site.kind == "layer" else "output"
                for one in self.found
                if one.body is body
            }
            reading = _Reading(self.made, taps)
            self._readers.append(reading)
            for one in mine:
                at = _Noted(reading, f"layer.{one.site.depth}")
                self._hooks.append(one.module.register_forward_hook(at.after))
            first = min(mine, key=lambda one: one.site.depth, default=None)
            if first is not None:
                at = _Noted(reading, "stem")
                self._hooks.append(
                    first.module.register_forward_pre_hook(at.before, with_kwargs=True)
                )
            self._hooks.append(body.register_forward_pre_hook(stay_in_evaluation))
            # before the hook that ends the pass
            self._hooks.append(body.register_forward_hook(reading.answer, prepend=True))

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        return []

    def unmergeable(self) -> str | None:
        return "it reads several layers, and no weight of the base does"


class _Reading:
    """What was noted in a pass of one body."""

    def __init__(self, made: Made, names: Mapping[str, str]) -> None:
        self.made, self.names = made, names
        self.taps: dict[str, Tensor] = {}

    def answer(self, body: nn.Module, inputs: tuple[Any, ...], outputs: Outputs) -> Outputs | None:
        made, edit, taps = self.made, self.made.edit, self.taps
        self.taps = {}
        if not made.shown or not taps:  # nothing was noted: a pass within this one has answered
            return None
        assert isinstance(edit, Reader) and made.layout is not None
        taps["hidden"] = outputs.hidden.detach()
        tensors = {tap: made.now[path] for path, tap in self.names.items()}
        return replace(outputs, hidden=edit.read(tensors, taps, made.layout))


class _Noted:
    """Notes what a layer reads or gives."""

    def __init__(self, reading: _Reading, name: str) -> None:
        self.reading, self.name = reading, name

    def before(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.reading.taps[self.name] = first_input(inputs, named).detach()

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.reading.taps[self.name] = output_of(output).detach()
