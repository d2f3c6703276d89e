"""Finding a text by a query, such as a function by what it says it does: embeddings trained on
pairs, from scratch or from a pretrained model, alone or with the terms that query and text share.

Source: Husain et al. 2019, "CodeSearchNet Challenge", arXiv:1909.09436 (bags of words among its
encoders); dual encoders: Reimers & Gurevych 2019, "Sentence-BERT", arXiv:1908.10084.
"""

from __future__ import annotations

from typing import Any

from vitruvius.contracts import Layer, Objective, Retriever, Stage
from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load_texts import PYTHON, LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining import Pretrain
from vitruvius.pipeline.retrieval import Index
from vitruvius.pipeline.tokenizing import Tokenize
from vitruvius.recipes._from_texts import ADAPTING, FLOPS, continued, encoder, tokenizer
from vitruvius.space import log_uniform, one_of, ordered
from vitruvius.techniques.layers import Encoder, Tokens
from vitruvius.techniques.objectives import Contrastive, MaskedTokens
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.policies import MaskPolicy
from vitruvius.techniques.retrievers import BM25, Fused, Nearest
from vitruvius.techniques.schedules import WSD

LONGEST = 64  # tokens, in a transformer: what says most of a function stands at its top
LONGEST_BAG = 256  # which costs a bag of words next to nothing


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
    return Pipeline(LoadTexts(texts, source), ways(base, flops), Index(retriever()), Evaluate())


def ways(base: str | None, flops: float) -> Any:
    """From the pairs to a model: of words alone, a small encoder, or a pretrained one."""
    words = Pipeline(Tokenize(tokenizer()), from_scratch(bag(), flops, LONGEST_BAG), label="words")
    network = Pipeline(
        Tokenize(tokenizer()),
        Pretrain(
            model=encoder(),
            objective=MaskedTokens(MaskPolicy(rate=0.25)),
            optimizer=AdamW(log_uniform(5e-4, 3e-3)),
            schedule=WSD(warmup_steps=20),
            tokens=None,
            flops=flops,
            share=one_of(0.3, 0.5),
        ),
        from_scratch(None, flops),
        label="network",
    )
    if base is None:
        return one_of(words, network, label="way")
    start = FromPretrained(base, ours=True)
    adapted = Pipeline(from_base(start, flops), label="adapted")
    domain = Pipeline(continued(start, flops), from_base(None, flops), label="continued")
    return one_of(adapted, words, network, domain, label="way")


def bag() -> Layer:
    """Embeddings alone: a text is the mean of its words."""
    return Encoder(
        Tokens(width=one_of(128, 256, 512), norm=None, dropout=one_of(0.0, 0.2)), (), norm=None
    )


def from_scratch(model: Layer | None, flops: float, longest: int = LONGEST) -> Stage:
    """Large batches and rates, for weights that know nothing yet."""
    return Adapt(
        objective=objective(),
        optimizer=AdamW(log_uniform(5e-4, 1e-2, name="fresh_rate")),
        epochs=ordered(2, 4, 8, name="fresh_epochs"),
        batch_size=one_of(128, 256, 512, name="fresh_batch"),
        longest=longest,
        flops=ADAPTING * flops,
        model=model,
    )


def from_base(model: Layer | None, flops: float) -> Stage:
    """Rates that change a pretrained model with care."""
    return Adapt(
        objective=objective(),
        optimizer=AdamW(log_uniform(2e-5, 4e-4, name="rate")),
        epochs=ordered(1, 2, 3, name="epochs"),
        batch_size=one_of(64, 128, name="batch"),
        longest=LONGEST,
        flops=ADAPTING * flops,
        model=model,
    )


def objective() -> Objective:
    return Contrastive(scale=one_of(10.0, 20.0, name="scale"))


def retriever() -> Retriever:
    """Vectors alone, or with the terms that query and text share."""
    both = (Nearest(), BM25(split=True))
    return one_of(Nearest(), Fused(both, weight=ordered(0.5, 0.6, 0.7, 0.8, 0.9)))


def starts(base: str | None) -> tuple[dict[str, Any], ...]:
    """Points to begin with."""
    words: dict[str, Any] = {
        "way": "words",
        "way=words.tokenize.tokenizer": "WordPiece",
        "way=words.tokenize.tokenizer=WordPiece.vocabulary": 8192,
        "@fresh_rate": 2e-3,
        "@fresh_epochs": 4,
        "@fresh_batch": 512,
        "@scale": 10.0,
        "way=words.adapt.model.stem.width": 512,
        "way=words.adapt.model.stem.dropout": 0.0,
        "index.retriever": "Fused",
        "index.retriever=Fused.weight": 0.6,
    }
    if base is None:
        dropped = {"way=words.adapt.model.stem.dropout": 0.2, "@fresh_epochs": 8}
        return (words, {**words, **dropped}, {"way": "network", "@fresh_rate": 1e-3})
    adapted = {
        "way": "adapted",
        "@rate": 1e-4,
        "@epochs": 1,
        "@batch": 128,
        "@scale": 20.0,
        "index.retriever": "Fused",
        "index.retriever=Fused.weight": 0.9,
    }
    return (adapted, {**adapted, "@epochs": 2}, words)
