"""Columns: what each kind becomes, and any table of mixed columns."""

import datetime
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Documents, Fitted, Given
from vitruvius.data import open_data, read_inputs
from vitruvius.data.cells import MISSING
from vitruvius.data.loaded import description
from vitruvius.techniques.encoders import Columns
from vitruvius.techniques.encoders.columns import ColumnsEncoder


def objects(items: list) -> np.ndarray:
    made = np.empty(len(items), object)
    made[:] = items
    return made


def fit(encoder: Columns, **payload: np.ndarray) -> Fitted:
    return encoder.fit(Given(documents=Documents(payload)))


def encode(encoder: Columns, fitted: Fitted, **payload: np.ndarray) -> list[list[float]]:
    return encoder.apply(Documents(payload), Given(fitted=fitted)).payload["input"].tolist()


def test_numbers_by_hand():
    fitted = fit(Columns(), x=np.array([1.0, 3.0, np.nan, 2.0]))
    deviation = math.sqrt(0.5)  # of 1, 3, 2, 2
    expected = [[-1 / deviation, 0.0], [1 / deviation, 0.0], [0.0, 1.0]]
    np.testing.assert_allclose(encode(Columns(), fitted, x=np.array([1.0, 3.0, np.nan])), expected)
    far = encode(Columns(reach=4.0), fit(Columns(reach=4.0), x=np.array([0.0, 1.0])), x=[1e308])
    assert far == [[4.0]]


def test_quantiles_are_ranks():
    x = np.concatenate([np.arange(64.0), [1e12]])
    encoder = Columns(numbers="quantile")
    fitted = fit(encoder, x=x)
    made = np.array(encode(encoder, fitted, x=x))[:, 0]
    np.testing.assert_allclose(made, np.linspace(-1, 1, 65) * math.sqrt(3), rtol=1e-6)
    beyond = encode(encoder, fitted, x=np.array([-1e300, 0.5, 1e300]))
    expected = [-math.sqrt(3), (made[0] + made[1]) / 2, math.sqrt(3)]
    np.testing.assert_allclose(np.array(beyond)[:, 0], expected, rtol=1e-6)


def test_categories_by_hand():
    words = objects(["b"] * 3 + ["a"] * 2 + ["c", None])
    fitted = fit(Columns(rare=2), w=words)
    made = encode(Columns(), fitted, w=objects(["a", "b", "c", "never seen", None, " a "]))
    assert made == [
        [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0],
    ]  # fmt: skip
    few = fit(Columns(rare=1, most=1), w=words)
    assert few.values["columns"][0]["levels"] == ["b"]


def test_what_training_never_saw_gets_no_column():
    fitted = fit(Columns(rare=1), w=objects(["a", "b"]), x=np.array([1.0, 2.0]))
    assert encode(Columns(), fitted, w=objects([None, "z"]), x=np.array([np.nan, 2.0])) == [
        [0.0, 0.0, -1.0], [0.0, 0.0, 1.0],
    ]  # fmt: skip


def test_order_of_rows_does_not_order_categories():
    words = ["x", "y", "z", "y", "z", "z"]
    one = fit(Columns(rare=1, most=2), w=objects(words))
    two = fit(Columns(rare=1, most=2), w=objects(words[::-1]))
    assert one.values == two.values


def test_booleans_and_dates():
    fitted = fit(Columns(), f=objects([True, False, True, False]))
    assert encode(Columns(), fitted, f=objects([True, False, None])) == [[1.0], [-1.0], [-1.0]]
    days = np.datetime64("2020-01-01", "us") + np.arange(400) * np.timedelta64(1, "D")
    fitted = fit(Columns(), d=days)
    assert fitted.values["columns"][0]["cycles"] == ["year", "week"]
    made = np.array(encode(Columns(), fitted, d=days[[0, 7, 365]]))
    assert made.shape == (3, 5)
    np.testing.assert_allclose(made[0, 3:], made[1, 3:], atol=1e-6)  # the same weekday
    np.testing.assert_allclose(made[0, 1:3], made[2, 1:3], atol=0.02)  # the same season
    assert made[0, 0] < made[1, 0] < made[2, 0]


def test_columns_that_do_not_differ_in_training_are_left_out():
    fitted = fit(Columns(), same=np.ones(4), x=np.arange(4.0), one=objects(["a"] * 4))
    assert [c["name"] for c in fitted.values["columns"]] == ["x"]
    with pytest.raises(ValueError, match="nothing that differs"):
        fit(Columns(), same=np.ones(4))
    with pytest.raises(ValueError, match=r"one value per row.*use Pixels"):
        fit(Columns(), image=np.ones((4, 2, 2)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numbers": "rank"}, "Columns.numbers is standard or quantile; got 'rank'"),
        ({"missing": "zero"}, "Columns.missing is median or mean; got 'zero'"),
        ({"rare": 0}, "rare and .most must be at least 1; got 0 and 64"),
        ({"reach": 0.0}, "Columns.reach must be above 0"),
    ],
)
def test_wrong_fields(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Columns(**fields)


def test_words_for_missing_are_those_of_the_reader():
    assert set(ColumnsEncoder.words_for_missing) == set(MISSING)


def test_cells_as_strings_give_the_same_as_values(tmp_path):
    lines = "\n".join(
        f"{i / 3},{['true', 'FALSE', ''][i % 3]},{['u', ' v ', 'NA'][i % 3]},"
        f"2020-0{1 + i % 9}-10T0{i % 10}:00:00Z,{'ab'[i % 2]}"
        for i in range(40)
    )
    path = tmp_path / "t.csv"
    path.write_text("x,flag,word,when,y\n" + lines)
    loaded = open_data(path, "y")
    fitted = Columns().fit(Given(documents=loaded.documents))
    read = read_inputs(path, description(loaded))
    expected = Columns().apply(read, Given(fitted=fitted)).payload["input"]
    cells = [line.split(",") for line in lines.split("\n")]
    raw = {n: [c[i] for c in cells] for i, n in enumerate(("x", "flag", "word", "when"))}
    made = ColumnsEncoder(dict(fitted.values), dict(fitted.tensors))(raw)
    assert np.array_equal(made.numpy(), expected)


any_number = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 5e-324])
any_word = st.none() | st.sampled_from(["a", "b", "NA", " ", "1.0"]) | st.text(max_size=4)
any_date = st.none() | st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    count = draw(st.integers(1, 12))

    def column(of: st.SearchStrategy) -> list:
        return draw(st.lists(of, min_size=count, max_size=count))

    made: dict[str, np.ndarray] = {}
    for i, kind in enumerate(draw(st.lists(st.sampled_from("nwbd"), min_size=1, max_size=4))):
        if kind == "n":
            made[f"n{i}"] = np.array(column(any_number))
        elif kind == "w":
            made[f"w{i}"] = objects(column(any_word))
        elif kind == "b":
            made[f"b{i}"] = objects(column(st.none() | st.booleans()))
        else:
            made[f"d{i}"] = np.array(column(any_date), "M8[us]")
    return made


@given(tables(), st.data())
def test_any_table_encodes_to_finite_numbers_row_by_row(table: dict, data: st.DataObject):
    encoder = data.draw(st.builds(
        Columns, st.sampled_from(["standard", "quantile"]), st.sampled_from(["median", "mean"]),
        st.integers(1, 3), st.integers(1, 3),
    ))  # fmt: skip
    documents = Documents(table)
    train = documents.take(np.arange(data.draw(st.integers(1, len(documents)))))
    try:
        fitted = encoder.fit(Given(documents=train))
    except ValueError as e:
        assert "nothing that differs" in str(e)
        return
    given_fit = Given(fitted=fitted)
    whole = encoder.apply(documents, given_fit).payload["input"]
    assert whole.dtype == np.float32 and np.isfinite(whole).all()
    for row in range(len(documents)):
        one = encoder.apply(documents.take(np.array([row])), given_fit).payload["input"]
        assert np.array_equal(one[0], whole[row])


def test_thousands_of_categories_stay_narrow():
    words = objects([f"w{i % 3000}" for i in range(9000)])
    made = Columns(rare=1).fit(Given(documents=Documents({"w": words})))
    assert len(made.values["columns"][0]["levels"]) == 64
    assert torch.equal(
        ColumnsEncoder(dict(made.values), {})({"w": ["w2999", "zzz"]}).sum(1), torch.ones(2)
    )
