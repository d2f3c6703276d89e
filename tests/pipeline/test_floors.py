"""Floors learn what simple methods can, from the training part alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.interop.tiny import folder, mini_lm
from vitruvius.contracts import Documents, Model, Outputs, Predictions, Stream, Task
from vitruvius.interop.pretrained import load_pretrained
from vitruvius.pipeline.embedding import embed
from vitruvius.pipeline.floors import floor, look_up, majority, probe, text_floors, tfidf
from vitruvius.techniques.heads import Embedding
from vitruvius.techniques.metrics import Accuracy, RootMeanSquaredError, SpanF1
from vitruvius.techniques.tokenizers import Bytes
from vitruvius.train.reading import frame_of

FRUIT, METAL = ("apple", "pear", "plum", "cherry"), ("iron", "tin", "zinc", "lead")
CLASSES = Task("kind", "item", labels=("fruit", "metal", "unseen"))


def texts_of(items: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(items) < 0.4).astype(np.int64)
    texts = [
        " ".join([*rng.choice(["the", "of", "and"], 4), str(rng.choice((FRUIT, METAL)[kind]))])
        for kind in label
    ]
    return texts, label


def documents(texts: list[str], label: np.ndarray) -> Documents:
    return Documents({"text": np.array(texts, dtype=object)}, {"label": label})


def test_frequencies_and_means() -> None:
    seen = np.array([0, 0, 0, 2])
    assert majority(seen, 2, 3).tolist() == [[0.75, 0, 0.25]] * 2
    assert majority(np.array([1.0, 4.0]), 3, 0).tolist() == [2.5] * 3


def test_words_decide_where_words_tell() -> None:
    (texts, label), (new, answers) = texts_of(200, 0), texts_of(100, 1)
    values = tfidf(texts, label, new, 3)
    assert values.shape == (100, 3) and np.allclose(values.sum(1), 1)
    assert (values.argmax(1) == answers).all() and (values[:, 2] == 0).all()
    shuffled = np.random.default_rng(0).permutation(label)
    assert (tfidf(texts, shuffled, new, 3).argmax(1) == answers).mean() < 0.8
    numbers = tfidf(texts, label * 10.0, new, 0)
    assert np.corrcoef(numbers, answers)[0, 1] > 0.95


def test_a_training_part_of_one_class_is_no_error() -> None:
    values = tfidf(["a b", "b c"], np.array([1, 1]), ["c"], 3)
    assert values.tolist() == [[0, 1, 0]]


def test_a_probe_is_linear_in_the_features() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)) * 100
    label = (x[:, 0] > 0).astype(np.int64)
    values = probe(x[:300], label[:300], x[300:], 2)
    assert (values.argmax(1) == label[300:]).mean() > 0.9
    numbers = probe(x[:300], x[:300, 0] + 7, x[300:], 0)
    assert np.corrcoef(numbers, x[300:, 0])[0, 1] > 0.99


def test_all_floors_of_texts_in_order() -> None:
    train, held = documents(*texts_of(200, 0)), documents(*texts_of(100, 1))
    found = text_floors(train, held, CLASSES, Accuracy())
    assert [m.name for m in found] == [
        "accuracy of the class frequencies",
        "accuracy of TF-IDF and a linear model",
    ]
    share = float((held.attributes["label"] == 0).mean())
    assert (found[0].value, found[1].value) == (pytest.approx(share), 1.0)
    assert found[0].stderr is not None and found[0].items == 100
    sizes = Task("size", "item")
    train, held = (
        Documents(d.payload, {"label": (d.attributes["label"] * 3.0).astype(np.float32)})
        for d in (train, held)
    )
    found = text_floors(train, held, sizes, RootMeanSquaredError())
    assert found[0].name == "root_mean_squared_error of the mean"
    assert found[1].value < found[0].value / 2


def test_each_word_gets_its_most_frequent_tag() -> None:
    labels = ("O", "B-X", "I-X")
    words = [["Lead", "is", "toxic"], ["lead", "me", "on"], ["Lead", "salts"], ["lead", "on"]]
    tags = [["B-X", "O", "O"], ["O", "O", "O"], ["B-X", "I-X"], ["O", "O"]]
    new = [["Lead", "LEAD", "lead", "salts", "gold"]]
    values = look_up(words, tags, new, labels)
    said = [labels[k] for k in values.argmax(1)]
    assert said == ["B-X", "O", "O", "I-X", "O"]  # LEAD: twice B-X, twice O, the first of labels
    assert look_up([["a", "a"]], [["I-X", "B-X"]], [["a"]], labels).argmax() == 1
    targets = torch.tensor([1, 0, 0, 2, 0])
    made = Predictions(torch.from_numpy(values), targets, torch.zeros(5, dtype=torch.long))
    told = floor("word look-up", made, SpanF1(labels))
    assert (told.name, told.value) == ("span_f1 of word look-up", 1.0)


class Sums(torch.nn.Module):
    """A body that tells the ids it reads: their one-hot vectors."""

    longest = 6

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        hidden = torch.nn.functional.one_hot(stream.values, 263).float()
        return Outputs(hidden * (stream.layout.segments != 0).unsqueeze(-1))


def test_vectors_come_in_the_order_of_the_texts_and_are_cut() -> None:
    from vitruvius.contracts import Lineage

    body = Sums().train()
    model = Model({"input": body}, {}, Lineage(""), tokenizer=Bytes().build(None))
    texts = ["abcdefgh", "a", "", "ab"]
    found = embed(model, texts)
    assert body.training and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    read = [{i - 7 for i in np.flatnonzero(row).tolist() if i > 6} for row in found]
    assert read == [set(b"abcd"), set(b"a"), set(), set(b"ab")]
    assert all(row[2] > 0 and row[3] > 0 for row in found)  # <cls> and <sep>
    np.testing.assert_allclose(embed(model, texts[::-1]), found[::-1])
    with pytest.raises(ValueError, match="embed needs a model with a tokenizer"):
        embed(Model({"input": body}, {}, Lineage("")), texts)


def test_a_foreign_model_reads_texts_in_its_frame(tmp_path: Path) -> None:
    model = load_pretrained(str(folder(tmp_path, "bert")))
    texts = ["the heart of the bone", "a", "renal failure is unknowns"]
    assert model.tokenizer is not None
    frame = frame_of(model.tokenizer)
    assert (frame.before, frame.after) == (2, 3)
    stream = model.tokenizer.stream(texts)  # pyright: ignore[reportAttributeAccessIssue]
    with torch.inference_mode():
        hidden = model.bodies["input"](stream).hidden
    for row, text in enumerate(texts):
        mean = hidden[row, stream.layout.segments[row] != 0].mean(0)
        expected = torch.nn.functional.normalize(mean, dim=0).numpy()
        np.testing.assert_allclose(embed(model, texts)[row], expected, rtol=1e-4, atol=1e-5)
        first = torch.nn.functional.normalize(hidden[row, 0], dim=0).numpy()
        of_first = embed(model, [text], Embedding("cls"))[0]
        np.testing.assert_allclose(of_first, first, rtol=1e-4, atol=1e-5)


def test_a_frozen_mini_lm_knows_more_than_counts_of_words() -> None:
    model = load_pretrained(str(mini_lm()))
    train = ["a sweet red fruit", "steel and copper wire", "juicy oranges", "molten ore"] * 2
    new = ["ripe bananas and grapes", "an ingot of silver", "lemonade", "aluminium foil"]
    label = np.array([0, 1, 0, 1] * 2)
    found = text_floors(
        documents(train, label),
        documents(new, np.array([0, 1, 0, 1])),
        Task("kind", "item", labels=("fruit", "metal")),
        Accuracy(),
        frozen=model,
    )
    assert found[-1].name == "accuracy of a linear probe of the frozen model"
    assert found[-1].value == 1.0 > found[1].value
