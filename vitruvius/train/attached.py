"""What adapted models have in common: how the base was, and its way back."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Adapted,
    Adapter,
    Fitted,
    Lineage,
    Model,
    Structure,
    Tensors,
    base_parameters,
)
from vitruvius.space import to_json
from vitruvius.train.checkpoint import digest_of

ATTACHED = "_attached"  # the attribute of a body that something is attached to


def check_base(adapter: Adapter, model: Model) -> None:
    """Raise ValueError where nothing can be attached to a model."""
    name = type(adapter).__name__
    if not model.bodies:
        raise ValueError(
            f"{name} adapts the body of a model, and this one has none. "
            "Pretrain one first, or take FromPretrained."
        )
    for stream, body in model.bodies.items():
        if (there := attached_to(body)) is not None:
            raise ValueError(
                f"{name} needs a plain model; to its body {stream!r} "
                f"{type(there.adapter).__name__} is attached. "
                "Call merge() or detach() of that one first."
            )


def attached_to(body: nn.Module) -> Attached | None:
    """What is attached to a body of a model."""
    return vars(body).get(ATTACHED)


class Attached(ABC):
    """What adapted models have in common: they remember how the base was, and put it back.

    A subclass changes the bodies after ``super().__init__``, then calls ``_begin``.
    """

    def __init__(self, adapter: Adapter, model: Model, drawn: Tensor) -> None:
        check_base(adapter, model)
        self.adapter, self._model = adapter, model
        self.drawn = drawn
        """State of the generator before anything was drawn, to attach the same again."""
        self._bodies: dict[nn.Module, str] = {}
        for stream, body in model.bodies.items():
            self._bodies.setdefault(body, stream)
        self._base = dict(base_parameters(model))
        modules = dict.fromkeys(part for body in self._bodies for part in body.modules())
        self._modes = [(part, part.training) for part in modules]
        self._flags = [(parameter, parameter.requires_grad) for parameter in self._base.values()]
        self._buffers = [
            _Buffer(".".join(filter(None, (stream, path, name))), part, name)
            for body, stream in self._bodies.items()
            for path, part in body.named_modules()
            for name, held in part._buffers.items()
            if held is not None
        ]
        self._digest: str | None = None
        self._ended: str | None = None
        self._kept: Tensors | None = None  # of the base, while the edits are in its weights
        self._inside = 0

    @property
    def model(self) -> Model:
        return self._model

    @property
    def count(self) -> int:
        self._check_ready()
        trained = {p for body in self._bodies for p in body.parameters() if p.requires_grad}
        return sum(p.numel() for p in trained)

    def unmergeable(self) -> str | None:
        return None

    def merge(self, keep: bool = False) -> Model:
        self._check_ready()
        if (why := self.unmergeable()) is not None:
            raise ValueError(
                f"{type(self.adapter).__name__} cannot be merged: {why}. "
                "Keep the adapter beside its base, or call detach()."
            )
        with torch.no_grad():
            kept: Tensors = {}
            if keep:
                before = {**self._base, **self._before()}
                kept = {name: before[name].detach().clone() for name in self.deltas()}
            self._remove(merged=True)
        if not keep:
            return self._end("merged")
        self._restore_flags()
        self._kept = kept
        return self._model

    def unmerge(self) -> Model:
        if self._kept is None:
            raise ValueError(
                f"{type(self.adapter).__name__} was not merged with keep=True, so that there is "
                "nothing to go back to. Attach it anew, or load what was saved."
            )
        with torch.no_grad():
            for name, tensor in self._kept.items():
                self._base[name].copy_(tensor)
        self._kept = None
        self._install()
        return self._model

    def detach(self) -> Model:
        self._check_ready()
        with torch.no_grad():
            self._remove(merged=False)
            for buffer in self._buffers:
                buffer.restore()
        return self._end("detached")

    def save(self) -> tuple[Fitted, Lineage]:
        self._check_ready()
        lineage = dataclasses.replace(self._model.lineage, base=self._base_digest())
        return Fitted(self.tensors(), {"adapter": to_json(self.adapter)}), lineage

    def tensors(self) -> dict[str, Tensor]:
        """Copies of what was trained, by name."""
        found = {name: t.detach().clone() for name, t in self._trained().items()}
        return found | {b.path: b.now.detach().clone() for b in self._buffers if b.moved}

    def load(self, saved: Fitted, lineage: Lineage) -> None:
        self._check_ready()
        if saved.values.get("adapter") != to_json(self.adapter):
            raise ValueError(
                f"What was saved is of {saved.values.get('adapter')}; attached is "
                f"{self.adapter!r}. Attach the adapter that it was saved from."
            )
        if lineage.base != (mine := self._base_digest()):
            raise ValueError(
                f"What was saved belongs to a base of digest {lineage.base!s:.12}; this one has "
                f"{mine:.12}. Load it into the model that it was trained on."
            )
        self.put(saved.tensors)

    def put(self, tensors: Tensors) -> None:
        """Raises ValueError, with nothing changed, where they are not what trains here."""
        known = self._trained()
        buffers = {buffer.path: buffer for buffer in self._buffers}
        wrong = sorted(
            name
            for name in {*known, *tensors} - (buffers.keys() - known.keys())
            if not _fits(known.get(name), tensors.get(name))
        )
        if wrong:
            raise ValueError(
                f"What was saved must hold what trains here; {wrong[0]} is another, or on one side "
                "alone. Attach the adapter with the generator that it had then."
            )
        with torch.no_grad():
            for buffer in self._buffers:
                buffer.restore()
            for name, tensor in tensors.items():
                (known[name] if name in known else buffers[name].now).copy_(tensor)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Inside, the bodies are plain, as the base; nothing may be trained there."""
        self._check_ready()
        with torch.no_grad():
            self._remove(merged=False)
        flags = [(p, p.requires_grad) for p, _ in self._flags]
        for body in self._bodies:
            vars(body).pop(ATTACHED)
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        for buffer in self._buffers:
            buffer.show_before(True)
        try:
            yield
        finally:
            for buffer in self._buffers:
                buffer.show_before(False)
            self._install()
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for body in self._bodies:
                vars(body)[ATTACHED] = self

    @contextmanager
    def original(self) -> Iterator[None]:
        self._check_alive()
        self._inside += 1
        if self._inside == 1:
            self._show_base(True)
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._show_base(False)

    @abstractmethod
    def deltas(self) -> Tensors: ...

    @abstractmethod
    def restrict(self, structure: Structure, model: Model) -> Adapted: ...

    @abstractmethod
    def _trained(self) -> Tensors:
        """What a file must hold to have the edits again: the tensors in use, by name."""

    @abstractmethod
    def _install(self) -> None:
        """Put the edits in, with what they have learned."""

    @abstractmethod
    def _remove(self, merged: bool) -> None:
        """Take the edits away; what they did stays in the weights where ``merged``."""

    def _show_base(self, on: bool) -> None:
        """Behave as the base, or no longer. This is for the buffers; overrides add the edits."""
        for buffer in self._buffers:
            buffer.show_before(on)

    def _before(self) -> Tensors:
        """Of the base's parameters those that are changed in place, as they were."""
        return {}

    def _begin(self) -> None:
        """The edits are in place: from here on the bodies take no others."""
        for parameter in self._base.values():
            parameter.grad = None
        for body in self._bodies:
            vars(body)[ATTACHED] = self

    def _restore_flags(self) -> None:
        for parameter, flag in self._flags:
            parameter.grad = None
            parameter.requires_grad_(flag)
        for part, training in self._modes:
            part.training = training

    def _end(self, how: str) -> Model:
        self._restore_flags()
        for body in self._bodies:
            vars(body).pop(ATTACHED, None)
        self._ended = how
        return self._model

    def _check_alive(self) -> None:
        if self._ended is not None:
            raise ValueError(
                f"{type(self.adapter).__name__} was {self._ended} already. Attach it anew."
            )

    def _check_ready(self) -> None:
        self._check_alive()
        if self._kept is not None:
            raise ValueError(
                f"{type(self.adapter).__name__} is merged into its base. Call unmerge() first."
            )
        if self._inside:
            raise ValueError(
                f"{type(self.adapter).__name__} is set aside inside of original(). "
                "Leave that block first."
            )

    def _base_digest(self) -> str:
        """Of all parameters and buffers of the bodies, as they were."""
        if self._digest is None:
            tensors: dict[str, Tensor] = {**self._base, **self._before()}
            self._digest = digest_of(tensors | {b.path: b.before for b in self._buffers})
        return self._digest


class _Buffer:
    """A buffer of the base, as it was and as it is."""

    def __init__(self, path: str, part: nn.Module, name: str) -> None:
        self.path, self.part, self.name = path, part, name
        self.held = self.now
        self.before = self.held.detach().clone()
        self.after = self.held

    @property
    def now(self) -> Tensor:
        held = self.part._buffers[self.name]
        assert held is not None
        return held

    @property
    def moved(self) -> bool:
        return not _fits(self.now, self.before) or not torch.equal(self.now, self.before)

    def restore(self) -> None:
        self.part._buffers[self.name] = self.held.copy_(self.before)

    def show_before(self, on: bool) -> None:
        """A copy of it as it was, which a pass may write to; or again as it is."""
        if on:
            self.after = self.now
        self.part._buffers[self.name] = self.before.clone() if on else self.after


def _fits(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether one can be written into the other; of places, whether they are the same."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.is_floating_point() or torch.equal(one, other)
