"""What a field holds, what a node refuses, and how it is written and copied."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from tests.space import parts
from tests.space.parts import AdamW, Conv, Dropout, Holder, Picky, ReLU, Row
from vitruvius.space import (
    Node,
    compile,
    hyper,
    hyperparameters,
    integers,
    log_uniform,
    one_of,
    optional,
    same,
    uniform,
)


@dataclass(frozen=True)
class Kinds(Node):
    whole: int = 1
    real: float = 1.0
    flag: bool = False
    word: str = "a"
    perhaps: int | None = None
    anything: Any = None


@dataclass(frozen=True)
class Ratio(Node):
    """Stands for a number, as a Rule does."""

    numeric = True
    of: float = 0.5


def test_numbers_are_cast_to_the_fields_type():
    made = Kinds(whole=2.0, real=3, perhaps=4.0)  # type: ignore[arg-type]
    assert [type(x) for x in (made.whole, made.real, made.perhaps)] == [int, float, int]
    assert made == Kinds(2, 3.0, perhaps=4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"whole": 2.5}, r"Kinds.whole is an int; got 2.5"),
        ({"whole": True}, r"Kinds.whole is an int; got True"),
        ({"whole": None}, r"Kinds.whole is an int; got None"),
        ({"flag": 1}, r"Kinds.flag is a bool; got 1"),
        ({"word": 1}, r"Kinds.word is a str; got 1"),
        ({"whole": ReLU()}, r"Kinds.whole is an int; got ReLU\(\)"),
        ({"whole": one_of(1, 2.5)}, r"Kinds.whole is an int; got 2.5. It is decided by one_of"),
        ({"whole": uniform(1, 3)}, r"Kinds.whole is an int; .* decided by uniform\(1.0, 3.0\)"),
        ({"whole": optional(3)}, r"Kinds.whole is an int; got None. It is decided by optional"),
        ({"anything": [1]}, r"Kinds.anything holds JSON scalars.* got list .*Write a tuple"),
        ({"anything": {"a": 1}}, r"got dict .*Write a node with these as fields"),
        ({"anything": max}, r"got builtin_function_or_method .*Write a node for it"),
        ({"anything": ReLU}, r"got type .*Did you mean ReLU\(\)\?"),
        ({"anything": (1, [2])}, r"got list"),
    ],
)
def test_a_field_refuses_what_it_cannot_hold(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Kinds(**fields)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_are_finite(value: float) -> None:
    message = r"Kinds.{} must be a finite number; got {}. For no limit, write None"
    for name in ("real", "anything"):
        with pytest.raises(ValueError, match=message.format(name, value)):
            Kinds(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        one_of(1.0, value)


def test_a_domain_or_a_node_that_stands_for_a_number_fits_a_numeric_field():
    assert not Kinds(whole=one_of(1, 2.0)).decided  # type: ignore[arg-type]
    assert not Kinds(perhaps=optional(3)).decided
    assert Kinds(whole=Ratio()).decided  # type: ignore[arg-type]


def test_domains_refuse_to_be_used_as_values():
    domain: Any = one_of(1, 2)
    uses = [
        lambda: bool(domain), lambda: domain + 1, lambda: 1 + domain, lambda: domain < 2,
        lambda: domain == 1, lambda: domain != 1, lambda: list(domain), lambda: len(domain),
        lambda: int(domain), lambda: float(domain), lambda: range(domain), lambda: domain[0],
        lambda: -domain, lambda: abs(domain), lambda: domain**2, lambda: domain // 2,
        lambda: divmod(domain, 2), lambda: round(domain), lambda: 1 in domain, lambda: 2 @ domain,
        lambda: domain | 1, lambda: ~domain, lambda: domain << 1,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(TypeError, match=r"one_of\(1, 2\) is a domain: .*use derived\("):
            use()
    with pytest.raises(AttributeError, match="has no 'filters': it is a domain"):
        _ = one_of(Conv(), Conv()).filters
    assert not hasattr(domain, "filters")


def test_default_space_and_between():
    assert Conv() == Conv(32, 3) and Conv().decided
    assert repr(Conv.space()) == "Conv(filters=one_of(16, 32, 64), kernel=one_of(3, 5))"
    assert repr(Conv.space(64)) == "Conv(filters=64, kernel=one_of(3, 5))"
    assert repr(Row.space(ReLU(), scale=2)) == "Row(ReLU(), scale=2.0)"
    with pytest.raises(TypeError, match=r"Conv.space takes at most 2 positional fields; got 3"):
        Conv.space(1, 2, 3)
    with pytest.raises(TypeError, match="got filters twice"):
        Conv.space(1, filters=2)


def test_checks_wait_until_a_node_is_decided():
    assert not Picky(one_of(1, 2), one_of(1, 2)).decided
    with pytest.raises(ValueError, match="must differ"):
        Picky(2, 2)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        Conv().replace(filters=0)
    with pytest.raises(TypeError, match="Conv has no field 'filter'; it has"):
        Conv().replace(filter=1)


def test_trees_are_written_as_they_are_made():
    tree = Row(
        Conv(8, label="stem"), (ReLU(), 1), optional(Dropout.space()), scale=0.5, label="net"
    )
    written = (
        "Row(Conv(label='stem', filters=8), (ReLU(), 1), optional(Dropout(rate=uniform(0.0, 0.9))),"
        " label='net', scale=0.5)"
    )
    assert repr(tree) == written
    assert same(eval(repr(tree), vars(parts) | {"optional": optional, "uniform": uniform}), tree)


@pytest.mark.parametrize(
    "tree", [Row(Conv(one_of(1, 2, name="n")), label="a"), AdamW.space(), one_of(Conv.space(), 1)]
)
def test_trees_pickle_and_copy_also_once_compiled(tree: Any) -> None:
    compile(tree)
    assert same(pickle.loads(pickle.dumps(tree)), tree)
    assert copy.deepcopy(tree) is tree and copy.copy(tree) is tree


def test_trees_never_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Conv().filters = 3  # type: ignore[misc]


def test_values_of_different_types_differ():
    assert Holder(1) != Holder(True) and Holder(1) != Holder(1.0)
    assert Holder(1) == Holder(1) and hash(Holder(1)) == hash(Holder(1))
    assert Holder(1) != "Holder(1)"
    assert Holder(one_of(1, 2)) == Holder(one_of(1, 2)) != Holder(one_of(1, 2, name="a"))


def test_what_is_known_of_the_fields_of_a_class():
    filters, kernel = hyperparameters(Conv)
    assert (filters.name, filters.default, filters.doc) == ("filters", 32, "number of filters")
    assert same(kernel.domain, one_of(3, 5)) and not kernel.required

    @dataclass(frozen=True)
    class Required(Node):
        size: int = hyper(..., integers(1, 3), "of something")

    assert next(hyperparameters(Required)).required
    with pytest.raises(TypeError, match="size"):
        Required()  # type: ignore[call-arg]


def test_a_class_that_is_no_dataclass_or_takes_a_reserved_name_is_refused():
    class Forgotten(Node):
        size: int = 3

    with pytest.raises(TypeError, match=r"Forgotten.size is no field yet: write @dataclass"):
        Forgotten()
    with pytest.raises(TypeError, match=r"Taken.node: JSON keeps the class under this name"):

        class Taken(Node):
            node: int = 1


def test_numbers_have_sound_bounds():
    for make, message in (
        (lambda: integers(3, 1), "integers needs low <= high; got 3 and 1"),
        (lambda: integers(0, 4, log=True), "needs 1 <= low <= high; got 0 and 4"),
        (lambda: uniform(1, 0), "uniform needs finite low <= high; got 1 and 0"),
        (lambda: uniform(0, math.inf), "uniform needs finite low <= high"),
        (lambda: log_uniform(0, 1), "log_uniform needs 0 < low <= high; got 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    for wrong in (lambda: integers(1.5, 2), lambda: integers(True, 2), lambda: uniform("a", 2)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes"):
            wrong()
