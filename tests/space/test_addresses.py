"""Labels and addresses, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.space.parts import SGD, AdamW, BatchNorm, Conv, Dropout, Holder, ReLU, Row, by_address
from vitruvius.space import (
    Ref,
    Repeat,
    compile,
    count,
    decide,
    either_order,
    enumerate_points,
    grammar,
    integers,
    one_of,
    optional,
    replay,
    uniform,
)


def addresses(space: Any) -> list[str]:
    """All decisions that some point can take, in the order in which they are met."""
    return [decision.address for decision in compile(space).unfold()]


def labels(domain: Any) -> list[Any]:
    return list(domain.labels)


def test_labels_are_scalars_class_names_or_given():
    assert labels(one_of(1, 2.5, "a", True, None)) == [1, 2.5, "a", True, None]
    assert labels(one_of(Conv(1), Conv(2), Conv(3, label="wide"), ReLU(), Conv(4))) == [
        "Conv",
        "Conv#2",
        "wide",
        "ReLU",
        "Conv#3",
    ]
    assert labels(optional(Conv())) == [None, "Conv"]
    assert labels(either_order(ReLU(), BatchNorm())) == ["ReLU-BatchNorm", "BatchNorm-ReLU"]
    assert labels(one_of(one_of(1, 2), integers(1, 3, label="some"))) == ["one_of", "some"]


def test_either_order_of_equal_items_is_one_order():
    assert len(labels(either_order(ReLU(), ReLU(), BatchNorm()))) == 3


def test_an_address_says_where_and_which_option_was_taken():
    space = Holder(one_of(AdamW.space(), SGD.space()), Conv.space(kernel=3))
    assert addresses(space) == [
        "first",
        "first=AdamW.learning_rate",
        "first=AdamW.amsgrad",
        "first=SGD.learning_rate",
        "second.filters",
    ]


def test_items_are_addressed_by_class_number_or_label():
    open_ = one_of(1, 2)
    space = Row(Conv(open_), Conv(open_), Conv(open_, label="last"), optional(ReLU()), (open_,))
    assert addresses(space) == [
        "conv.filters",
        "conv_2.filters",
        "last.filters",
        "optional",
        "tuple.one_of",
    ]
    assert addresses(Holder((Conv(open_),))) == ["first.conv.filters"]
    assert addresses((open_, open_)) == ["one_of", "one_of_2"]
    assert addresses(one_of(Conv(open_), ReLU())) == ["one_of", "one_of=Conv.filters"]


def test_no_two_places_share_an_address():
    open_ = one_of(1, 2)
    clashing = Row(Conv(open_, label="conv_2"), Conv(open_), Conv(open_))
    assert addresses(clashing) == ["conv_2.filters", "conv.filters", "conv_3.filters"]
    nested = Row((Conv(open_),), (Conv(open_),))
    assert count(nested).points == 4
    field = Row(Conv(open_, label="scale"), scale=uniform(0.5, 1.0))
    assert addresses(field) == ["scale", "scale_2.filters"]


def test_copies_are_numbered_and_tied_ones_are_a_star():
    body = Conv(one_of(1, 2))
    assert addresses(Row(Repeat(body, one_of(1, 2)))) == [
        "repeat.times",
        "repeat.1.filters",
        "repeat.2.filters",
    ]
    assert addresses(Row(Repeat(body, 3, tied=True, label="tail"))) == ["tail.*.filters"]
    assert addresses(Row(Repeat(body, one_of(2, 3, name="depth"), tied=True))) == [
        "@depth",
        "repeat.*.filters",
    ]


def test_a_name_is_one_decision_everywhere_inside_included():
    chosen = one_of(AdamW.space(amsgrad=False), SGD(), name="optimizer")
    space = Row(Holder(chosen), Conv(one_of(8, 16, name="width")), Holder(chosen, Conv(8)))
    assert addresses(space) == ["@optimizer", "@optimizer=AdamW.learning_rate", "@width"]
    point = {"@optimizer": "AdamW", "@optimizer=AdamW.learning_rate": 0.01, "@width": 16}
    adam = AdamW(0.01)
    assert replay(space, point) == Row(Holder(adam), Conv(16), Holder(adam, Conv(8)))


def test_one_name_with_two_domains_is_refused_when_the_space_is_built():
    message = r"name 'width' stands for two different domains: one_of\(1, 2.* same domain, or"
    with pytest.raises(ValueError, match=message):
        Row(Conv(one_of(1, 2, name="width")), Conv(one_of(1, 3, name="width")))
    with pytest.raises(ValueError, match=message):
        compile((Conv(one_of(1, 2, name="width")), Conv(one_of(1, 3, name="width"))))


def test_forced_choices_are_never_shown_and_untaken_options_never_visited():
    space = Holder(one_of(5), one_of(Conv(one_of(64), one_of(3, 5)), Dropout.space()))
    met: list[str] = []

    def choose(decision: Any) -> Any:
        met.append(decision.address)
        return {"second": "Conv", "second=Conv.kernel": 5}[decision.address]

    assert decide(space, choose) == Holder(5, Conv(64, 5))
    assert met == ["second", "second=Conv.kernel"]
    assert decide(Holder(one_of(5)), choose) == Holder(5)


def test_a_nodes_own_fields_come_before_what_they_hold():
    space = Holder(one_of(Conv(one_of(1, 2)), Conv(one_of(3, 4))), one_of("a", "b"))
    assert addresses(space)[:3] == ["first", "second", "first=Conv.filters"]


def test_card_01_trace():
    """Card 01, fixture F: five visible decisions on the path, 32 points."""
    space = Row(
        Holder(one_of("adam", "sgd"), one_of(64)),
        Conv(one_of(16, 32), label="affine"),
        optional(ReLU()),
        Repeat(Row(Conv(8), Dropout(one_of(0.5, 0.9))), one_of(1, 2), tied=True),
        Conv(10),
    )
    point = {
        "holder.first": "sgd",
        "affine.filters": 32,
        "optional": None,
        "repeat.times": 2,
        "repeat.*.dropout.rate": 0.9,
    }
    block = Row(Conv(8), Dropout(0.9))
    assert replay(space, point) == Row(
        Holder("sgd", 64), Conv(32, label="affine"), block, block, Conv(10)
    )
    assert point in list(enumerate_points(space))
    assert count(space).points == 32


def test_a_grammar_is_as_deep_as_it_says():
    """depth 0: end; each further depth: end, or one more layer of either size."""
    space = Holder(grammar("tree", 2, tree=one_of(ReLU(), Holder(Ref("tree"), one_of(1, 2)))))
    assert count(space).points == 1 + 2 * (1 + 2 * 1)
    assert addresses(space) == [
        "first",
        "first=Holder.second",
        "first=Holder.first",
        "first=Holder.first=Holder.second",
    ]
    deepest = decide(space, lambda decision: decision.domain.at(0.99))
    assert deepest == Holder(Holder(Holder(ReLU(), 2), 2))
    assert count(Holder(grammar("tree", 0, tree=one_of(ReLU(), Ref("tree"))))).points == 1


def test_a_grammar_leaves_out_copies_that_would_be_too_deep():
    space = grammar("row", 1, row=Row(Repeat(Ref("row"), integers(0, 2))))
    assert {repr(replay(space, p)) for p in enumerate_points(space)} == {
        "Row()",
        "Row(Row())",
        "Row(Row(), Row())",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grammar("a", 1, a=Ref("b")), "'a' refers to 'b', which is no rule"),
        (lambda: grammar("b", 1, a=ReLU()), r"starts at 'b', which is none of \['a'\]"),
        (lambda: grammar("a", 5, a=Row(Ref("a"))), "'a' never ends. Give it an option without Ref"),
        (
            lambda: grammar("a", 1, a=Row(Ref("b")), b=Row(Ref("c")), c=ReLU()),
            "depth 1; it needs 2",
        ),
        (lambda: grammar("a", -1, a=ReLU()), "depth is a whole number, at least 0; got -1"),
        (lambda: grammar("a", 2, a=one_of(ReLU(), Ref("a"), name="n")), "named decision 'n' holds"),
        (
            lambda: grammar("a", 2, a=Row(Repeat(Ref("a"), integers(0, 2, name="n")))),
            "named decision 'n' holds a Ref",
        ),
        (lambda: compile(Holder(Ref("a"))), r"Ref\('a'\) stands outside of a grammar"),
        (lambda: one_of(), "needs at least one option"),
        (lambda: one_of(1, 2, 1), "has the option 1 twice"),
        (lambda: one_of("Conv", Conv()), "has the option 'Conv' twice. Leave one out, or label"),
        (lambda: one_of(1, 2, name="a.b"), r"name must be a plain word.*got 'a\.b'"),
        (lambda: Conv(label="a=b"), "Conv.label must be a plain word such as 'width'; got 'a=b'"),
        (lambda: either_order(*range(8)), "at most 7 items"),
    ],
)
def test_a_space_that_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_label_that_is_none_of_the_domains_is_refused():
    with pytest.raises(ValueError, match=r"filters cannot be 7; it is one_of\(1, 2\)"):
        decide(Conv(one_of(1, 2)), lambda _: 7)
    with pytest.raises(ValueError, match="filters cannot be True"):
        decide(Conv(one_of(1, 2)), lambda _: True)
    with pytest.raises(ValueError, match=r"filters cannot be \[1\]"):
        decide(Conv(one_of(1, 2)), lambda _: [1])


def test_what_is_no_space_is_refused():
    with pytest.raises(TypeError, match=r"A space is a node.*Did you mean Conv.space\(\)"):
        compile(Conv)
    assert decide(Conv(), by_address) == Conv()
