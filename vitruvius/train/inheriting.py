"""What a network can take over from a trained one of another design.

Source: FlexiBERT, Tuli et al. 2023, arXiv:2205.11656, weight transfer and ``overlap``, the share of
parameters transferred; Net2Net, Chen et al. 2016, arXiv:1511.05641, for wider and deeper networks.
Differs from FlexiBERT: layers are paired by a longest common subsequence; what a layer takes over
makes it compute what its parent's layer did, or it takes nothing. There are no random projections
and no first rows and columns of a larger matrix.

In evaluation an ``exact`` child gives its parent's answers: dropout and the statistics of a batch
apart, training begins where the parent's ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from vitruvius.techniques.layers import Branches, Dense, Residual
from vitruvius.train.aligning import Network, Part, alike, channels, pairs
from vitruvius.train.identities import nothing
from vitruvius.train.layer_morphs import morph, positive_after
from vitruvius.train.morphing import (
    LINEAR,
    Copied,
    Link,
    Refusal,
    Way,
    copied,
    dotted,
    matrix,
    plain,
    same_but,
)


@dataclass(frozen=True)
class Taken:
    """A layer of the child that begins with weights of the parent."""

    place: str
    parent: str
    """Where the layer stands that they come from."""
    how: str
    """ "copied" or "widened"."""
    parameters: int
    """Of the child, that come from the parent."""


@dataclass(frozen=True)
class Refused:
    """A layer that begins as always, and why."""

    place: str
    reason: str


@dataclass(frozen=True, eq=False)
class Inheritance:
    """What a child takes over from its parent. Nothing in it is a weight yet."""

    parameters: int
    """Of the child."""
    taken: tuple[Taken, ...]
    refused: tuple[Refused, ...]
    exact: bool
    """Whether the child will give its parent's answers."""
    tensors: Mapping[str, Way]
    """How each tensor of the child is made, by name; all others are drawn as always."""

    @property
    def inherited(self) -> int:
        """Parameters of the child that come from the parent; those set to zero or one do not."""
        return sum(taken.parameters for taken in self.taken)

    @property
    def overlap(self) -> float:
        """The share of the child's parameters that are inherited; 1 of a child without any."""
        return self.inherited / self.parameters if self.parameters else 1.0

    def fill(self, network: nn.Module, weights: Mapping[str, Tensor], rng: torch.Generator) -> None:
        """Put the parent's weights (its ``state_dict``) into a child that has been drawn."""
        mine = network.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, way in self.tensors.items():
                target = mine[name]
                made = way.make(weights, rng) if isinstance(way, Copied) else way.make(target)
                target.copy_(made)

    def __str__(self) -> str:
        words = "the same function" if self.exact else "another function"
        first = f"{self.inherited:,} of {self.parameters:,} parameters inherited, {words}"
        return "\n".join([first, *(f"{one.place}: {one.reason}" for one in self.refused)])


def inherit(child: Network, parent: Network) -> Inheritance:
    """What a child's network can take over from its parent's."""
    return _Walk(child).go(parent)


class _Lost(Exception):
    """What comes out of a layer is not made of the parent's; what was taken inside it stays."""


class _Walk:
    """One way along both networks, from the input to the answer."""

    def __init__(self, child: Network) -> None:
        self.child = child
        self.tensors: dict[str, Way] = {}
        self.taken: list[Taken] = []
        self.refused: list[Refused] = []

    def go(self, parent: Network) -> Inheritance:
        first, before = self.child.outline.shape, parent.outline.shape
        link = plain(channels(first)) if first == before else None
        if link is None:
            self.refuse("input", f"it has the shape {first} in place of {before}")
        self.sequence(parent.parts, self.child.parts, link)
        parameters = sum(p.numel() for p in self.child.outline.network.parameters())
        taken, refused = tuple(self.taken), tuple(self.refused)
        return Inheritance(parameters, taken, refused, not refused, dict(self.tensors))

    def sequence(self, parents: list[Part], children: list[Part], link: Link | None) -> Link | None:
        """What comes out of a row of layers; None where it is not made of the parent's."""
        i = j = 0
        for up_to, there in [*pairs(parents, children), (len(parents), len(children))]:
            link = self.left_out(parents[i:up_to], link)
            link = self.added(children[j:there], link)
            if up_to < len(parents) and there < len(children):
                link = self.pair(parents[up_to], children[there], link)
            i, j = up_to + 1, there + 1
        return link

    def pair(self, parent: Part, child: Part, link: Link | None) -> Link | None:
        """A layer that stands for another: copied, made wider, or refused."""
        if link is None:  # the function is lost; a layer still begins where the parent's ended
            ours, theirs = channels(parent.before), channels(child.before)
            if ours != theirs:
                what = f"{child.kind} reads {theirs} channels in place of {ours}"
                return self.refuse(child.place, f"{what}, which are not copies of those")
            link = plain(theirs)
        tensors, count = dict(self.tensors), len(self.taken)
        try:
            equal = link.plain and parent.before == child.before
            equal = equal and alike(parent.layer, child.layer)
            if equal and (found := copied(parent, child)) is not None:
                self.take(parent, child, found)
                return plain(channels(child.after), positive_after(child.layer, link))
            if isinstance(child.layer, Residual):
                return self.residual(parent, child, link)
            if isinstance(child.layer, (Branches, Dense)):
                return self.branches(parent, child, link)
            found, link = morph(parent, child, link)
            self.take(parent, child, found)
            return link
        except _Lost:
            return None
        except Refusal as refusal:
            self.tensors = tensors
            del self.taken[count:]
            return self.refuse(child.place, str(refusal))

    def residual(self, parent: Part, child: Part, link: Link) -> Link:
        """A branch and its shortcut must make their channels of the same ones."""
        ours, theirs = (part.module.get_submodule("shortcut") for part in (parent, child))
        kinds = [[type(module) for module in each.modules()] for each in (ours, theirs)]
        if kinds[0] != kinds[1] or parent.padded != child.padded:
            raise Refusal("Residual has another shortcut than its parent")
        out = self.sequence(parent.body(), child.body(), link)
        if out is None:
            raise _Lost
        linear = [n for n, module in theirs.named_modules() if type(module) in LINEAR]
        if linear:
            name = dotted("shortcut", linear[0])
            self.take(parent, child, matrix(parent, child, (name, name), link, out))
            return Link(out.of, out.parent)
        positive = link.positive and out.positive
        if child.padded or channels(child.before) != channels(child.after):
            if not (link.plain and out.plain):
                raise Refusal("Residual pads channels with zeros, which are no copies of others")
            return plain(channels(child.after), positive)
        if not torch.equal(link.of, out.of):
            raise Refusal("Residual would add channels that are copies of different ones")
        return Link(out.of, out.parent, positive)

    def branches(self, parent: Part, child: Part, link: Link) -> Link:
        """Bodies beside each other, or each behind all before it."""
        ours, theirs = (len(part.layer.bodies) for part in (parent, child))  # type: ignore[attr-defined]
        if ours != theirs:
            raise Refusal(f"{child.kind} has {theirs} bodies in place of {ours}")
        same_but(parent, child, "bodies")
        dense = isinstance(child.layer, Dense)
        outs = [link] if dense else []
        for number in range(theirs):
            given = _beside(outs) if dense else link
            out = self.sequence(parent.body(number), child.body(number), given)
            if out is None:
                raise _Lost
            outs.append(out)
        if dense or child.layer.combine == "concat":  # type: ignore[attr-defined]
            return _beside(outs)
        if any(not torch.equal(out.of, outs[0].of) for out in outs):
            raise Refusal(f"{child.kind} would add channels that are copies of different ones")
        return Link(outs[0].of, outs[0].parent, all(out.positive for out in outs))

    def added(self, parts: list[Part], link: Link | None) -> Link | None:
        """Layers of the child alone: they all give back what they get, or are left alone."""
        if link is None:
            return None
        found: dict[str, Way] = {}
        for part in parts:
            try:
                fixed, link = nothing(part, link)
            except Refusal as refusal:
                return self.refuse(part.place, str(refusal))
            found |= fixed
        self.tensors |= found
        return link

    def left_out(self, parts: list[Part], link: Link | None) -> Link | None:
        """Layers of the parent alone: nothing is lost with one that did nothing."""
        for part in parts:
            if link is None:
                return None
            try:
                weights, link = nothing(part, link)
                gone = bool(weights)
            except Refusal:
                gone = True
            if gone:
                return self.refuse(part.place, f"its parent has {part.kind} here, and it has not")
        return link

    def take(self, parent: Part, child: Part, found: Mapping[str, Way]) -> None:
        """Note what a layer takes over."""
        self.tensors.update(found)
        count, same = 0, True
        for name, parameter in child.module.named_parameters():
            way = found.get(dotted(child.name, name))
            if isinstance(way, Copied):
                count += prod(parameter.shape[:2]) * prod(
                    n - 2 * way.margin for n in parameter.shape[2:]
                )
                same = same and way.rows is None and way.columns is None and not way.margin
        if count:
            how = "copied" if same else "widened"
            self.taken.append(Taken(child.place, parent.place, how, count))

    def refuse(self, place: str, reason: str) -> None:
        self.refused.append(Refused(place, reason))


def _beside(links: list[Link]) -> Link:
    """The channels of several, one after the other."""
    found, before = [], 0
    for link in links:
        found.append(link.of + before)
        before += link.parent
    return Link(torch.cat(found), before, all(link.positive for link in links))
