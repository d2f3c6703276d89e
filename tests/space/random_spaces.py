"""Random spaces of small nodes: every combinator, in every place where it may stand."""

from __future__ import annotations

from itertools import islice
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from tests.space.oracle import designs
from tests.space.parts import BatchNorm, Conv, Dropout, Holder, ReLU, Row, copies, double, uneven
from vitruvius.space import (
    Ref,
    Repeat,
    derived,
    either_order,
    grammar,
    integers,
    log_uniform,
    one_of,
    optional,
    ordered,
    uniform,
    where,
)

MOST = 250  # points of a finite random space

numbers = st.sampled_from(
    [
        3,
        one_of(1, 2),
        one_of(4, 1, 2),
        one_of(8, 4),
        one_of(5),
        integers(1, 3),
        integers(2, 2),
        integers(1, 4, log=True),
    ]
)
words = st.sampled_from(
    [
        "a",
        None,
        True,
        one_of("a", "b"),
        ordered("low", "mid", "high"),
        one_of(1, True, "1", None),
        one_of(0.5, 1.0),
        optional("x"),
    ]
)
reals = st.sampled_from([0.1, uniform(0.0, 0.5), log_uniform(1e-3, 0.5), one_of(0.1, 0.3)])


def named(name: str) -> Any:
    """The domain of each name: equal wherever it stands."""
    return {
        "n": integers(1, 2, name="n"),
        "m": one_of(4, 8, 2, name="m"),
        "p": one_of(Conv(one_of(1, 2)), ReLU(), name="p"),
        "q": one_of(Conv(one_of(1, 2)), name="q"),
        "r": optional(Conv(integers(1, 2, name="n")), name="r"),
    }[name]


names = st.sampled_from("nmpqr")


@st.composite
def trees(draw: st.DrawFn, depth: int, finite: bool) -> Any:
    """A node, or a domain of nodes."""
    kinds = ["conv", "plain"] if depth == 0 else ["conv", "holder", "row", "choice", "named"]
    kind = draw(st.sampled_from(kinds))
    if kind == "conv":
        return Conv(draw(numbers), label=draw(st.sampled_from([None, None, "stem"])))
    if kind == "plain":
        return draw(st.sampled_from([ReLU(), BatchNorm()])) if finite else Dropout(draw(reals))
    inner = trees(depth - 1, finite)
    if kind == "holder":
        return Holder(draw(st.one_of(words, inner)), draw(st.one_of(inner, numbers)))
    if kind == "row":
        return Row(*draw(st.lists(items(depth - 1, finite), max_size=2)))
    if kind == "named":
        return Holder(named(draw(names)))
    return one_of(*draw(st.lists(inner, min_size=1, max_size=3)))


@st.composite
def items(draw: st.DrawFn, depth: int, finite: bool) -> Any:
    """What may stand in a tuple."""
    inner = trees(depth, finite)
    kind = draw(st.sampled_from(["tree", "optional", "order", "repeat", "tied", "grammar", "rows"]))
    body = draw(inner)
    if kind == "optional":
        return optional(body)
    if kind == "order":
        return either_order(body, draw(inner), label=draw(st.sampled_from([None, "order"])))
    if kind in ("repeat", "tied"):
        times = draw(st.sampled_from([1, 2, one_of(0, 2), one_of(1, 2), integers(0, 2)]))
        return Repeat(body, times, tied=kind == "tied")
    if kind == "grammar":
        end = one_of(ReLU(), Holder(Ref("rule"), draw(st.sampled_from([1, one_of(1, 2)]))))
        more = Row(Repeat(Ref("rule"), one_of(0, 1)), body)
        return grammar("rule", draw(st.integers(0, 2)), rule=draw(st.sampled_from([end, more])))
    if kind == "rows":
        return (body, draw(words))
    return body


@st.composite
def spaces(draw: st.DrawFn, finite: bool = True) -> Row:
    """A row with named decisions, what reads them, and other parts, in any order."""
    found = draw(st.lists(items(1, finite), max_size=2))
    used = draw(st.lists(names, max_size=3, unique=True))
    for name in used:
        place = Holder(named(name), draw(words))
        found.append(optional(place) if draw(st.booleans()) else place)
    if used:
        reads = [f"@{name}" for name in draw(st.lists(st.sampled_from(used), min_size=1))[:2]]
        body = Conv(one_of(1, 2))
        readers = [
            where(uneven, *reads),
            Repeat(body, derived(copies, *reads)),
            Repeat(body, derived(copies, *reads), tied=True),
            Holder(derived(copies, *reads), derived(double, "@n") if "n" in used else None),
        ]
        found.extend(draw(st.lists(st.sampled_from(readers), max_size=2)))
    space = Row(*draw(st.permutations(found)), scale=1.0 if finite else draw(reals))
    if finite:
        assume(len(list(islice(designs(space), MOST + 1))) <= MOST)
    return space
