"""Indexing, asking, and measuring retrieval; indexes in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from vitruvius.contracts import (
    Cost,
    Documents,
    Given,
    Lab,
    Lineage,
    Model,
    Outputs,
    Retriever,
    Split,
    Stage,
    State,
    Stream,
)
from vitruvius.pipeline.embedding import embed
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.retrieval import Index, embedding_cost, query, rank
from vitruvius.pipeline.state_digest import state_digest
from vitruvius.pipeline.store import Store
from vitruvius.techniques.metrics import MeanReciprocalRank
from vitruvius.techniques.retrievers import BM25, Fused, Nearest
from vitruvius.techniques.tokenizers import Bytes
from vitruvius.train.meter import FlopMeter
from vitruvius.train.reading import longest_of

pytest.importorskip("bm25s")
SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
ASKED = ["read a csv file", "write json", "open the window", "close all doors"]
FOUND = ["def readCsv(file)", "json write out", "window open = True", "close doors, all"]
EVERY = (Nearest(), BM25(), BM25(split=True), Fused(), Fused((BM25(), BM25(split=True)), "ranks"))


class Letters(nn.Module):
    """A body that counts bytes: hidden states are a fixed vector of each."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(263, 16)
        with torch.no_grad():
            self.table.weight.copy_(torch.randn(263, 16, generator=torch.manual_seed(0)))

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.table(stream.values))


def column(texts: list[str]) -> np.ndarray:
    made = np.empty(len(texts), dtype=object)
    made[:] = texts
    return made


def model() -> Model:
    return Model({"input": Letters()}, {}, Lineage("letters"), tokenizer=Bytes().build(None))


def pairs() -> Documents:
    return Documents({"query": column(ASKED), "positive": column(FOUND)})


def state(**parts: object) -> State:
    splits = {"train": Split(pairs()), "validation": Split(pairs())}
    return replace(State(model=model(), splits=splits, digest="s"), **parts)  # type: ignore


@dataclass(frozen=True)
class Given_(Stage):
    """Gives pairs and a model."""

    sourced: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        return state()


@pytest.mark.parametrize("retriever", EVERY, ids=repr)
def test_an_index_answers_and_comes_back_from_the_store(
    retriever: Retriever, tmp_path: Path
) -> None:
    store = Store(tmp_path, allow=("vitruvius", "tests"))
    design = Pipeline(Given_(), Index(retriever=retriever))
    made = LocalLab(SETTING, store=store).run(design, {})
    assert made.index is not None and made.index.retriever == retriever
    assert (made.measurements[-1].name, made.measurements[-1].value) == ("indexed", 4.0)
    lab = LocalLab(SETTING, store=store)
    again = lab.run(design, {})
    assert lab.meter.spent == Cost() and again.index is not None
    for part in (store.explain(made.digest),):
        assert part.unstorable is None
    assert type(again.index) is type(made.index) and again.index.retriever == retriever
    assert again.index.documents.digest == made.index.documents.digest
    assert query(again, ASKED, 3) == query(made, ASKED, 3)
    assert state_digest(replace(made, digest="")) == state_digest(replace(again, digest=""))
    first = [hits[0][0] for hits in query(made, [FOUND[2], FOUND[0]], 1)]
    assert first == [2, 0]


def test_a_stored_index_gives_the_same_scores_to_the_bit(tmp_path: Path) -> None:
    store = Store(tmp_path, allow=("vitruvius", "tests"))
    rng = np.random.default_rng(0)
    words = ["alpha", "Beta_two", "gammaRay", "delta", "x1"]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(40)]
    vectors = rng.normal(size=(40, 7)).astype(np.float32)
    documents = Documents({"text": column(texts), "vector": vectors})
    asked = documents.take(np.arange(9))
    for number, retriever in enumerate(EVERY):
        index = retriever.index(documents, Given())
        store.put(str(number), State(index=index), stage="s", cost=Cost(), ingredients={})
        read = store.get(str(number))
        assert read is not None and read.index is not None
        assert np.array_equal(read.index.scores(asked), index.scores(asked))
        ours, theirs = index.search(asked, 5), read.index.search(asked, 5)
        assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.scores, theirs.scores)


def test_candidates_go_before_the_texts_of_the_training_part() -> None:
    candidates = Documents({"text": column([*FOUND, "something else"])}, {"page": np.arange(5)})
    lab = LocalLab(SETTING)
    made = Index(retriever=Fused()).run({"before": state(data={"candidates": candidates})}, lab)
    assert made.index is not None and len(made.index.documents) == 5
    assert made.index.documents.attributes["page"].tolist() == [0, 1, 2, 3, 4]
    assert query(made, ["something else"], 1)[0][0][0] == 4
    assert len(query(made, ["write"], 99)[0]) == 5 and query(made, [], 3) == []
    only = Index(retriever=BM25()).run({"before": state(model=None)}, lab)
    assert [row for row, _ in query(only, ["window write"], 9)[0]] == [1, 2]


def test_a_part_is_ranked_among_its_own_texts() -> None:
    lexical = rank(None, pairs(), BM25(split=True))
    assert lexical.values.shape == (4, 4) and lexical.targets is not None
    assert lexical.targets.tolist() == [0, 1, 2, 3]
    assert MeanReciprocalRank().measure(lexical).value == 1.0
    dense = rank(model(), pairs())
    expected = embed(model(), ASKED) @ embed(model(), FOUND).T
    np.testing.assert_allclose(dense.values.numpy(), expected, atol=1e-6)
    both = rank(model(), pairs(), Fused(weight=1.0))
    assert torch.equal(both.values.argsort(1), dense.values.argsort(1))
    coarse = rank(model(), pairs(), precision=torch.bfloat16)
    assert torch.allclose(coarse.values, dense.values, atol=0.05)


def test_the_cost_is_that_of_a_pass_over_each_text() -> None:
    class Wide(Letters):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(16, 16)

        def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
            return Outputs(self.map(super().forward(stream).hidden))

    wide = replace(model(), bodies={"input": Wide()})
    lab = LocalLab(SETTING)
    cost = embedding_cost(wide, ["ab", "abcd"], lab.meter)
    assert cost.flops == 2 * 5 * 2 * 16 * 16  # two texts, five tokens in the mean with their frame
    assert next(wide.bodies["input"].parameters()).device.type == "cpu"
    before = {"before": state(model=wide)}
    foreseen = Index().foresee(before, lab)
    assert foreseen == Index().run(before, lab).measurements[-1].cost
    assert Index(retriever=BM25()).foresee({}, lab) == Cost()
    assert Index().foresee({}, lab) is None
    assert isinstance(lab.meter, FlopMeter)


def test_texts_are_cut_where_the_model_ends() -> None:
    short = model()
    assert longest_of(short) == 512
    object.__setattr__(short, "longest", 5)
    assert longest_of(short) == 5
    cut = embed(short, ["abcdefg", "abc", "abx"])
    assert np.array_equal(cut[0], cut[1]) and not np.array_equal(cut[0], cut[2])
    assert np.array_equal(embed(short, ["abcdefg"], longest=99)[0], cut[0])
    assert np.array_equal(embed(model(), ["abcdefg"], longest=5)[0], cut[0])
    with pytest.raises(ValueError, match="embed needs at least one text; got none"):
        embed(short, [])


def test_what_is_missing_is_said() -> None:
    lab = LocalLab(SETTING)
    with pytest.raises(
        ValueError, match=r"Nearest compares vectors and needs a model .* take BM25"
    ):
        Index().run({"before": state(model=None)}, lab)
    with pytest.raises(ValueError, match=r"Index needs texts to find: .*Load pairs before it"):
        Index(retriever=BM25()).run({"before": State()}, lab)
    wrong = state(data={"candidates": Documents({"image": np.zeros(2)})})
    with pytest.raises(ValueError, match=r"candidates of Index need .*\"text\"; got \['image'\]"):
        Index(retriever=BM25()).run({"before": wrong}, lab)
    with pytest.raises(ValueError, match="has no index to ask: put Index"):
        query(state(), ["a"])
    with pytest.raises(ValueError, match=r'documents with "query" and "positive"; these have'):
        rank(model(), Documents({"text": column(["a"])}))
    with pytest.raises(ValueError, match="at least 1 document; got k=0"):
        query(Index(retriever=BM25()).run({"before": state()}, lab), ["a"], 0)
