"""Finding a text by a query, such as a function by what it says it does: embeddings trained on
pairs, from scratch or from a pretrained model, alone or with shared terms.

Source: Husain et al. 2019, "CodeSearchNet Challenge", arXiv:1909.09436; dual encoders: Reimers &
Gurevych 2019, "Sentence-BERT", arXiv:1908.10084.
"""

from __future__ import annotations

from typing import Any

from vitruvius.contracts import Layer, Retriever, Stage
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load_texts import PYTHON, LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.retrieval import Index
from vitruvius.recipes._from_texts import FLOPS, LONGEST, ways
from vitruvius.recipes._from_texts import starts as first_points
from vitruvius.space import log_uniform, one_of, ordered
from vitruvius.techniques.adapters import FullTuning
from vitruvius.techniques.objectives import Contrastive
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.retrievers import BM25, Fused, Nearest


def code_search(
    source: str = PYTHON,
    target: str | None = None,
    *,
    texts: str | None = None,
    base: str | None = None,
    flops: float = FLOPS,
) -> Pipeline:
    """``source`` are pairs of query and answer, or "python": docstrings and functions of the Python
    files in ``texts``, or of the running Python's standard library; ``base`` is a pretrained model,
    ``flops`` are those of a trial."""

    def adapt(model: Layer | None) -> tuple[Stage, ...]:
        stage = Adapt(
            adapter=FullTuning(),
            objective=Contrastive(scale=one_of(20.0, 50.0, name="scale")),
            optimizer=AdamW(log_uniform(3e-5, 3e-3, name="adapt_rate")),
            epochs=ordered(1, 2, 4, 8, name="adapt_epochs"),
            batch_size=one_of(32, 64, 128, name="adapt_batch"),
            longest=LONGEST,
            flops=flops,
            model=model,
        )
        return (stage,)

    loader = LoadTexts(texts, source, by="group" if source == PYTHON else "document")
    return Pipeline(loader, ways(adapt, flops, base), Index(retriever()), Evaluate())


def retriever() -> Retriever:
    """Vectors alone, or with the terms that query and text share."""
    terms = BM25(split=True)
    return one_of(Nearest(), Fused((Nearest(), terms), weight=one_of(0.3, 0.5, 0.7, 0.85)))


def starts(base: str | None) -> tuple[dict[str, Any], ...]:
    """Points to begin with."""
    fits = {"@scale": 20.0, "@adapt_batch": 64, "index.retriever": "Fused"}
    return tuple({**point, **fits} for point in first_points(base))
