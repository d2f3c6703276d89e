"""Numbers told before anything is made are those that train; budgets are used up and kept."""

from __future__ import annotations

import contextlib

import pytest

from tests.contracts.bases import BASES, base, given
from tests.contracts.common import example
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Adapter
from vitruvius.techniques.adapters import (
    Bottleneck,
    FullTuning,
    LinearProbe,
    LowRank,
    Together,
    Within,
)
from vitruvius.train.adapting import attach
from vitruvius.train.attached import Attached
from vitruvius.train.counting import counter, numbers_of

KNOBS = [cls for cls in catalogue(Adapter) if cls.knob]


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("cls", KNOBS, ids=lambda cls: cls.__name__)
def test_a_budget_is_used_up_and_never_passed(cls: type[Adapter], kind: str) -> None:
    model = base(kind)
    count = counter(model, given())
    for share in (0.04, 0.15):
        most = int(share * numbers_of(model))
        adapted = attach(Within(example(cls), share), model, given())
        assert isinstance(adapted, Attached)
        turned, trains = adapted.adapter, adapted.count
        adapted.detach()
        assert type(turned) is cls and trains == count(turned) <= most
        if getattr(turned, cls.knob) < most:  # else the knob is the budget itself
            more = turned.replace(**{cls.knob: getattr(turned, cls.knob) + 1})
            with contextlib.suppress(ValueError):  # it is as large as the base allows
                assert count(more) > most


def test_what_is_no_budget_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Within\.budget must be above 0; got 0\.0\. For nothing"):
        Within(LowRank(), 0)
    with pytest.raises(ValueError, match=r"must have a size to set; FullTuning has none\. Take"):
        Within(FullTuning())
    message = r"must allow the smallest LowRank; got 10 numbers, and with rank 1 it trains 512\."
    with pytest.raises(ValueError, match=message):
        attach(Within(LowRank(), 10), base("ours"), given())


def test_entries_of_the_base_are_counted_once() -> None:
    model = base("bert")
    count = counter(model, given())
    assert count(LinearProbe()) == 0
    assert count(FullTuning()) == attach(FullTuning(), model, given()).count


def test_each_of_several_has_its_own_budget() -> None:
    both = Together((Within(LowRank(), 0.03), Within(Bottleneck(), 0.05)))
    model = base("ours")
    most = int(0.03 * numbers_of(model)) + int(0.05 * numbers_of(model))
    adapted = attach(both, model, given())
    assert 0.8 * most < adapted.count <= most
