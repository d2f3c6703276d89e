"""What all ways to carry out a part of an adapter have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import Edit, Given, Layout, Model, Part, Site, Stream, Structure, Tensors
from vitruvius.train.sites import Located

CHILD = "adapter"  # of bodies: what trains beside their weights


class Carrier(ABC):
    """One part of an adapter in the bodies of a model.

    Made, it has changed nothing: what does not fit raises ValueError there. ``install`` changes the
    bodies, ``uninstall`` takes the edits out again and leaves the weights of the base as they are;
    both may be called in turn.
    """

    @abstractmethod
    def install(self) -> None: ...

    @abstractmethod
    def uninstall(self) -> None: ...

    @abstractmethod
    def trained(self) -> Tensors:
        """What a file must hold to have the part again: the tensors in use, by name."""

    @abstractmethod
    def deltas(self) -> Tensors:
        """By name of the base's parameter: what is added to it by now."""

    @abstractmethod
    def show_base(self, on: bool) -> None:
        """Behave as the base, or no longer."""

    def unmergeable(self) -> str | None:
        """Why it cannot become weights of the base; None where it can."""
        return None

    def values(self, base: Tensors) -> Tensors:
        """By name what a parameter of the base becomes, that is ``base`` so far."""
        with torch.no_grad():
            return {name: base[name] + delta for name, delta in self.deltas().items()}

    def before(self) -> Tensors:
        """Of the base's parameters those that are changed in place, as they were."""
        return {}

    def restricted(self, structure: Structure, model: Model) -> Carrier:
        """The same part on the base after pruning, which is ``model``; nothing is installed."""
        raise ValueError(
            "This part of the adapter cannot follow a pruning. "
            "Call merge() first and prune then, or take an adapter that chooses entries."
        )


class Made(nn.Module):
    """The tensors of a part, made once for each pass of a body that has them.

    It is a child ``adapter`` of the bodies, so that an optimizer finds what trains.
    """

    def __init__(
        self, edit: Edit, source: nn.Module, fixed: Mapping[str, Tensors] | None = None
    ) -> None:
        super().__init__()
        self.edit, self.source = edit, source
        self.fixed = FixedTensors(fixed or {})
        self.stays: Tensors = {}  # by path, after a pruning: where the weight still has entries
        self.now: Mapping[str, Tensors] = {}
        self.layout: Layout | None = None
        self.carried: Tensor | None = None
        self.compared: dict[str, Tensor] | None = None
        """What branches make of a site and what it was, where somebody asks."""
        self.shown = True

    def begin_pass(self, body: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before a body reads a stream."""
        stream: Stream = inputs[0]
        self.layout, self.carried = stream.layout, None
        self.now = self.fixed.beside(self.source(stream.layout.route))

    def end_pass(self, body: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        """After it: nothing of a pass is kept."""
        self.now, self.layout, self.carried = {}, None, None

    def alone(self) -> Mapping[str, Tensors]:
        """The tensors outside of a pass."""
        return self.fixed.beside(self.source(None))


class FixedTensors(nn.Module):
    """What edits read off the weights: buffers; a dot in a path is a slash in their names."""

    def __init__(self, fixed: Mapping[str, Tensors]) -> None:
        super().__init__()
        self.names = {
            path: {name: f"{path}/{name}".replace(".", "/") for name in names}
            for path, names in fixed.items()
            if names
        }
        for path, names in self.names.items():
            for name, own in names.items():
                self.register_buffer(own, fixed[path][name])

    def beside(self, made: Mapping[str, Tensors]) -> Mapping[str, Tensors]:
        """The tensors of a source with these among them."""
        if not self.names:
            return made
        return {
            path: {**made[path], **{n: getattr(self, own) for n, own in names.items()}}
            for path, names in ((path, self.names.get(path, {})) for path in made)
        }


class SourceCarrier(Carrier):
    """A part with tensors from a source: hooks at its sites, its source a child of the bodies."""

    def __init__(self, number: int, part: Part, found: Sequence[Located], given: Given) -> None:
        edit = part.edit
        wants = {one.site.path: edit.wants(one.site) for one in found}
        self.found = [one for one in found if wants[one.site.path]]
        self.number, self.edit = number, edit
        name = type(edit).__name__
        if not self.found:
            raise ValueError(
                f"{name} can act on none of the {len(found)} sites that it is given"
                f"{f', such as {found[0].site.path}' if found else ''}. Give it other sites."
            )
        if part.source is None:
            raise ValueError(f"{name} wants tensors of its own; give its part a source: Free().")
        sites: dict[str, Site] = {one.site.path: one.site for one in self.found}
        source = part.source.tensors({path: wants[path] for path in sites}, sites, given)
        self.begin(Made(edit, source, self.fixed(given)))

    def begin(self, made: Made) -> None:
        """With these tensors; nothing is installed."""
        self.made = made
        self._bodies = list(dict.fromkeys(one.body for one in self.found))
        self._hooks: list[RemovableHandle] = []

    def install(self) -> None:
        for body in self._bodies:
            place = next(iter(body.parameters())).device
            self.made.to(place)
            add_child(body, str(self.number), self.made)
            self._hooks.append(body.register_forward_pre_hook(self.made.begin_pass))
        for one in self.found:
            self._hooks += self.hook(one)
        for body in self._bodies:
            self._hooks.append(body.register_forward_hook(self.made.end_pass, always_call=True))

    def uninstall(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for body in self._bodies:
            drop_child(body, str(self.number))

    def fixed(self, given: Given) -> Mapping[str, Tensors]:
        """What the edit reads off the weights at its sites, by path."""
        return {}

    @abstractmethod
    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        """Watch a site."""

    def trained(self) -> Tensors:
        state = {
            **self.made.source.state_dict(keep_vars=True),
            **self.made.fixed.state_dict(keep_vars=True),
        }
        return {f"adapter.{self.number}.{name}": tensor for name, tensor in state.items()}

    def show_base(self, on: bool) -> None:
        self.made.shown = not on

    def deltas(self) -> Tensors:
        return {}


def first_input(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
    """What a module was called with: its first tensor, by place or by name."""
    for value in (*inputs, *named.values()):
        if isinstance(value, Tensor):
            return value
    raise ValueError("A site was called without a tensor.")


def output_of(made: Any) -> Tensor:
    """What a module gave: a tensor, or the first of several."""
    return made[0] if isinstance(made, tuple) else made


def with_output(made: Any, changed: Tensor) -> Any:
    """The same with another first tensor."""
    return (changed, *made[1:]) if isinstance(made, tuple) else changed


def add_child(body: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under the child ``adapter`` of a body."""
    children = body._modules.setdefault(CHILD, nn.ModuleDict())
    assert isinstance(children, nn.ModuleDict)
    children[name] = module


def drop_child(body: nn.Module, name: str) -> None:
    """Take it away again, and ``adapter`` with the last."""
    children = body._modules[CHILD]
    assert isinstance(children, nn.ModuleDict)
    del children[name]
    if not children:
        del body._modules[CHILD]


def stay_in_evaluation(body: nn.Module, inputs: Any) -> None:
    """Before a pass of a body that must not drop anything."""
    if body.training:
        body.eval()
