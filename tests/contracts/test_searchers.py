"""What every searcher keeps to, whichever it is. They are found by walking the package."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import pytest

import vitruvius.search
from vitruvius.search import (
    ASHA,
    Distinct,
    Event,
    Exhausted,
    Exhaustive,
    Gradual,
    OptunaGP,
    OptunaTPE,
    Price,
    RandomSearch,
    Recorded,
    Search,
    Searcher,
    Starting,
    SuccessiveHalving,
    ask,
    asked,
    told,
)
from vitruvius.search.costs import in_one_unit, written
from vitruvius.space import (
    Point,
    Repeat,
    canonical,
    compile,
    enumerate_points,
    from_json,
    hyperparameters,
    integers,
    log_uniform,
    one_of,
    optional,
    replay,
    sample,
    to_json,
    uniform,
    where,
)
from vitruvius.space import (
    digest as digest_of,
)


def found() -> Iterator[type[Searcher]]:
    for module in pkgutil.iter_modules(vitruvius.search.__path__, "vitruvius.search."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, Searcher) and not inspect.isabstract(cls):
                yield cls


SEARCHERS = sorted(set(found()), key=lambda cls: cls.__name__)
GUIDED = [c for c in SEARCHERS if c not in (RandomSearch, Exhaustive, Distinct, Starting)]
APART = (Distinct, Exhaustive, ASHA, SuccessiveHalving)  # never the same twice, by themselves
SLOW = (OptunaTPE, OptunaGP)  # tens of milliseconds an ask, and more


def below(width: int, depth: int) -> bool:
    return width * depth <= 64


SMALL: Any = (  # 36 points
    one_of(1, 2, 4, label="rate"),
    one_of("left", "right", label="side"),
    integers(1, 3, label="depth"),
    optional(one_of("a", name="forced"), label="extra"),
)
TINY: Any = (one_of(1, 2, 4, label="rate"), one_of("left", "right", label="side"))
VARYING: Any = (
    log_uniform(1e-4, 1.0, label="rate"),
    Repeat(
        (one_of("thin", "wide", label="kind"), optional(uniform(0, 1, label="drop"))),
        times=one_of(1, 2, 4),
    ),
    one_of((integers(1, 100, log=True, label="heads"),), ("none",), label="mix"),
)
CONDITIONED: Any = (
    one_of(8, 16, 32, 64, name="width"),
    one_of(1, 2, 4, 8, name="depth"),
    where(below, "@width", "@depth"),
)
FORCED: Any = (one_of(3), "fixed", Repeat((one_of("only"),), times=2))
SPACES = {"small": SMALL, "varying": VARYING, "conditioned": CONDITIONED}


def spaces_for(cls: type[Searcher]) -> dict[str, Any]:
    return {k: v for k, v in SPACES.items() if cls is not Exhaustive or k != "varying"}


def value(point: Mapping[str, Any]) -> float:
    """A score that depends on the point alone."""
    return int(digest_of(point)[:8], 16) / 2**32


def history(space: Any, count: int, seed: int = 0) -> list[Event]:
    """Events of all kinds, with trials that overlap, from random points at several shares."""
    draw, events, running = Random(seed), [], []
    shares = Random(seed + 1)
    for trial in range(count):
        point = compile(space).sample(draw)
        share = shares.choice((1 / 9, 1 / 3, 1.0, 1.0))
        events.append(asked(len(events), trial, point, share=share))
        if draw.random() < 0.15:
            refusal = {"point": point, "attempt": 0, "address": "", "reason": "test"}
            events.append(Event(len(events), "rejected", trial, refusal))
            point = compile(space).sample(draw)
            events.append(asked(len(events), trial, point, attempt=1, share=share))
        running.append(trial)
        events.append(Event(len(events), "rung", trial, {"step": 1, "score": 0.5}))
        events.append(Event(len(events), "probe", trial, {}))
        if len(running) == 3:
            ending = running.pop(draw.randrange(3))
            number, luck = len(events), draw.random()
            if luck < 0.1:
                events.append(told(number, ending, None))
            elif luck < 0.2:
                events.append(Event(number, "lost", ending, {}))
            elif luck < 0.3:
                events.append(Event(number, "stopped", ending, {"score": 0.1, "cause": "rung"}))
            elif luck < 0.4:
                events.append(Event(number, "stopped", ending, {"score": None, "cause": "time"}))
            elif luck < 0.5:
                events.append(told(number, ending, math.nan))
            else:
                events.append(told(number, ending, draw.random()))
    return events


def small_start(cls: type[Searcher]) -> Searcher:
    """The searcher, made to leave its random start early, so that its own part is tested."""
    searcher = cls()
    fields = {"initial": 3} if hasattr(searcher, "initial") else {}
    if hasattr(searcher, "population"):
        fields = {"population": 4, "sample": 2}
    return searcher.replace(**fields)


@pytest.mark.parametrize("cls", SEARCHERS)
def test_is_a_node_that_documents_itself(cls: type[Searcher]) -> None:
    searcher = cls()
    assert eval(repr(searcher), vars(vitruvius.search) | {cls.__name__: cls}) == searcher
    assert from_json(json.loads(json.dumps(to_json(searcher)))) == searcher
    assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")
    assert "Source:" in (inspect.getmodule(cls).__doc__ or "") or cls is Distinct
    for field in hyperparameters(cls):
        assert field.doc, f"{cls.__name__}.{field.name} has no description"
    opened = cls.space()
    if not opened.decided:
        for i in range(5):
            assert isinstance(replay(opened, sample(opened, Random(i))), cls)
        default = {f.name: f.default for f in hyperparameters(cls) if f.domain is not None}
        for name, label in default.items():
            assert getattr(opened, name).contains(label), f"{name}={label} is not in its domain"


@pytest.mark.parametrize("cls", SEARCHERS)
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_points_fit_the_space(cls: type[Searcher], name: str, better: Any) -> None:
    if name not in spaces_for(cls):
        return
    space, events = SPACES[name], history(SPACES[name], 8)
    for trial in range(8, 9 if cls is OptunaGP else 11):
        point = ask(small_start(cls), space, events, trial, better=better)
        replay(space, point)
        json.dumps(point)


@pytest.mark.parametrize("cls", SEARCHERS)
@pytest.mark.parametrize("name", SPACES)
def test_kept_and_folded_states_ask_the_same(cls: type[Searcher], name: str) -> None:
    if name not in spaces_for(cls) or (cls is OptunaGP and name != "varying"):
        return
    space, searcher = SPACES[name], small_start(cls)
    events = history(space, 8 if cls in SLOW else 24)
    stride = 12 if cls is OptunaGP else 5 if cls is OptunaTPE else 1
    kept = searcher.begin(space)
    for i, event in enumerate(events):
        kept.hear(event)
        if i % stride == 0:
            point = kept.ask(100 + i)
            assert point == kept.ask(100 + i), "an ask changed the search"
            assert point == ask(searcher, space, events[: i + 1], 100 + i)


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, Any]:
    """What every searcher asks in another process, with another salt for Python's hash."""
    program = (
        "import json, sys; from vitruvius.search import Event, ask; "
        "from vitruvius.space import from_json\n"
        "out = {}\n"
        "for key, searcher, space, events in json.load(sys.stdin):\n"
        "    events = [Event(*e) for e in events]\n"
        "    out[key] = ask(from_json(searcher), from_json(space), events, 50)\n"
        "print(json.dumps(out))"
    )
    tasks = []
    for cls in SEARCHERS:
        space = SMALL if cls is Exhaustive else VARYING
        events = [(e.sequence, e.kind, e.trial, dict(e.body)) for e in history(space, 12, seed=3)]
        tasks.append((cls.__name__, to_json(small_start(cls)), to_json(space), events))
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("cls", SEARCHERS)
def test_same_history_same_point_in_another_process(
    cls: type[Searcher], elsewhere: dict[str, Any]
) -> None:
    space = SMALL if cls is Exhaustive else VARYING
    assert ask(small_start(cls), space, history(space, 12, seed=3), 50) == elsewhere[cls.__name__]


@pytest.mark.parametrize("cls", [c for c in SEARCHERS if c not in (Exhaustive, Gradual, OptunaGP)])
def test_seeds_and_trials_differ(cls: type[Searcher]) -> None:
    searcher = small_start(cls)
    seeds = (
        [cls(RandomSearch(seed=i)) for i in range(4)]
        if cls in (Distinct, Starting)
        else [searcher.replace(seed=i) for i in range(4)]
    )
    events = history(VARYING, 6)
    assert len({canonical(ask(s, VARYING, events, 9)) for s in seeds}) > 1
    assert len({canonical(ask(searcher, VARYING, events, t)) for t in range(9, 13)}) > 1
    assert len({canonical(ask(searcher, VARYING, events, 9, attempt=a)) for a in range(4)}) > 1


def run(search: Search, score: Any, asks: int) -> list[Point]:
    points = []
    for trial in range(asks):
        points.append(search.ask(trial))
        share = search.share(points[-1])
        assert 0 < share <= 1
        search.hear(asked(2 * trial, trial, points[-1], share=share))
        search.hear(told(2 * trial + 1, trial, score(points[-1])))
    return points


@pytest.mark.parametrize("cls", SEARCHERS)
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_distinct_goes_through_a_small_space_without_repeats(
    cls: type[Searcher], better: Any
) -> None:
    space = TINY if cls in SLOW else SMALL
    every = [canonical(point) for point in enumerate_points(space)]
    inner = small_start(cls)
    search = Distinct(inner, tries=2).begin(space, better)
    found: list[tuple[str, float]] = []
    for trial in range(3 * len(every)):
        try:
            point = search.ask(trial)
        except Exhausted:
            break
        found.append((canonical(point), search.share(point)))
        search.hear(asked(2 * trial, trial, point, share=found[-1][1]))
        search.hear(told(2 * trial + 1, trial, value(point)))
    assert len(found) == len(set(found)) >= len(every)
    assert {point for point, _ in found} == set(every)
    assert any(share == 1 for _, share in found)
    with pytest.raises(Exhausted):
        search.ask(len(found))


@pytest.mark.parametrize("cls", SEARCHERS)
def test_what_was_rejected_is_not_asked_again(cls: type[Searcher]) -> None:
    space = TINY if cls in SLOW else CONDITIONED
    search = small_start(cls).begin(space)
    every = list(enumerate_points(space))
    kept = {canonical(point) for point in every[:2]}
    events: list[Event] = []
    for point in every[2:]:
        events.append(Event(len(events), "rejected", 0, {"point": point, "attempt": 0}))
    for event in events:
        search.hear(event)
    for trial in range(6):
        point = search.ask(trial)
        assert canonical(point) in kept
        search.hear(asked(99, trial, point))
        if cls not in APART:
            search.hear(told(99, trial, value(point)))
        else:
            search.hear(Event(99, "lost", trial, {}))


@pytest.mark.parametrize("cls", SEARCHERS)
def test_a_space_without_decisions_has_one_point(cls: type[Searcher]) -> None:
    search = cls().begin(FORCED)
    point = search.ask(0)
    assert point == {}
    search.hear(asked(0, 0, point))
    search.hear(told(1, 0, 0.5))
    if cls in APART:
        with pytest.raises(Exhausted):
            search.ask(1)
    else:
        assert search.ask(1) == {}


@pytest.mark.parametrize("cls", [c for c in GUIDED if c is not OptunaGP])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_guided_searchers_draw_near_to_what_is_good(cls: type[Searcher], better: Any) -> None:
    """In a space of 4,096 points, of 40 asks the last ten are better than random ones."""
    space = tuple(one_of(*range(8), label=f"x{i}") for i in range(4))
    sign = 1 if better == "higher" else -1
    gained, drawn = 0.0, 0.0
    for seed in range(2 if cls in SLOW else 5):
        score = lambda point: -sign * sum(abs(label - 5) for label in point.values())  # noqa: E731
        points = run(small_start(cls).replace(seed=seed).begin(space, better), score, 40)
        gained += sign * sum(map(score, points[-10:])) / 10
        drawn += sign * sum(map(score, points[:3])) / 3
    assert gained > drawn + 1.0 * (2 if cls in SLOW else 5)


@pytest.mark.parametrize("cls", SEARCHERS)
def test_an_ask_replays_from_the_costs_that_it_was_told(cls: type[Searcher]) -> None:
    told_of: list[dict[str, Any]] = []

    def costs(points: Sequence[Point]) -> list[float]:
        prices = [Price(1e9 * (0.1 + value(point)), None) for point in points]
        told_of.extend(map(written, points, prices))
        return in_one_unit(prices)

    search = small_start(cls).begin(SMALL)
    for event in history(SMALL, 8):
        search.hear(event)
    for trial in range(20, 23):
        told_of.clear()
        point = search.ask(trial, costs=costs)
        again = Recorded(json.loads(json.dumps(told_of)))
        assert search.ask(trial, costs=again) == point


@pytest.mark.parametrize("cls", SEARCHERS)
def test_a_history_of_another_edition_of_the_space_does_no_harm(cls: type[Searcher]) -> None:
    edited = (
        one_of(2, 4, 8, label="rate"),
        one_of("left", "middle", label="side"),
        one_of("new", "newer", label="fresh"),
    )
    for trial in range(20, 23):
        replay(edited, ask(small_start(cls), edited, history(SMALL, 8), trial))


@pytest.mark.parametrize("cls", SEARCHERS)
def test_an_end_without_a_beginning_is_refused(cls: type[Searcher]) -> None:
    with pytest.raises(ValueError, match="never asked"):
        cls().begin(TINY).hear(told(0, 0, 1.0))


@pytest.mark.parametrize("cls", SEARCHERS)
def test_better_is_one_of_two_words(cls: type[Searcher]) -> None:
    with pytest.raises(ValueError, match="'higher' or 'lower'; got 'best'"):
        cls().begin(TINY, "best")  # type: ignore[arg-type]


def test_every_searcher_is_exported() -> None:
    assert {cls.__name__ for cls in SEARCHERS} == {
        name
        for name in vitruvius.search.__all__
        if inspect.isclass(cls := getattr(vitruvius.search, name))
        and issubclass(cls, Searcher)
        and not inspect.isabstract(cls)
    }
    assert len(SEARCHERS) == 13


def test_search_imports_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import vitruvius.search, sys; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
