"""Every merger gives back one model alone, keeps names and types, and refuses strangers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, name, samples
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Batch, Candidate, Given, Lineage, Measurement, Merger, Stream
from vitruvius.techniques.mergers import WiSE

MERGERS = catalogue(Merger)
LINEAGE = Lineage("start", "base", "design")
every = pytest.mark.parametrize("cls", MERGERS, ids=name)


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "input.weight": torch.randn(3, 5, generator=rng).to(dtype),
        "input.bias": torch.randn(3, generator=rng).to(dtype),
        "input.count": torch.tensor(10 + seed),
        "input.seen": torch.tensor([True, False]),
    }


def candidate(made: dict[str, Tensor], score: float = 0.5, **other: Any) -> Candidate:
    given = {"lineage": LINEAGE, **other}
    return Candidate(lambda: made, Measurement("accuracy", score, "higher"), **given)


def several(count: int = 4, dtype: torch.dtype = torch.float32) -> list[Candidate]:
    """The first is what the others' trainings began with."""
    scores = [0.2, 0.6, 0.9, 0.7, 0.8, 0.5][:count]
    return [candidate(tensors(i, dtype), score, trained=i > 0) for i, score in enumerate(scores)]


def given(seed: int = 0) -> Given:
    """A linear model of 40 items of which the third candidate knows the classes best."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 5, generator=rng)
    label = answers(tensors(2), Batch({"input": Stream(x)}, {}, torch.arange(40))).argmax(1)
    batch = Batch({"input": Stream(x)}, {"label": label}, torch.arange(40))

    def batches() -> Iterator[Batch]:
        yield batch

    def judge(t: Any) -> Measurement:
        right = (answers(t, batch).argmax(1) == label).double().mean()
        return Measurement("accuracy", float(right), "higher")

    return Given(rng=rng, judge=judge, batches=batches, answers=answers)


def answers(t: Any, batch: Batch) -> Tensor:
    x = batch.streams["input"].values
    return nn.functional.linear(x, t["input.weight"].float(), t["input.bias"].float())


def designs(cls: type[Merger]) -> list[Merger]:
    return [example(cls), *samples(cls, 6)]


def state(candidates: Sequence[Candidate]) -> list[dict[str, Tensor]]:
    return [{n: t.clone() for n, t in c.tensors().items()} for c in candidates]


def untouched(candidates: Sequence[Candidate], before: list[dict[str, Tensor]]) -> bool:
    return all(
        torch.equal(t, was[n])
        for c, was in zip(candidates, before, strict=True)
        for n, t in c.tensors().items()
    )


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_of_one_it_is_that_one(cls: type[Merger], dtype: torch.dtype) -> None:
    for merger in designs(cls):
        merged = merger.merge([candidate(tensors(3, dtype))], given())
        assert merged.shares == (1.0,)
        assert merged.tensors.keys() == tensors(3).keys()
        for n, t in tensors(3, dtype).items():
            assert merged.tensors[n].dtype == t.dtype
            assert torch.equal(merged.tensors[n], t)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_names_shapes_types_and_whole_numbers_stay(cls: type[Merger], dtype: torch.dtype) -> None:
    for merger in designs(cls):
        candidates = several(4, dtype)
        before = state(candidates)
        merged = merger.merge(candidates, given())
        assert merged.tensors.keys() == before[0].keys()
        for n, t in before[0].items():
            assert (merged.tensors[n].shape, merged.tensors[n].dtype) == (t.shape, t.dtype)
        assert int(merged.tensors["input.count"]) in (10, 11, 12, 13)
        assert torch.equal(merged.tensors["input.seen"], torch.tensor([True, False]))
        assert untouched(candidates, before)
        assert not any(t.requires_grad for t in merged.tensors.values())


@every
def test_shares_sum_to_one_and_tell_what_was_mixed(cls: type[Merger]) -> None:
    for merger in designs(cls):
        candidates = several()
        merged = merger.merge(candidates, given())
        assert len(merged.shares) == len(candidates)
        assert sum(merged.shares) == pytest.approx(1, abs=1e-6)
        assert all(share >= 0 for share in merged.shares)
        if getattr(merger, "by_tensor", False):
            continue  # one share for each tensor: what is told is their mean
        for n in ("input.weight", "input.bias"):
            parts = [s * c.tensors()[n] for s, c in zip(merged.shares, candidates, strict=True)]
            torch.testing.assert_close(merged.tensors[n], sum(parts), rtol=1e-5, atol=1e-6)


@every
def test_of_equal_ones_it_is_that_one(cls: type[Merger]) -> None:
    same = [candidate(tensors(1), 0.5, trained=i > 0) for i in range(3)]
    merged = example(cls).merge(same, given())
    for n, t in tensors(1).items():
        torch.testing.assert_close(merged.tensors[n], t, rtol=1e-6, atol=1e-6)


@every
def test_the_same_again_gives_the_same_bits(cls: type[Merger]) -> None:
    for merger in designs(cls):
        one, two = (merger.merge(several(), given()) for _ in range(2))
        assert one.shares == two.shares
        assert all(torch.equal(t, two.tensors[n]) for n, t in one.tensors.items())


@every
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"initial": "other"}, r"candidate 2 has another start \(other\) than candidate 0 \(start"),
        ({"base": "foreign"}, r"candidate 2 has another base \(foreign\) than candidate 0 \(base"),
        ({"base": None}, r"candidate 2 has another base \(none\)"),
        ({"design": "wider"}, r"candidate 2 has another design \(wider\)"),
        ({"initial": ""}, r"of candidate 2 the start is not known\. Give Lineage\.initial"),
    ],
)
def test_strangers_are_refused_before_anything_is_read(
    cls: type[Merger], changed: dict[str, Any], said: str
) -> None:
    read: list[int] = []

    def one(i: int) -> Candidate:
        lineage = replace(LINEAGE, **changed) if i == 2 else LINEAGE
        score = Measurement("accuracy", 0.5, "higher")

        def load() -> dict[str, Tensor]:
            read.append(i)
            return tensors(i)

        return Candidate(load, score, lineage, trained=i > 0)

    for merger in designs(cls):
        with pytest.raises(ValueError, match=said) as raised:
            merger.merge([one(i) for i in range(4)], given())
        assert str(raised.value).startswith(cls.__name__) and "\n" not in str(raised.value)
    assert not read


@every
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"input.bias": torch.zeros(4)},
            r"'input.bias' as \[4\] torch.float32, and candidate \d as",
        ),
        ({"input.bias": torch.zeros(3).half()}, r"'input.bias' as \[3\] torch.float16"),
        ({"more": torch.zeros(1)}, r"'more' as \[1\] torch.float32, and candidate \d as nothing"),
    ],
)
def test_other_tensors_are_refused(
    cls: type[Merger], changed: dict[str, Tensor], said: str
) -> None:
    for merger in designs(cls):
        candidates = several()
        candidates[2] = candidate({**tensors(2), **changed}, 0.3)
        before = state(candidates)
        with pytest.raises(ValueError, match=said):
            merger.merge(candidates, given())
        assert untouched(candidates, before)


@every
def test_none_at_all_is_refused(cls: type[Merger]) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__} needs at least one candidate; got none"):
        example(cls).merge([], given())


@every
def test_what_it_reads_is_in_its_needs(cls: type[Merger]) -> None:
    whole = given()
    for merger in designs(cls):
        known = {n: getattr(whole, n) for n in ("rng", *cls.needs)}
        merger.merge(several(), Given(**known))


def test_only_those_that_say_so_need_the_start() -> None:
    assert [cls for cls in MERGERS if cls.start] == [WiSE]
    trained = [replace(c, trained=True) for c in several()]
    for cls in MERGERS:
        if cls.start:
            with pytest.raises(
                ValueError, match=r"one candidate with trained=False.*got 0 among 4"
            ):
                example(cls).merge(trained, given())
        else:
            assert example(cls).merge(trained, given()).shares
