"""What every encoder keeps: fitted on the training part, row by row, in plain float32."""

import inspect
import json
import pickle
import random

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Encoder, Fitted, Given, SealedError, Split
from vitruvius.space import Node, hyperparameters, replay, sample
from vitruvius.techniques import encoders
from vitruvius.techniques.encoders import *  # noqa: F403  for eval(repr(node))

EVERY = [getattr(encoders, name) for name in encoders.__all__]
NUMBERS = [of for of in EVERY if hasattr(inspect.getmodule(of), f"{of.__name__}Encoder")]
TEXTS = [of for of in EVERY if of not in NUMBERS]  # no model that runs with torch alone reads them
RNG = np.random.default_rng(0)


def objects(items: list) -> np.ndarray:
    made = np.empty(len(items), object)
    made[:] = items
    return made


def a_table(count: int) -> Documents:
    numbers = RNG.normal(5, 3, count)
    numbers[::7] = np.nan
    days = np.datetime64("2020-01-01", "us") + RNG.integers(0, 10**14, count).astype("m8[us]")
    days[::5] = np.datetime64("NaT")
    return Documents(
        {
            "number": numbers,
            "word": objects([["a", "b", None, f"rare {i}"][i % 4] for i in range(count)]),
            "flag": objects([[True, False, None][i % 3] for i in range(count)]),
            "day": days,
        },
        {"label": np.arange(count) % 2, "other": np.arange(count)},
    )


def images(count: int) -> Documents:
    pixels = RNG.integers(0, 256, (count, 3, 5, 4)).astype(np.uint8)
    return Documents({"image": pixels}, {"label": np.arange(count) % 2, "other": np.arange(count)})


def arrays(count: int) -> Documents:
    return Documents({"array": RNG.normal(9, 4, (count, 6))}, {"label": np.arange(count) % 2})


def texts(count: int) -> Documents:
    words = ("the", "of", "This", "is", "rows", "tokens,", "model.", "text")
    made = [" ".join(RNG.choice(words, 12)) for _ in range(count)]
    return Documents({"text": objects(made)}, {"label": np.arange(count) % 2})


KINDS = {"table": a_table, "image": images, "array": arrays, "texts": texts}


def documents_for(encoder: Encoder, count: int = 60) -> list[Documents]:
    """Of every kind that this encoder takes."""
    taken = []
    for make in KINDS.values():
        documents = make(count)
        try:
            encoder.fit(Given(documents=documents))
        except ValueError as e:
            assert type(encoder).__name__ in str(e)  # refusing is fine, with a word
        else:
            taken.append(documents)
    assert taken, f"{encoder} takes none of {list(KINDS)}"
    return taken


def made_of(encoder: Encoder, documents: Documents, fitted: Fitted) -> dict[str, list]:
    made = encoder.apply(documents, Given(fitted=fitted))
    return {name: np.asarray(column[:]).tolist() for name, column in made.payload.items()}


def same(one: Fitted, two: Fitted) -> bool:
    return one.values == two.values and {
        n: t.tolist() for n, t in one.tensors.items()
    } == {n: t.tolist() for n, t in two.tensors.items()}  # fmt: skip


@pytest.mark.parametrize("of", EVERY)
def test_as_a_node(of: type[Encoder]):
    assert issubclass(of, Encoder) and of().decided
    assert eval(repr(of())) == of()
    assert pickle.loads(pickle.dumps(of())) == of()
    for seed in range(5):
        design = replay(of.space(), sample(of.space(), random.Random(seed)))
        assert isinstance(design, Node) and design.decided
        assert documents_for(design)
    for field in hyperparameters(of):
        assert field.doc and (field.domain is None or field.domain.contains(field.default))
    assert inspect.getdoc(of) and "Source:" in (inspect.getmodule(of).__doc__ or "")


@pytest.mark.parametrize("of", TEXTS)
def test_gives_texts_under_the_same_names_and_keeps_the_attributes(of: type[Encoder]):
    for documents in documents_for(of()):
        made = of().apply(documents, Given(fitted=of().fit(Given(documents=documents))))
        assert list(made.payload) == list(documents.payload)
        assert made.attributes is documents.attributes
        column = made.payload["text"]
        assert all(isinstance(text, str) and text for text in column)
        assert column.tolist() != documents.payload["text"].tolist()


@pytest.mark.parametrize("of", NUMBERS)
def test_gives_finite_float32_and_keeps_the_attributes(of: type[Encoder]):
    for documents in documents_for(of()):
        fitted = of().fit(Given(documents=documents))
        made = of().apply(documents, Given(fitted=fitted))
        assert list(made.payload) == ["input"] and made.attributes is documents.attributes
        values = made.payload["input"][:]
        assert values.dtype == np.float32 and len(values) == len(documents)
        assert np.isfinite(values).all() and values.reshape(len(values), -1).std(0).max() > 0


@pytest.mark.parametrize("of", EVERY)
def test_row_by_row_equals_all_at_once_and_new_rows_change_nothing(of: type[Encoder]):
    for documents in documents_for(of()):
        fitted = of().fit(Given(documents=documents))
        whole = made_of(of(), documents, fitted)
        for row in range(len(documents)):
            alone = made_of(of(), documents.take(np.array([row])), fitted)
            assert alone == {name: [values[row]] for name, values in whole.items()}
        none = documents.take(np.array([], int))
        assert len(of().apply(none, Given(fitted=fitted))) == 0
        assert same(fitted, of().fit(Given(documents=documents)))


@pytest.mark.parametrize("of", EVERY)
def test_fitted_is_tensors_and_json_and_comes_back_equal(of: type[Encoder]):
    for documents in documents_for(of()):
        fitted = of().fit(Given(documents=documents))
        assert all(isinstance(t, torch.Tensor) for t in fitted.tensors.values())
        again = Fitted(
            {n: torch.tensor(t.tolist(), dtype=t.dtype) for n, t in fitted.tensors.items()},
            json.loads(json.dumps(fitted.values)),
        )
        one, two = (made_of(of(), documents, f) for f in (fitted, again))
        assert one == two


@pytest.mark.parametrize("of", EVERY)
def test_reads_no_label_and_no_random_number(of: type[Encoder]):
    for documents in documents_for(of()):
        blind = Split(documents, labels=False).documents
        before = torch.random.get_rng_state()
        fitted = of().fit(Given(documents=blind))
        made = of().apply(blind, Given(fitted=fitted))
        assert torch.equal(before, torch.random.get_rng_state())
        with pytest.raises(SealedError):
            made.attributes["label"]


@pytest.mark.parametrize("of", NUMBERS)
def test_the_standalone_class_runs_with_torch_and_the_standard_library(of: type[Encoder]):
    module = inspect.getmodule(of)
    standalone = getattr(module, f"{of.__name__}Encoder")
    names: dict = {"__name__": "standalone"}
    exec("from __future__ import annotations\nimport datetime, math, torch", names)
    exec("from torch import Tensor", names)
    exec(inspect.getsource(standalone), names)
    for documents in documents_for(of()):
        fitted = of().fit(Given(documents=documents))
        encode = names[f"{of.__name__}Encoder"](dict(fitted.values), dict(fitted.tensors))
        rows = {n: c.tolist() if c.ndim == 1 else c for n, c in documents.payload.items()}
        expected = of().apply(documents, Given(fitted=fitted)).payload["input"]
        assert np.array_equal(encode(rows).numpy(), expected)
