"""What every technique must do, whatever its role. Each check takes the class.

``test_common.py`` runs them over the whole catalogue.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar

import vitruvius.space
from vitruvius.catalogue import describe
from vitruvius.space import (
    Node,
    Repeat,
    decide,
    from_json,
    hyperparameters,
    replay,
    same,
    sample,
    to_json,
)
from vitruvius.space.domains import Choice, Domain
from vitruvius.space.structure import parts

N = TypeVar("N", bound=Node)
POINTS = 20


def name(thing: Any) -> str:
    """What a parameter of a test is called."""
    return thing.__name__.removeprefix("check_")


def example(cls: type[N]) -> N:
    """The default of a class; of one that needs a part, what its ``example()`` gives."""
    made: Any = cls
    return made.example() if hasattr(cls, "example") else made()


def opened(cls: type[N]) -> N:
    """The class with all of its domains open; what has none stays as in the example."""
    given = {
        h.name: getattr(example(cls), h.name) for h in hyperparameters(cls) if h.domain is None
    }
    if cls.varargs:
        return cls.space(*given.pop(cls.varargs), **given)
    return cls.space(**given)


def samples(cls: type[N], points: int = POINTS) -> list[N]:
    """Designs from all over the space of a class, the same in every run."""
    space = opened(cls)
    return [replay(space, sample(space, Random(seed))) for seed in range(points)]


def check_default_builds(cls: type[Node]) -> None:
    node = example(cls)
    assert node.decided
    assert type(node) is cls
    assert node == example(cls)
    assert hash(node) == hash(example(cls))


def check_default_lies_in_its_domain(cls: type[Node]) -> None:
    node = example(cls)
    for h in hyperparameters(cls):
        if h.domain is not None:
            value = getattr(node, h.name)
            assert within(value, h.domain), f"{cls.__name__}.{h.name} = {value!r}: {h.domain!r}"


def check_space_samples_and_replays(cls: type[Node]) -> None:
    space = opened(cls)
    for seed in range(POINTS):
        point = sample(space, Random(seed))
        design = replay(space, json.loads(json.dumps(point)))
        assert type(design) is cls
        assert design.decided
        assert design == decide(space, lambda decision, p=point: p[decision.address])
        assert point == sample(space, Random(seed))


def check_writes_and_reads_back(cls: type[Node]) -> None:
    for node in (example(cls), opened(cls), *samples(cls, 5)):
        assert same(eval(repr(node), namespace(node)), node)
        assert same(from_json(json.loads(json.dumps(to_json(node)))), node)
        assert same(pickle.loads(pickle.dumps(node)), node)


def check_is_documented(cls: type[Node]) -> None:
    told = describe(cls)
    assert told.role
    assert told.sentence.endswith("."), told.sentence
    assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}("), "no docstring of its own"
    assert len(told.source) > 10, f"{cls.__module__} names no source"
    for field in told.fields:
        assert field.doc, f"{cls.__name__}.{field.name} has no description"


CHECKS: tuple[Callable[[type[Node]], None], ...] = (
    check_default_builds,
    check_default_lies_in_its_domain,
    check_space_samples_and_replays,
    check_writes_and_reads_back,
    check_is_documented,
)


def within(value: Any, domain: Any) -> bool:
    """Whether a decided value is one that a domain, or a space, can lead to."""
    if isinstance(domain, Choice):
        return any(within(value, option) for option in domain.options)
    if isinstance(domain, Domain):
        return domain.contains(value)
    if isinstance(domain, tuple) and len(domain) == 1 and isinstance(domain[0], Repeat):
        repeated = domain[0]
        return within(len(value), repeated.times) and all(within(v, repeated.body) for v in value)
    if isinstance(domain, tuple):
        return len(value) == len(domain) and all(map(within, value, domain))
    if isinstance(domain, Node):
        return type(value) is type(domain) and all(
            within(getattr(value, h.name), getattr(domain, h.name))
            for h in hyperparameters(type(domain))
        )
    return same(value, domain)


def namespace(tree: Any) -> Mapping[str, Any]:
    """The names that a tree's ``repr`` uses."""
    known = {word: getattr(vitruvius.space, word) for word in vitruvius.space.__all__}
    todo = [tree]
    while todo:
        part = todo.pop()
        if isinstance(part, Node):
            known[type(part).__name__] = type(part)
        todo.extend(parts(part))
    return known
