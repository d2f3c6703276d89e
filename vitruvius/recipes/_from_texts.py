"""Ways from texts to a model that recipes share: from scratch, continued, or adapted as it is."""

from __future__ import annotations

from typing import Any

from vitruvius.contracts import Layer, Objective, Optimizer, Stage
from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining import Pretrain
from vitruvius.pipeline.tokenizing import Tokenize
from vitruvius.space import Repeat, log_uniform, one_of, ordered
from vitruvius.techniques.layers import Attention, Block, Encoder, FeedForward, Rotary, Tokens
from vitruvius.techniques.objectives import (
    LogitAdjusted,
    MaskedTokens,
    ReplacedTokens,
    Supervised,
)
from vitruvius.techniques.optimizers import AdamW, Muon
from vitruvius.techniques.policies import MaskPolicy
from vitruvius.techniques.schedules import WSD
from vitruvius.techniques.tokenizers import BPE, WordPiece

FLOPS = 2e12  # of a trial, where nobody says: about a minute on one core
ADAPTING = 7.0  # of these, what fitting a model to the labels may take at most
LONGEST = 128


def tokenizer() -> Any:
    """Pieces of words, few enough that each is seen often."""
    vocabulary = one_of(2048, 4096, 8192)
    return one_of(WordPiece(vocabulary), BPE(vocabulary))


def encoder() -> Layer:
    """A small encoder that ModernBERT's class can load."""
    feed_forward = FeedForward(ratio=2.0, gated=True, bias=False)
    block = Block(Attention(heads=4, bias=False), feed_forward)
    blocks: Any = (Repeat(block, times=one_of(2, 3, 4), tied=True),)
    return Encoder(
        stem=Tokens(width=one_of(128, 192, 256)),
        blocks=blocks,
        positions=Rotary(),
    )


def objective() -> Objective:
    """Hidden tokens guessed, or replaced ones told."""
    return one_of(
        MaskedTokens(MaskPolicy(rate=one_of(0.15, 0.25, 0.4))),
        ReplacedTokens(),
    )


def pretraining_optimizer() -> Optimizer:
    return one_of(AdamW(log_uniform(3e-4, 5e-3)), Muon(log_uniform(3e-3, 3e-2)))


def ways(adapt: Any, flops: float, base: str | None) -> Any:
    """What stands between the texts and the evaluation: with ``base`` mostly what begins there.

    ``adapt`` gives the stage for a model, or for None: that of the stage before.
    """
    from_scratch = Pipeline(
        Tokenize(tokenizer()),
        Pretrain(
            model=encoder(),
            objective=objective(),
            optimizer=pretraining_optimizer(),
            schedule=WSD(warmup_steps=20),
            tokens=None,
            flops=flops,
            share=one_of(0.3, 0.5, 0.7),
            longest=LONGEST,
        ),
        *adapt(None),
        label="scratch",
    )
    if base is None:
        return from_scratch
    network = FromPretrained(base, ours=True)
    return one_of(
        Pipeline(*adapt(network), label="adapted"),
        Pipeline(continued(network, flops), *adapt(None), label="continued"),
        from_scratch,
        label="way",
    )


def continued(network: Layer, flops: float) -> Stage:
    """A pretrained model goes on with the domain's texts."""
    return Pretrain(
        model=network,
        objective=MaskedTokens(MaskPolicy(rate=one_of(0.15, 0.3))),
        optimizer=AdamW(log_uniform(3e-5, 1e-3)),
        schedule=WSD(warmup_steps=20),
        tokens=None,
        flops=flops,
        share=one_of(0.3, 0.5),
        longest=LONGEST,
    )


def starts(base: str | None) -> tuple[dict[str, Any], ...]:
    """What a person would try first, in that order: points, of which what does not fit is drawn."""
    scratch = {
        "tokenize.tokenizer": "WordPiece",
        "tokenize.tokenizer=WordPiece.vocabulary": 8192,
        "pretrain.objective": "MaskedTokens",
        "pretrain.objective=MaskedTokens.policy.rate": 0.25,
        "pretrain.optimizer": "AdamW",
        "pretrain.optimizer=AdamW.learning_rate": 2e-3,
        "pretrain.share": 0.5,
        "pretrain.model.stem.width": 192,
        "pretrain.model.blocks.repeat.times": 2,
    }
    adapt: dict[str, Any] = {"@adapter": "FullTuning", "@adapt_objective": "LogitAdjusted"}
    adapt["@adapter=FullTuning.embeddings"] = base is None
    adapt["@adapt_batch"] = 16
    if base is None:
        first = {f"scratch.{address}": label for address, label in scratch.items()}
        return tuple(
            {**first, **adapt, "@adapt_epochs": epochs, "@adapt_rate": rate}
            for epochs, rate in ((6, 1e-3), (12, 5e-4))
        )
    found = [
        {
            "way": "adapted",
            **adapt,
            "@adapt_epochs": epochs,
            "@adapt_rate": rate,
            "@adapt_objective": objective,
        }
        for epochs, rate, objective in (
            (6, 2e-4, "LogitAdjusted"),
            (6, 3e-4, "Supervised"),
            (12, 1e-4, "LogitAdjusted"),
        )
    ]
    continued = {
        "way": "continued",
        "way=continued.pretrain.objective.policy.rate": 0.15,
        "way=continued.pretrain.share": 0.5,
        "way=continued.pretrain.optimizer.learning_rate": 3e-4,
    }
    return (*found, {**found[0], **continued})


def adapting(flops: float, adapters: Any, longest: int = LONGEST, heads: Any = None) -> Any:
    """Gives the stage that fits a model to the labels, its choices the same whichever way leads
    there."""

    def stages(model: Layer | None) -> tuple[Stage, ...]:
        stage = Adapt(
            adapter=adapters,
            objective=one_of(Supervised(), LogitAdjusted(), name="adapt_objective"),
            optimizer=AdamW(log_uniform(5e-5, 2e-3, name="adapt_rate")),
            epochs=ordered(3, 6, 12, name="adapt_epochs"),
            batch_size=one_of(16, 32, name="adapt_batch"),
            longest=longest,
            flops=ADAPTING * flops,
            head=heads,
            model=model,
        )
        return (stage,)

    return stages
