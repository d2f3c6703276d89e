"""Heads of texts: pooling, words, pairs and vectors; by hand, and never reading padding."""

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Corrupted,
    Given,
    Head,
    Layout,
    Lineage,
    Model,
    Outputs,
    Progress,
    Stream,
    Task,
)
from vitruvius.techniques.heads import Embedding, PairScore, PooledReadout, WordTags
from vitruvius.techniques.heads.pooling import Pool
from vitruvius.techniques.objectives import Supervised

CLASSES = Task("kind", "item", labels=("a", "b", "c"))
NUMBER = Task("likeness", "pair")
TAGS = Task("entities", "token", labels=("B-X", "O", "I-X"))
SEGMENTS = torch.tensor([[0, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
POOLS = ("cls", "mean", "last")


class Lookup(nn.Module):
    """A body that gives each id its vector."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.table = nn.Embedding(30, width)

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.table(stream.values))


def stream(ids: Tensor, segments: Tensor, words: Tensor | None = None) -> Stream:
    return Stream(ids, Layout(torch.arange(ids.shape[1]).expand(ids.shape), segments, words))


def model_of(head: Head, task: Task) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = Lookup()
        module = head.build(torch.empty(2, 5, 6), task)
    return Model({"input": body}, {"task": module.eval()}, Lineage("seed"))


def ids(rows: int = 2, length: int = 5, seed: int = 0) -> Tensor:
    return torch.randint(0, 30, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_pools_by_hand() -> None:
    hidden = torch.arange(10.0).reshape(2, 5, 1)
    present = SEGMENTS != 0
    expected = {"cls": [1, 5], "last": [3, 6], "mean": [2, 5.5]}
    for kind, values in expected.items():
        assert Pool(kind)(hidden, present).flatten().tolist() == values
        assert Pool(kind)(hidden).flatten().tolist() == {
            "cls": [0, 5], "last": [4, 9], "mean": [2, 7]
        }[kind]  # fmt: skip
        empty = Pool(kind)(hidden, torch.zeros_like(present))
        assert empty.shape == (2, 1) and empty.isfinite().all()
    flat, image = torch.ones(2, 3), torch.arange(8.0).reshape(1, 2, 2, 2)
    assert Pool("cls")(flat) is flat
    assert Pool("cls")(image).tolist() == [[1.5, 5.5]]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("cls", [PooledReadout, Embedding, PairScore])
def test_padding_is_never_read(cls: type, pool: str) -> None:
    head = cls(pool=pool)
    task = NUMBER if cls is PairScore else CLASSES
    model = model_of(head, task)
    given = Given(task=task)
    values = ids()
    other = torch.where(SEGMENTS != 0, values, 29 - values)
    first, second = (
        head.predict(
            model,
            Batch(
                {"input": stream(v, SEGMENTS), "text": stream(v.flip(0), SEGMENTS.flip(0))},
                {},
                torch.arange(2),
            ),
            given,
        ).values
        for v in (values, other)
    )
    assert torch.equal(first, second)
    alone = stream(values[:1, 1:4], torch.ones(1, 3, dtype=torch.long))
    of_pair = stream(values[1:, :2], torch.ones(1, 2, dtype=torch.long))
    batch = Batch({"input": alone, "text": of_pair}, {}, torch.arange(1))
    torch.testing.assert_close(head.predict(model, batch, given).values, first[:1])


@pytest.mark.parametrize("dense", [False, True])
def test_a_pooled_readout_by_its_formula(dense: bool) -> None:
    head = PooledReadout("mean", dense=dense)
    model = model_of(head, CLASSES)
    weights = model.heads["task"].state_dict()
    hidden = torch.randn(4, 7, 6)
    pooled = hidden.mean(1)
    if dense:
        pooled = (pooled @ weights["dense.weight"].T + weights["dense.bias"]).tanh()
    expected = pooled @ weights["linear.weight"].T + weights["linear.bias"]
    torch.testing.assert_close(model.heads["task"](Outputs(hidden), None), expected)
    assert ("dense.weight" in weights) == dense


def test_vectors_have_the_length_1() -> None:
    model = model_of(Embedding(), CLASSES)
    batch = Batch({"input": stream(ids(), SEGMENTS)}, {}, torch.arange(2))
    found = Embedding().predict(model, batch, Given()).values
    assert found.shape == (2, 6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    narrow = model_of(Embedding(width=3), CLASSES)
    assert Embedding(width=3).predict(narrow, batch, Given()).values.shape == (2, 3)


def test_a_projector_that_training_left_is_used() -> None:
    body, projector = Lookup(), nn.Linear(6, 2, bias=False)
    model = Model({"input": body}, {"projector": projector}, Lineage(""))
    values = ids(1, 3)
    batch = Batch({"input": stream(values, torch.ones_like(values))}, {}, torch.arange(1))
    found = Embedding().predict(model, batch, Given()).values
    expected = nn.functional.normalize(projector(body.table(values).mean(1)), dim=-1)
    torch.testing.assert_close(found, expected)


def pair_batch() -> Batch:
    one, two = (stream(ids(seed=s), torch.ones(2, 5, dtype=torch.long)) for s in (1, 2))
    label = torch.tensor([0.25, 4.0])
    return Batch({"input": one, "text": two}, {"label": label}, torch.arange(2))


def test_the_features_of_a_pair() -> None:
    batch = pair_batch()
    model = model_of(PairScore(), NUMBER)
    head, body = model.heads["task"], model.bodies["input"]
    u, v = (body(batch.streams[n]).hidden.mean(1) for n in ("input", "text"))
    features = torch.cat([u, v, (u - v).abs(), u * v], 1)
    found = PairScore().predict(model, batch, Given(task=NUMBER)).values
    torch.testing.assert_close(found, head.linear(features).squeeze(1))
    by_angle = model_of(PairScore(cosine=True), NUMBER)
    weights = by_angle.heads["task"].state_dict()
    u, v = (by_angle.bodies["input"](batch.streams[n]).hidden.mean(1) for n in ("input", "text"))
    cosine = nn.functional.cosine_similarity(u, v)
    found = PairScore(cosine=True).predict(by_angle, batch, Given(task=NUMBER)).values
    torch.testing.assert_close(
        found, weights["linear.weight"].squeeze() * cosine + weights["linear.bias"]
    )


def test_pairs_are_trained_through_both_texts() -> None:
    batch = pair_batch()
    model = model_of(PairScore(), NUMBER)
    loss = loss_of(model, batch, NUMBER)
    found = PairScore().predict(model, batch, Given(task=NUMBER)).values
    torch.testing.assert_close(loss, (found - batch.fields["label"]).square().mean())
    loss.backward()
    grad = model.bodies["input"].table.weight.grad
    used = torch.cat([batch.streams[n].values.flatten() for n in ("input", "text")]).unique()
    assert set(grad.abs().sum(1).nonzero().flatten().tolist()) == set(used.tolist())


def loss_of(model: Model, batch: Batch, task: Task) -> Tensor:
    given, now = Given(task=task), Progress(0, 0, 1, 0.0)
    return Supervised().loss(model, nn.Module(), Corrupted(batch, batch.fields), now, given).value


def tag_batch(words: list[list[int]], label: list[list[int]], counts: list[int]) -> Batch:
    numbers = torch.tensor(words)
    there = stream(ids(*numbers.shape), (numbers >= 0).long(), numbers)
    fields = {"label": torch.tensor(label), "words": torch.tensor(counts)}
    return Batch({"input": there}, fields, torch.tensor([7, 9]))


WORDS = [[-1, 0, 1, 1, 2, -1], [-1, 0, 0, 0, -1, -1]]  # specials, words of 1, 2, 1 and 3 pieces


def test_the_first_piece_of_a_word_answers_for_it() -> None:
    batch = tag_batch(WORDS, [[0, 1, 2], [1, 0, 0]], [3, 1])
    model = model_of(WordTags(), TAGS)
    found = WordTags().predict(model, batch, Given(task=TAGS))
    logits = model.heads["task"](model.bodies["input"](batch.streams["input"]))
    assert logits.shape == (2, 6, 3)
    pieces = torch.stack([logits[0, 1], logits[0, 2], logits[0, 4], logits[1, 1]])
    torch.testing.assert_close(found.values, pieces.softmax(-1))
    assert found.targets is not None
    assert found.targets.tolist() == [0, 1, 2, 1]
    assert found.rows.tolist() == [7, 7, 7, 9]
    expected = nn.functional.cross_entropy(pieces, found.targets)
    torch.testing.assert_close(loss_of(model, batch, TAGS), expected)


def test_words_that_were_cut_off_are_said_to_be_outside() -> None:
    batch = tag_batch(WORDS, [[0, 1, 2, 0, 2], [1, 0, 0, 0, 0]], [5, 2])
    model = model_of(WordTags(), TAGS)
    found = WordTags().predict(model, batch, Given(task=TAGS))
    assert found.rows.tolist() == [7] * 5 + [9] * 2
    assert found.values[[3, 4, 6]].tolist() == [[0, 1, 0]] * 3
    assert found.targets is not None and found.targets.tolist() == [0, 1, 2, 0, 2, 1, 0]
    shorter = tag_batch(WORDS, [[0, 1, 2, 0, 2], [1, 0, 0, 0, 0]], [3, 1])
    assert torch.equal(loss_of(model, batch, TAGS), loss_of(model, shorter, TAGS))


def test_a_loss_of_words_ignores_padding_and_other_pieces() -> None:
    batch = tag_batch(WORDS, [[0, 1, 2], [1, 0, 0]], [3, 1])
    model = model_of(WordTags(), TAGS)
    loss_of(model, batch, TAGS).backward()
    values = batch.streams["input"].values
    first = batch.streams["input"].layout.first_pieces
    grad = model.bodies["input"].table.weight.grad
    assert set(grad.abs().sum(1).nonzero().flatten().tolist()) == set(values[first].tolist())
    wider = tag_batch([[*row, -1, -1] for row in WORDS], [[0, 1, 2], [1, 0, 0]], [3, 1])
    wide = torch.cat([values, ids(2, 2, 5)], 1)
    layout = wider.streams["input"].layout
    again = Batch({"input": Stream(wide, layout)}, batch.fields, batch.rows)
    torch.testing.assert_close(loss_of(model, again, TAGS), loss_of(model, batch, TAGS))


@pytest.mark.parametrize("cls", [PooledReadout, PairScore, Embedding, WordTags])
def test_it_is_built_on_meta(cls: type[Head]) -> None:
    task = TAGS if cls is WordTags else CLASSES
    with torch.device("meta"):
        module = cls().build(torch.empty(2, 5, 6), task)
        answer = module(Outputs(torch.empty(2, 5, 6)), None)
    assert answer.shape == {WordTags: (2, 5, 3), Embedding: (2, 6)}.get(cls, (2, 3))


def test_wrong_fields_and_shapes_are_refused() -> None:
    for cls in (PooledReadout, PairScore, Embedding):
        with pytest.raises(ValueError, match=rf"{cls.__name__}\.pool is one of cls, mean, last"):
            cls(pool="max")
        with pytest.raises(ValueError, match=rf"{cls.__name__} needs \[B, d\].* one axis only"):
            cls().build(torch.empty(2), CLASSES)
    for cls in (PooledReadout, WordTags):
        with pytest.raises(ValueError, match=rf"{cls.__name__}\.dropout .* got 1\.0"):
            cls(dropout=1.0)
    with pytest.raises(ValueError, match=r"Embedding\.width must be at least 1; got 0"):
        Embedding(width=0)
    with pytest.raises(ValueError, match=r"WordTags needs hidden \[B, T, d\].*PooledReadout"):
        WordTags().build(torch.empty(2, 6), TAGS)
    with pytest.raises(ValueError, match=r"got a task without classes"):
        WordTags().build(torch.empty(2, 5, 6), NUMBER)
    batch = Batch({"input": stream(ids(), SEGMENTS)}, {}, torch.arange(2))
    with pytest.raises(ValueError, match=r"Layout\.words is not known"):
        WordTags().predict(model_of(WordTags(), TAGS), batch, Given(task=TAGS))
