"""Which linear maps of a layer are an attention and which a feed-forward, from their calls.

Source of the parts: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, sections
3.2 and 3.3; gated feed-forward parts from Shazeer 2020, arXiv:2002.05202, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from torch import nn

from vitruvius.train.watching import Call, Watched, is_same

QUERY, KEY, VALUE = "attention.query", "attention.key", "attention.value"
FUSED, OUT = "attention.query_key_value", "attention.out"
UP, GATE, DOWN = "ffn.up", "ffn.gate", "ffn.down"
WIDTHS = ("head_width", "head_dim", "head_size", "attention_head_size")  # what says so, of a head
LETTERS = {"q": QUERY, "k": KEY, "v": VALUE}


@dataclass(frozen=True, eq=False)
class Placed:
    """An attention or a feed-forward in a layer."""

    kind: Literal["attention", "ffn"]
    path: str
    entry: nn.Linear
    exit: nn.Linear
    places: Mapping[nn.Module, str]
    """Of its linear maps; one that has no name of its own is missing."""


def placed(layer: str, modules: Mapping[str, nn.Module], seen: Watched) -> Iterator[Placed]:
    """The parts of the layer of that path, in the order of their calls.

    Maps that read the same tensor open a part. The next one closes it: as an attention where the
    tokens were mixed on the way to it, else as a feed-forward, which at most two maps open. As long
    as a map that reads that tensor is still to be called, those between belong to the part.
    """
    inside: dict[nn.Module, str] = {
        module: path
        for path, module in modules.items()
        if isinstance(module, nn.Linear) and f"{path}.".startswith(f"{layer}.")
    }
    calls = [call for module, call in seen.calls.items() if module in inside]
    group: list[Call] = []
    for number, call in enumerate(calls):
        if not group or call.shares(group[0]):
            group.append(call)
            continue
        heads = [inside[one.module] for one in group if one.shares(group[0])]
        low_rank = len(heads) < len(group)
        waiting = any(later.shares(group[0]) for later in calls[number + 1 :])
        if not call.mixed and (low_rank or waiting or len(heads) > 2):
            group.append(call)
            continue
        names = [*(inside[one.module] for one in group), inside[call.module]]
        if call.mixed:
            kind = "attention"
            places = {} if low_rank else _of_attention(heads)
            is_one = len(places) == 3 or any(
                _says_attention(name, layer, modules) for name in names
            )
            first = next((name for name, place in places.items() if place == QUERY), heads[0])
        else:
            kind, is_one, first = "ffn", True, heads[0]
            places = _of_feed_forward(heads)
        group = []
        if is_one:
            places = {**places, inside[call.module]: OUT if call.mixed else DOWN}
            entry, last = modules[first], modules[inside[call.module]]
            assert isinstance(entry, nn.Linear) and isinstance(last, nn.Linear)
            found = {modules[name]: place for name, place in places.items()}
            path = _whole(names, modules, seen, inside.values())
            yield Placed(kind, path, entry, last, found)


def head_width(body: nn.Module, part: Placed) -> int:
    """Of an attention the width of a head, as the module with its query map says; 0 if it does
    not."""
    for module in body.modules():
        if part.entry in module._modules.values():
            told = (getattr(module, name, None) for name in WIDTHS)
            return next((width for width in told if isinstance(width, int)), 0)
    return 0


def _of_attention(heads: Sequence[str]) -> dict[str, str]:
    """Places of the maps that read its input: by the letters q, k and v, else in this order."""
    if len(heads) == 1:
        return {heads[0]: FUSED}
    ends = [head.rpartition(".")[2] for head in heads]
    same = _shared(ends)
    letters = [end[same : same + 1].lower() for end in ends]
    if len(heads) == 3:
        told = sorted(letters) == sorted(LETTERS)
        return {h: LETTERS[a] for h, a in zip(heads, letters if told else LETTERS, strict=True)}
    return {
        head: LETTERS[letter]
        for head, letter in zip(heads, letters, strict=True)
        if letter in LETTERS and letters.count(letter) == 1
    }


def _of_feed_forward(heads: Sequence[str]) -> dict[str, str]:
    """Up and gate: the gate says so in its name, or is called first."""
    if len(heads) == 1:
        return {heads[0]: UP}
    one, two = (head.rpartition(".")[2].lower() for head in heads)
    second = "gate" in two and "gate" not in one
    return dict(zip(heads, (UP, GATE) if second else (GATE, UP), strict=True))


def _says_attention(path: str, layer: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a module that holds it, in the layer, is called an attention."""
    while path != layer and path:
        path = path.rpartition(".")[0]
        name = f"{path.removeprefix(layer)} {type(modules[path]).__name__}".lower()
        if path != layer and ("attention" in name or "attn" in name):
            return True
    return "attention" in type(modules[layer]).__name__.lower()


def _whole(
    names: Sequence[str],
    modules: Mapping[str, nn.Module],
    seen: Watched,
    linears: Iterable[str],
) -> str:
    """The path of the innermost module that holds these linear maps and no others, where it reads
    what the first reads and returns what the last does; else the path of the last."""
    steps = [name.split(".")[:-1] for name in names]
    path = ".".join(steps[0][: _shared(steps)])
    others = [name for name in linears if name.startswith(f"{path}.") and name not in names]
    call, first, last = (seen.calls.get(modules[at]) for at in (path, names[0], names[-1]))
    assert first is not None and last is not None
    if call is None or others or not call.shares(first) or not is_same(call.gives, last.gives):
        return names[-1]
    return path


def _shared(several: Sequence[Sequence[str]]) -> int:
    """How many of their first entries are the same in all."""
    return sum(1 for _ in takewhile(lambda here: len(set(here)) == 1, zip(*several, strict=False)))
