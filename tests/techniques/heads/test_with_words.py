"""A linear model of the words beside a head: by hand, and as scikit-learn has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from vitruvius.contracts import Batch, Documents, Given, Layout, Outputs, Stream, Task
from vitruvius.techniques.heads import WithWords
from vitruvius.techniques.heads.with_words import facts_of, words_of
from vitruvius.techniques.tokenizers import WordPiece

CLASSES = Task("kind", "item", labels=("animal", "plant", "stone"))
TEXTS = [
    "the quick fox and the dog ran",
    "a dog barked at the grey fox",
    "the oak has green leaves",
    "green moss grew on the old oak",
    "granite is a hard grey stone",
    "the old stone was of granite, hard",
]
LABELS = np.array([0, 0, 1, 1, 2, 2])
NEW = ["a fox ran", "leaves of the oak", "hard granite, grey granite", "zzz"]
DOCUMENTS = Documents({"text": np.array(TEXTS, dtype=object)}, {"label": LABELS})


class Codec:
    """Words in pieces of three letters; commas apart."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        for text in (*TEXTS, *NEW):
            for piece in self.pieces(text):
                self.known.setdefault(piece, len(self.known))

    def pieces(self, text: str) -> list[str]:
        words = text.replace(",", " ,").split()
        cut = [[word[i : i + 3] for i in range(0, len(word), 3)] for word in words]
        return [piece if not i else f"##{piece}" for word in cut for i, piece in enumerate(word)]

    def encode(self, text: str) -> object:
        return type("Encoding", (), {"ids": tuple(self.known[p] for p in self.pieces(text))})

    def decode(self, ids: object) -> str:
        raise NotImplementedError

    @property
    def vocabulary(self) -> int:
        return len(self.known)

    def tokens(self) -> tuple[str, ...]:
        return tuple(self.known)


def given() -> Given:
    return Given(task=CLASSES, documents=DOCUMENTS, tokenizer=Codec())  # pyright: ignore[reportArgumentType]


def made(share: float = 0.5) -> nn.Module:
    head = WithWords(share=share)
    torch.manual_seed(0)
    module = head.build(torch.zeros(2, 4, 6), CLASSES)
    fitted = head.fit(given())
    assert fitted is not None
    missing = module.load_state_dict(dict(fitted.tensors), strict=False)
    assert not missing.unexpected_keys
    return module


def batch(texts: list[str]) -> Batch:
    """With a frame around each text, and padding."""
    codec = Codec()
    rows = [torch.tensor(codec.encode(text).ids) for text in texts]  # type: ignore[attr-defined]
    width = 2 + max(map(len, rows))
    ids, segments, fixed = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for row, own in enumerate(rows):
        ids[row, 1 : 1 + len(own)] = own
        segments[row, : 2 + len(own)] = 1
        fixed[row, [0, 1 + len(own)]] = 1
    layout = Layout(torch.arange(width).expand(ids.shape), segments, fixed=fixed.bool())
    return Batch({"input": Stream(ids, layout)}, {}, torch.arange(len(rows)))


def hidden(batch: Batch) -> Outputs:
    torch.manual_seed(1)
    return Outputs(torch.randn(*batch.streams["input"].values.shape, 6))


def test_the_words_are_those_of_tf_idf() -> None:
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = terms.fit_transform(TEXTS)
    regression = LogisticRegression(C=30.0, max_iter=1000, tol=1e-3).fit(known, LABELS)
    wanted = torch.from_numpy(regression.predict_proba(terms.transform(NEW))).float()
    module, seen = made(0.999999).eval(), batch(NEW)
    found = module(hidden(seen), seen).softmax(-1)
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)


def test_its_answer_is_the_mean_of_both_and_in_training_that_of_the_head() -> None:
    module, seen = made(0.3), batch(NEW)
    outputs = hidden(seen)
    module.eval()
    inner = module.inner(outputs, seen).softmax(-1)  # type: ignore[operator]
    words = made(1 - 1e-9).eval()(outputs, seen).softmax(-1)
    torch.testing.assert_close(module(outputs, seen).exp(), 0.7 * inner + 0.3 * words)
    assert torch.equal(module(outputs, None), module.inner(outputs, None))  # type: ignore[operator]
    kept = Batch({"input": Stream(outputs.hidden, seen.streams["input"].layout)}, {}, seen.rows)
    assert torch.equal(module(outputs, kept), module.inner(outputs, kept))  # type: ignore[operator]
    module.train()
    torch.manual_seed(0)
    trained = module(outputs, seen)
    torch.manual_seed(0)
    assert torch.equal(trained, module.inner(outputs, seen))  # type: ignore[operator]
    assert {n for n, _ in module.named_parameters()} == {"inner.linear.weight", "inner.linear.bias"}


def test_pieces_become_words_and_short_ones_are_left_out() -> None:
    codec = Codec()
    begins, letters = facts_of(codec)  # pyright: ignore[reportArgumentType]

    def words(text: str) -> Tensor:
        ids = torch.tensor([codec.encode(text).ids])  # type: ignore[attr-defined]
        kept, number = words_of(ids, torch.ones_like(ids, dtype=torch.bool), begins, letters)
        return kept[0, : int(number)]

    stone = words("stone")
    assert len(stone) == 1
    assert torch.equal(words("the old stone was of granite, hard")[2:3], stone)
    assert len(words("a hard, a grey stone")) == 3
    assert len({int(w) for text in TEXTS for w in words(text)}) == len(
        TfidfVectorizer().fit(TEXTS).vocabulary_
    )


def test_a_real_tokenizer_marks_its_words() -> None:
    asked = Given(rng=torch.Generator(), documents=DOCUMENTS)
    tokenizer = WordPiece(60)
    codec = tokenizer.build(tokenizer.fit(asked))
    begins, letters = facts_of(codec)
    ids = torch.tensor([codec.encode("granite granite, oak").ids])
    kept, number = words_of(ids, torch.ones_like(ids, dtype=torch.bool), begins, letters)
    assert int(number) == 3 and kept[0, 0] == kept[0, 1] != kept[0, 2]


@pytest.mark.parametrize(
    ("task", "what"),
    [(Task("size", "item"), "item with numbers"), (Task("x", "pair", labels=("a",)), "pair")],
)
def test_other_tasks_are_refused(task: Task, what: str) -> None:
    with pytest.raises(ValueError, match=rf"WithWords answers with classes .* level {what}\. Take"):
        WithWords().build(torch.zeros(2, 4, 6), task)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"WithWords\.share must be above 0 and below 1; got 1\.0"):
        WithWords(share=1.0)
    with pytest.raises(ValueError, match=r"WithWords\.strength must be above 0; got 0\.0"):
        WithWords(strength=0.0)
    documents = Documents({"vector": np.zeros((2, 3))}, {"label": np.zeros(2, np.int64)})
    asked = Given(task=CLASSES, documents=documents, tokenizer=Codec())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"WithWords reads documents with a text each; these have"):
        WithWords().fit(asked)
