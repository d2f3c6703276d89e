"""What has behaviour among the contracts: documents, splits, what is given, the step."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from vitruvius.contracts import (
    Batch,
    Corrupted,
    Documents,
    Evaluator,
    Given,
    Layout,
    Lineage,
    Loss,
    Measurement,
    Metric,
    Model,
    Objective,
    Predictions,
    Progress,
    Schedule,
    SealedError,
    Split,
    Stage,
    State,
    Stream,
)
from vitruvius.contracts.documents import Array


def letters() -> Documents:
    return Documents(
        {"text": np.array(["a", "be", "see", None], dtype=object), "size": np.arange(4.0)},
        {"label": np.array([0, 1, 0, 1]), "source": np.array(["x", "x", "y", "y"])},
    )


def test_take_gives_the_rows_in_their_order() -> None:
    taken = letters().take(np.array([2, 0]))
    assert len(taken) == 2
    assert taken.payload["text"][:].tolist() == ["see", "a"]
    assert taken.attributes["label"].tolist() == [0, 0]
    assert taken.attributes["source"].tolist() == ["y", "x"]


def test_take_of_all_is_the_same() -> None:
    documents = letters()
    assert documents.take(np.arange(4)) is documents


def test_take_of_none_is_empty() -> None:
    assert len(letters().take(np.array([], dtype=int))) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([True, False, True, False]), "needs one axis of integers; got bool"),
        (np.array([[0, 1]]), "needs one axis of integers"),
        (np.array([4]), "positions from 0 to 3; got 4 to 4"),
        (np.array([-1]), "positions from 0 to 3; got -1"),
    ],
)
def test_take_refuses(rows: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        letters().take(rows)


def test_columns_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same length; got \{'text': 2, 'label': 3\}"):
        Documents({"text": np.array(["a", "b"])}, {"label": np.arange(3)})


def test_a_name_stands_once() -> None:
    with pytest.raises(ValueError, match="both as payload and as attribute"):
        Documents({"text": np.array(["a"])}, {"text": np.array(["a"])})


def test_the_digest_is_of_the_content() -> None:
    assert letters().digest == letters().digest
    assert len(letters().digest) == 64


VARIANTS: Mapping[str, Documents] = {
    "a value": Documents({"x": np.array([1.0, 3.0])}),
    "the order": Documents({"x": np.array([2.0, 1.0])}),
    "the type": Documents({"x": np.array([1, 2])}),
    "the name": Documents({"y": np.array([1.0, 2.0])}),
    "the role": Documents({}, {"x": np.array([1.0, 2.0])}),
    "the shape": Documents({"x": np.array([[1.0, 2.0]])}),
    "one more column": Documents({"x": np.array([1.0, 2.0])}, {"label": np.array([0, 0])}),
    "text": Documents({"x": np.array(["1.0", "2.0"], dtype=object)}),
    "boundaries": Documents({"x": np.array(["1.02", ".0"], dtype=object)}),
    "nesting": Documents({"x": np.array([("1.0", "2.0"), None], dtype=object)}),
}


def test_every_change_of_the_content_changes_the_digest() -> None:
    digests = [
        Documents({"x": np.array([1.0, 2.0])}).digest,
        *(d.digest for d in VARIANTS.values()),
    ]
    assert len(set(digests)) == len(digests)


def test_the_digest_of_a_selection_tells_rows_and_order() -> None:
    documents = letters()
    selections = [[0, 1], [1, 0], [0, 2], [0], [0, 1, 2]]
    digests = {documents.take(np.array(rows)).digest for rows in selections}
    assert len(digests | {documents.digest}) == 6
    assert documents.take(np.array([0, 1])).digest == letters().take(np.array([0, 1])).digest
    assert (
        documents.take(np.array([1], dtype=np.int8)).digest
        == documents.take(np.array([1], dtype=np.uint64)).digest
    )


def test_a_given_digest_is_kept_and_nothing_is_read() -> None:
    class Poisoned:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, rows: object) -> object:
            raise AssertionError("was read")

    assert Documents({"text": Poisoned()}, digest="of the file").digest == "of the file"


def test_a_content_without_digest_is_refused() -> None:
    with pytest.raises(TypeError, match="digest of object"):
        Documents({"x": np.array([object()], dtype=object)})


def test_annotate_adds_and_never_overwrites() -> None:
    scored = letters().annotate({"score": np.array([4.0, 3.0, 2.0, 1.0])})
    assert set(scored.attributes) == {"label", "source", "score"}
    assert scored.digest != letters().digest
    for name in ("label", "text"):
        with pytest.raises(ValueError, match="nobody overwrites"):
            letters().annotate({name: np.zeros(4)})


def test_a_split_gives_what_may_be_read() -> None:
    documents = letters()
    assert Split(documents).documents is documents


def test_without_labels_inputs_are_open_and_labels_raise() -> None:
    documents = Split(letters(), labels=False).documents
    assert documents.payload["text"][:].tolist() == ["a", "be", "see", None]
    assert list(documents.attributes) == ["source"]
    for read in (
        lambda: documents.attributes["label"],
        lambda: documents.attributes.get("label"),
        lambda: "label" in documents.attributes,
        lambda: documents.take(np.array([1])).attributes["label"],
        lambda: documents.annotate({"score": np.zeros(4)}).attributes["label"],
    ):
        with pytest.raises(SealedError, match="may not read 'label'"):
            read()
    assert documents.take(np.array([1])).payload["text"][:].tolist() == ["be"]


def test_labels_may_stand_in_the_payload() -> None:
    pairs = Documents({"query": np.array(["q"]), "positive": np.array(["p"])})
    seen = Split(pairs, labels=False, targets=("positive",)).documents
    assert seen.payload["query"][:].tolist() == ["q"]
    with pytest.raises(SealedError, match="'positive'"):
        seen.payload["positive"]


def test_without_inputs_labels_are_open() -> None:
    documents = Split(letters(), inputs=False).documents
    assert documents.attributes["label"].tolist() == [0, 1, 0, 1]
    with pytest.raises(SealedError, match="may not read 'text'"):
        documents.payload["text"]


def test_neither_inputs_nor_labels_gives_nothing() -> None:
    with pytest.raises(SealedError, match="neither inputs nor labels"):
        _ = Split(letters(), inputs=False, labels=False).documents


def test_a_sealed_split_gives_its_digest_alone() -> None:
    split = Split(letters(), sealed=True)
    assert split.digest == letters().digest
    with pytest.raises(SealedError, match="sealed: no stage may read it"):
        _ = split.documents
    with pytest.raises(SealedError, match="closed to stages"):
        _ = split.content
    with pytest.raises(SealedError):
        replace(split, sealed=False)
    for twin in (copy.deepcopy(split), pickle.loads(pickle.dumps(split))):
        assert twin.sealed
        with pytest.raises(SealedError):
            _ = twin.documents
    assert "see" not in repr(split)


def test_the_owner_opens_a_split() -> None:
    split = Split(letters(), labels=False, sealed=True)
    opened = split.opened()
    assert opened.documents.attributes["label"].tolist() == [0, 1, 0, 1]
    assert split.sealed and not opened.sealed


def test_items_without_tokens_are_one_token() -> None:
    layout = Stream(torch.zeros(3, 7)).layout
    assert torch.equal(layout.positions, torch.zeros(3, 1, dtype=torch.long))
    assert torch.equal(layout.segments, torch.ones(3, 1, dtype=torch.long))
    assert Stream(torch.zeros(3, 7, device="meta")).layout.segments.is_meta


def test_a_given_layout_is_kept() -> None:
    layout = Layout(torch.zeros(1, 2, dtype=torch.long), torch.tensor([[1, 0]]))
    stream = Stream(torch.zeros(1, 2), layout)
    assert stream.layout is layout
    assert pickle.loads(pickle.dumps(stream)).layout.segments.tolist() == [[1, 0]]


def test_what_was_not_given_raises_by_name() -> None:
    given = Given(rng=torch.Generator())
    with pytest.raises(AttributeError, match=r"Nothing was given as 'index'; there is \['rng'\]"):
        _ = given.index
    with pytest.raises(AttributeError, match="Given has no 'oracle'"):
        _ = given.oracle  # pyright: ignore[reportAttributeAccessIssue]
    more = given.but(documents=letters())
    assert len(more.documents) == 4 and more.rng is given.rng
    assert not hasattr(given, "documents")


@dataclass(frozen=True)
class Shifted(Objective):
    """The mean of the labels after ``corrupt`` has added the step."""

    def corrupt(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        return Corrupted(batch, {"label": batch.fields["label"] + now.step})

    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        return Loss(seen.targets["label"].mean())


@dataclass(frozen=True)
class Plain(Objective):
    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        return Loss(seen.targets["label"].mean() * 10.0)


def test_a_step_is_corrupt_then_loss() -> None:
    batch = Batch(
        {"input": Stream(torch.zeros(2, 1))}, {"label": torch.tensor([1.0, 2.0])}, torch.arange(2)
    )
    model, now = Model({}, {}, Lineage("start")), Progress(5, 10, 2, None)
    step = Shifted().step(model, Shifted().build(model), batch, now, Given())
    assert step.value.item() == 6.5
    assert Plain().step(model, Plain().build(model), batch, now, Given()).value.item() == 15.0
    assert list(Plain().build(model).parameters()) == []
    assert Plain().sources() == ()


@pytest.mark.parametrize("role", [Objective, Metric, Stage, Evaluator, Schedule])
def test_a_role_without_its_verb_cannot_be_made(role: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        role()


@dataclass(frozen=True)
class Accuracy(Metric):
    name: ClassVar[str] = "accuracy"
    better: ClassVar = "higher"

    def measure(self, predictions: Predictions) -> Measurement:
        right = predictions.values.argmax(1) == predictions.targets
        return Measurement(self.name, right.float().mean().item(), self.better)


def test_a_metric_measures() -> None:
    predictions = Predictions(
        torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([0, 1, 1]), torch.arange(3)
    )
    assert Accuracy().measure(predictions).value == pytest.approx(2 / 3)
    assert eval(repr(Accuracy())) == Accuracy()


def test_states_do_not_share_what_they_hold() -> None:
    assert State().splits is not State().splits


def test_the_contracts_import_nothing_heavy_but_torch() -> None:
    heavy = [
        "sklearn",
        "scipy",
        "pandas",
        "pyarrow",
        "transformers",
        "sqlalchemy",
        "networkx",
        "PIL",
        "rich",
        "typer",
    ]
    code = f"import sys, vitruvius.contracts; print(*(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
