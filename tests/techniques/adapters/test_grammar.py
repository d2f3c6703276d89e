"""The space over the whole family: who is in it, and that no point is above the budget."""

from __future__ import annotations

from random import Random

import pytest

from tests.contracts.bases import base, given
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Adapter
from vitruvius.space import replay, sample
from vitruvius.techniques.adapters import DomainMixture, Within
from vitruvius.techniques.adapters.grammar import FAMILY, any_adapter
from vitruvius.train.adapting import attach
from vitruvius.train.counting import numbers_of


def test_all_of_one_task_whose_size_can_be_set_are_in_it() -> None:
    sized = {cls for cls in catalogue(Adapter) if cls.knob}
    asks_for_more = {Within, DomainMixture}  # another adapter; what adapters of domains learned
    assert set(FAMILY) == sized - asks_for_more and len(set(FAMILY)) == len(FAMILY)


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_no_point_is_above_the_budget(kind: str) -> None:
    space, model, seen = any_adapter(0.05), base(kind), set[type[Adapter]]()
    most = int(0.05 * numbers_of(model))
    for seed in range(30):
        point = replay(space, sample(space, Random(seed)))
        try:
            adapted = attach(point, model, given())
        except ValueError as error:
            assert "must allow the smallest" in str(error) and "\n" not in str(error)
            continue
        assert 0 < adapted.count <= most
        seen.add(type(point.adapter))
        adapted.detach()
    assert len(seen) > 8
