"""The stage that makes texts searchable, and what asks them: queries, and the measure of a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vitruvius.contracts import (
    Cost,
    Documents,
    Given,
    Lab,
    Measurement,
    Meter,
    Model,
    Predictions,
    Retriever,
    Stage,
    State,
)
from vitruvius.pipeline.beginning import size_of
from vitruvius.pipeline.embedding import embed, feed_of
from vitruvius.space import hyper, one_of
from vitruvius.techniques.retrievers import BM25, Fused, Nearest
from vitruvius.train.reading import longest_of

CANDIDATES = "candidates"  # the texts that may be asked, among the data of a state
INDEXED = "indexed"  # the measurement that tells how many were indexed, and what that took
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Index(Stage):
    """Make texts searchable: the data "candidates" where there are any, else the texts "positive"
    of the training part.

    Where the retriever reads vectors they come from the model. The state's index remembers its
    retriever, so that ``query`` asks it and ``rank`` indexes other texts alike.
    """

    retriever: Retriever = hyper(
        Nearest(),
        one_of(Nearest(), BM25.space(), Fused.space()),
        "what finds documents for queries",
    )

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost | None:
        """FLOPs of embedding; nothing where no vectors are read."""
        if "vector" not in self.retriever.reads:
            return Cost()
        before = inputs.get("before")
        if before is None or before.model is None or before.model.tokenizer is None:
            return None
        return embedding_cost(before.model, _texts(_candidates(before), "text"), lab.meter)

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """The state with its index. Raises ValueError where there are no texts, or no model."""
        before = inputs["before"]
        candidates = _candidates(before)
        texts, cost = _texts(candidates, "text"), Cost()
        if "vector" in self.retriever.reads:
            model = _reader(before.model, self.retriever)
            cost = embedding_cost(model, texts, lab.meter)
            candidates = _with_vectors(model, candidates, texts, lab.device, lab.precision)
        index = self.retriever.index(candidates, Given(rng=lab.generator("index")))
        made = Measurement(INDEXED, float(len(candidates)), items=len(candidates), cost=cost)
        return replace(before, index=index, measurements=(*before.measurements, made), digest="")


def rank(
    model: Model | None,
    documents: Documents,
    retriever: Retriever | None = None,
    *,
    device: torch.device = CPU,
    precision: torch.dtype = torch.float32,
) -> Predictions:
    """Scores [N N] of each "query" against all "positive" of the same documents; the right one of
    query i is i. Without a retriever: the cosine of the model's vectors."""
    chosen = retriever or Nearest()
    for name in ("query", "positive"):
        if name not in documents.payload:
            raise ValueError(
                'Retrieval is measured on documents with "query" and "positive"; these have '
                f"{sorted(documents.payload)}. Load pairs."
            )
    asked = Documents({"query": documents.payload["query"]})
    answers = Documents({"text": documents.payload["positive"]})
    if "vector" in chosen.reads:
        reader = _reader(model, chosen)
        queries = _texts(asked, "query")
        asked = _with_vectors(reader, asked, queries, device, precision)
        answers = _with_vectors(reader, answers, _texts(answers, "text"), device, precision)
    scores = chosen.index(answers, Given(rng=torch.Generator().manual_seed(0))).scores(asked)
    rows = torch.arange(len(documents))
    return Predictions(torch.from_numpy(scores), rows, rows)


def query(
    state: State,
    texts: Sequence[str],
    k: int = 10,
    *,
    device: torch.device = CPU,
    precision: torch.dtype = torch.float32,
) -> list[list[tuple[int, float]]]:
    """For each text the best k documents of the state's index, as (row, score), best first.

    Rows are those of ``state.index.documents``; fewer where no more are found.
    """
    index = state.index
    if index is None:
        raise ValueError("This result has no index to ask: put Index() into its pipeline.")
    if not len(texts):
        return []
    column = np.empty(len(texts), dtype=object)
    column[:] = list(texts)
    asked = Documents({"query": column})
    if "vector" in index.retriever.reads:
        model = _reader(state.model, index.retriever)
        asked = _with_vectors(model, asked, list(texts), device, precision)
    hits = index.search(asked, min(k, len(index.documents)) if k > 0 else k)
    return [
        [(row, score) for row, score in zip(rows, scores, strict=True) if row >= 0]
        for rows, scores in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)
    ]


def embedding_cost(model: Model, texts: Sequence[str], meter: Meter) -> Cost:
    """What it takes to embed texts: a forward pass over a row of their mean length, for each."""
    feed = feed_of(model, texts, longest_of(model), CPU)
    length = max(1, round(float(feed.filled.double().mean())))
    size = size_of(model.bodies["input"], length, meter)
    return Cost(size.flops * length * len(texts), parameters=size.parameters)


def _candidates(state: State) -> Documents:
    """The texts to be found, under "text"."""
    known = state.data.get(CANDIDATES)
    if known is not None:
        if "text" not in known.payload:
            raise ValueError(
                f'The candidates of Index need the payload "text"; got {sorted(known.payload)}.'
            )
        return known
    split = state.splits.get("train")
    if split is None or "positive" not in split.documents.payload:
        raise ValueError(
            'Index needs texts to find: the data "candidates", or a training part with "positive". '
            "Load pairs before it."
        )
    return Documents({"text": split.documents.payload["positive"]})


def _reader(model: Model | None, retriever: Retriever) -> Model:
    if model is None or model.tokenizer is None:
        raise ValueError(
            f"{type(retriever).__name__} compares vectors and needs a model that reads texts; "
            "there is none. Train one first, or take BM25()."
        )
    return model


def _with_vectors(
    model: Model,
    documents: Documents,
    texts: Sequence[str],
    device: torch.device,
    precision: torch.dtype,
) -> Documents:
    vectors = embed(model, texts, device=device, precision=precision)
    return Documents({**documents.payload, "vector": vectors}, documents.attributes)


def _texts(documents: Documents, column: str) -> list[str]:
    return [str(text) for text in documents.payload[column][:]]
