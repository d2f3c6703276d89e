"""A decided network drawn from its JSON: layers from top to bottom, with shapes and parameters.

Stretches that repeat are drawn once, with their number. Shapes come beside the design, by the path
of each module as ``torch.nn.Module.named_modules`` has it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from vitruvius.space.serial import resolve
from vitruvius.study.axes import written
from vitruvius.study.picture import CHARACTER, Svg, fit
from vitruvius.study.words import count_word

BOX, ROW, GAP, SHAPE_GAP, MARGIN = 320.0, 30.0, 16.0, 30.0, 12.0
MOST_BOXES = 120
SIZES = ("filters", "width", "units", "kernel", "window", "rate")
TIMES = "\u00d7"


@dataclass(frozen=True)
class Part:
    """A piece of the drawing: a layer, or pieces after, beside or around each other."""

    kind: str
    """leaf, stack, skip (a sum with the input), beside, graph."""
    title: str = ""
    detail: str = ""
    children: tuple[Part, ...] = ()
    shape: tuple[int, ...] | None = None
    """Of what comes out, without the batch."""
    parameters: int | None = None
    times: int = 1
    reads: tuple[str, ...] = ()
    name: str = ""

    @property
    def boxes(self) -> int:
        return 1 if self.kind == "leaf" else sum(child.boxes for child in self.children)


def network_of(design: Any) -> Mapping[str, Any] | None:
    """The JSON of the network inside a design: the first field called "model", or the design."""
    holder = _holder(design, "model")
    if holder is not None:
        return holder["model"]
    return design if _is_node(design) else None


def head_of(design: Any) -> Mapping[str, Any] | None:
    """The JSON of the head that stands beside the network, if one does."""
    holder = _holder(design, "model")
    return holder["head"] if holder is not None and _is_node(holder.get("head")) else None


def blueprint(
    network: Mapping[str, Any],
    layers: Sequence[Mapping[str, Any]] = (),
    head: Mapping[str, Any] | None = None,
) -> Markup:
    """The drawing of a network's JSON, and of its head's.

    ``layers`` are rows {"path", "shape" (without the batch), "parameters"}; those of the paths
    "input" and "head" tell of what comes in, and of the head.
    """
    facts = {str(row.get("path", "")): row for row in layers}
    part = folded(_part(network, "", facts))
    if part.kind != "stack" or part.title or part.times > 1:
        part = Part("stack", children=(part,), shape=part.shape)
    ending = facts.get("")
    if head is not None and not (facts and not facts.get("head", {}).get("parameters")):
        last = replace(_part(head, "head", facts), detail="head")
        body = tuple(replace(c, shape=c.shape or part.shape) for c in part.children[-1:])
        part = replace(part, children=(*part.children[:-1], *body, last))
        ending = facts.get("head")
    part, _ = _quiet(part, _shape(facts.get("input", {}).get("shape")))
    if part.boxes > MOST_BOXES:
        part = replace(part, children=part.children[:MOST_BOXES])
    width, height = _size(part)
    ends = 26.0
    total = max(width + 2 * MARGIN, BOX + 2 * MARGIN)
    svg = Svg(total, height + 2 * ends + 2 * GAP, "the layers of the best network", "blueprint")
    middle, top = total / 2, ends
    svg.text(middle, 17, _ending("input", facts.get("input")), "t label", "middle")
    svg.line(middle, top, middle, top + GAP, "wire")
    _draw(svg, part, middle, top + GAP)
    bottom = top + GAP + height
    svg.line(middle, bottom, middle, bottom + GAP, "wire arrow")
    svg.text(middle, bottom + GAP + 18, _ending("output", ending), "t label", "middle")
    return svg.markup()


def folded(part: Part) -> Part:
    """The part with runs of equal stretches drawn once."""
    children = tuple(folded(child) for child in part.children)
    if part.kind != "stack":
        return replace(part, children=children)
    kept: list[Part] = []
    at = 0
    while at < len(children):
        length, times = _run(children, at)
        if times > 1:
            stretch = children[at : at + length]
            inner = stretch[0] if length == 1 and stretch[0].kind == "stack" else None
            base = inner if inner is not None and inner.times == 1 else None
            kept.append(replace(base or Part("stack", children=stretch), times=times))
        else:
            kept.append(children[at])
        at += length * times
    return replace(part, children=tuple(kept))


def _quiet(part: Part, before: tuple[int, ...] | None) -> tuple[Part, tuple[int, ...] | None]:
    """The part without the shapes that only repeat the one before; and the shape after it."""
    own, at = part.shape, before
    children = []
    for child in part.children:
        child, after = _quiet(child, before if part.kind == "beside" else at)
        at = at if part.kind == "beside" else after
        children.append(child)
    after = own or at
    shown = own if own != (at if part.kind == "stack" else before) else None
    return replace(part, children=tuple(children), shape=shown), after


def _run(children: Sequence[Part], at: int) -> tuple[int, int]:
    """Length of the stretch at ``at`` that repeats at once, and how often; (1, 1) if none does."""
    for length in range(1, min(12, (len(children) - at) // 2) + 1):
        stretch = children[at : at + length]
        times = 1
        while children[at + times * length : at + (times + 1) * length] == stretch:
            times += 1
        if times > 1:
            return length, times
    return 1, 1


def _part(node: Any, path: str, facts: Mapping[str, Mapping[str, Any]]) -> Part:
    if not isinstance(node, Mapping) or "node" not in node:
        return Part("leaf", str(node))
    title = str(node.get("label") or node["node"].rpartition(":")[2].rpartition(".")[2])
    fact = facts.get(path, {})
    shape = _shape(fact.get("shape"))
    inner = [
        (name, value)
        for name, value in node.items()
        if _is_node(value) or (isinstance(value, list) and any(map(_is_node, value)))
    ]
    plain = {k: v for k, v in node.items() if k not in dict(inner) and k not in ("node", "label")}
    parameters = fact.get("parameters")
    if title == "Graph" and isinstance(node.get("nodes"), list):
        wires = tuple(
            _wire(w, _join(path, f"nodes.{i}"), facts) for i, w in enumerate(node["nodes"])
        )
        return Part("graph", children=wires, reads=tuple(node["inputs"]), name=node["output"])
    if title == "Wire":
        return _wire(node, path, facts)
    if not inner:
        if title == "Sequential":
            return Part("stack")
        return Part(
            "leaf", title, _details(node["node"], plain), shape=shape, parameters=parameters
        )
    children = []
    for name, value in inner:
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            key = f"{name}.{i}" if isinstance(value, list) else name
            key = str(i) if title == "Sequential" else key
            children.append(_part(item, _join(path, key), facts))
    if title == "Sequential":
        return Part("stack", children=tuple(children), shape=shape)
    if title == "Residual":
        return Part("skip", title, str(plain.get("shortcut", "")), tuple(children), shape)
    if title == "Branches":
        return Part("beside", title, str(plain.get("combine", "")), tuple(children), shape)
    said = f"{title} {_details(node['node'], plain)}".strip()
    if title == "Dense":
        said = "Dense: each sees all before it"
    return Part("stack", said, "", tuple(children), shape=shape, parameters=parameters)


def _wire(wire: Mapping[str, Any], path: str, facts: Mapping[str, Mapping[str, Any]]) -> Part:
    inner = folded(_part(wire.get("layer"), path, facts))
    reads = tuple(str(name) for name in wire.get("inputs", ()))
    if inner.kind != "leaf":
        inner = Part("stack", children=(inner,), shape=inner.shape)
    said = f" · {wire.get('combine')} of {len(reads)}" if len(reads) > 1 else ""
    return replace(inner, name=str(wire.get("name", "")), reads=reads, detail=inner.detail + said)


def _details(written_class: str, fields: Mapping[str, Any]) -> str:
    """Sizes, and what differs from its default: ``filters 32, kernel 5``."""
    try:
        cls = resolve(written_class, ("vitruvius",))
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    except (ValueError, ImportError, TypeError):
        defaults = {}
    words = []
    for name, value in fields.items():
        if name not in SIZES and name in defaults and defaults[name] == value:
            continue
        word = json.dumps(value) if isinstance(value, (list, dict)) else written(value)
        words.append(f"{name} {word}")
    return ", ".join(words)


def _size(part: Part) -> tuple[float, float]:
    if part.kind == "leaf":
        return BOX, ROW
    sizes = [_size(child) for child in part.children]
    if not sizes:
        return BOX, 0.0
    if part.kind == "beside":
        width = sum(w for w, _ in sizes) + 14 * (len(sizes) - 1)
        return width, max(h for _, h in sizes) + 24 + 40
    gaps = sum(_gap(child) for child in part.children[:-1])
    width, height = max(w for w, _ in sizes), sum(h for _, h in sizes) + gaps
    if part.kind == "skip":
        return width + 56, height + 18 + 36
    if part.kind == "graph":
        return width + 24 + 16 * len(part.children), height + 2 * GAP
    if part.times > 1 or part.title:
        return width + 2 * MARGIN + (44 if part.times > 1 else 0), height + 24 + 14 * bool(
            part.title
        )
    return width, height


def _gap(part: Part) -> float:
    return SHAPE_GAP if part.shape else GAP


def _draw(svg: Svg, part: Part, x: float, top: float) -> None:
    """Draws a part that is entered at (x, top) and left at (x, top + its height)."""
    width, height = _size(part)
    if part.kind == "leaf":
        _box(svg, part, x, top)
    elif part.kind == "beside":
        _beside(svg, part, x, top, width, height)
    elif part.kind == "skip":
        svg.line(x, top, x, top + 18, "wire")
        _stacked(svg, part.children, x, top + 18)
        out, side = top + height - 18, x + width / 2 - 14
        svg.path(f"M{x} {top + 6}H{side}V{out}H{x + 11}", "wire skip")
        svg.line(x, top + height - 36, x, out - 10, "wire")
        svg.circle(x, out, 10, "join")
        svg.text(x, out + 5, "+", "t label", "middle")
        svg.line(x, out + 10, x, top + height, "wire")
        if part.detail == "project":
            svg.text(side - 4, top + 18, "project", "t soft small", "end")
    elif part.kind == "graph":
        _graph(svg, part, x, top, width, height)
    else:
        framed = part.times > 1 or bool(part.title)
        head = (12 + 14 * bool(part.title)) if framed else 0
        if framed:
            svg.rect(x - width / 2, top, width, height, "frame", round_=8)
            svg.line(x, top, x, top + head, "wire")
            if part.title:
                svg.text(x - width / 2 + 10, top + 17, fit(part.title, width / 2 - 16), "t soft")
            if part.times > 1:
                svg.text(
                    x + width / 2 - 8, top + height / 2 + 6, f"{TIMES} {part.times}", "t big", "end"
                )
        _stacked(svg, part.children, x, top + head)
        if framed:
            svg.line(x, top + height - 12, x, top + height, "wire")


def _stacked(svg: Svg, children: Sequence[Part], x: float, top: float) -> None:
    for i, child in enumerate(children):
        _draw(svg, child, x, top)
        top += _size(child)[1]
        if i < len(children) - 1:
            gap = _gap(child)
            svg.line(x, top, x, top + gap, "wire arrow")
            if child.shape:
                svg.text(x + 8, top + gap / 2 + 4, _shape_word(child.shape), "t soft small")
            top += gap


def _box(svg: Svg, part: Part, x: float, top: float) -> None:
    title = part.title + (f": {part.detail}" if part.detail else "")
    css = "layer heavy" if part.parameters else "layer"
    svg.rect(x - BOX / 2, top, BOX, ROW, css, title, 6)
    left = x - BOX / 2 + 10
    svg.text(left, top + 20, part.title, "t strong")
    amount = count_word(part.parameters) if part.parameters else ""
    used = len(part.title) * CHARACTER * 1.2 + 20
    room = BOX - 20 - used - (len(amount) * CHARACTER + 10 if amount else 0)
    if room > 30 and part.detail:
        svg.text(left + used - 8, top + 20, fit(part.detail, room), "t soft")
    if amount:
        svg.text(x + BOX / 2 - 10, top + 20, amount, "t", "end")


def _beside(svg: Svg, part: Part, x: float, top: float, width: float, height: float) -> None:
    left = x - width / 2
    out = top + height - 20
    first = last = x
    svg.line(x, top, x, top + 12, "wire")
    for i, child in enumerate(part.children):
        wide, high = _size(child)
        middle = left + wide / 2
        first = middle if i == 0 else first
        last = middle
        svg.line(middle, top + 12, middle, top + 24, "wire")
        _draw(svg, child, middle, top + 24)
        svg.line(middle, top + 24 + high, middle, out, "wire")
        left += wide + 14
    svg.line(first, top + 12, last, top + 12, "wire")
    svg.line(first, out, last, out, "wire")
    word = {"sum": "+", "concat": "join", "mean": "mean"}.get(part.detail, part.detail or "join")
    half = max(10.0, len(word) * CHARACTER / 2 + 6)
    svg.rect(x - half, out - 10, 2 * half, 20, "join", round_=10)
    svg.text(x, out + 5, word, "t label", "middle")
    svg.line(x, out + 10, x, top + height, "wire")


def _graph(svg: Svg, part: Part, x: float, top: float, width: float, height: float) -> None:
    """Nodes below each other; what is not read from the node just above comes in an arc."""
    ends: dict[str, float] = {name: top + 4 for name in part.reads}
    before = part.reads[0] if len(part.reads) == 1 else ""
    at, lanes = top + GAP, 0
    edge = x + max(_size(child)[0] for child in part.children) / 2
    for child in part.children:
        for read in child.reads:
            if read == before:
                svg.line(x, ends[read], x, at, "wire arrow")
            elif read in ends:
                lanes += 1
                side = edge + 6 + 11 * lanes
                svg.path(f"M{x} {ends[read] + 3}H{side}V{at - 5}H{x}V{at}", "wire skip")
        _draw(svg, child, x, at)
        svg.text(edge - 4, at - 3, child.name, "t soft small", "end")
        at += _size(child)[1]
        ends[child.name], before = at, child.name
        at += _gap(child)
    svg.line(x, ends.get(part.name, top), x, top + height, "wire")
    svg.line(x, top, x, top + 4, "wire")


def _ending(word: str, fact: Mapping[str, Any] | None) -> str:
    shape = _shape((fact or {}).get("shape"))
    return f"{word} {_shape_word(shape)}" if shape else word


def _shape(given: Any) -> tuple[int, ...] | None:
    if not isinstance(given, Sequence) or isinstance(given, str):
        return None
    return tuple(int(n) for n in given if n is not None) or None


def _shape_word(shape: Sequence[int]) -> str:
    return f" {TIMES} ".join(map(str, shape))


def _holder(value: Any, name: str) -> Mapping[str, Any] | None:
    """The first mapping, from the outside in, with a node under this name."""
    if isinstance(value, Mapping):
        if _is_node(value.get(name)):
            return value
        parts: Sequence[Any] = list(value.values())
    else:
        parts = value if isinstance(value, list) else ()
    return next((found for part in parts if (found := _holder(part, name)) is not None), None)


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "node" in value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
