"""An encoder of a domain's texts, from the texts alone: what predicts held-out texts best.

Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, section 3.1; judged as in Salazar et al. 2020,
"Masked Language Model Scoring", arXiv:1910.14659.
"""

from __future__ import annotations

from typing import Any

from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining import Pretrain
from vitruvius.pipeline.tokenizing import Tokenize
from vitruvius.recipes._from_texts import (
    FLOPS,
    LONGEST,
    encoder,
    pretraining_optimizer,
    tokenizer,
)
from vitruvius.space import log_uniform, one_of
from vitruvius.techniques.objectives import MaskedTokens
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.policies import MaskPolicy
from vitruvius.techniques.schedules import WSD


def domain_encoder(
    source: str = "texts",
    target: str | None = None,
    *,
    base: str | None = None,
    flops: float = FLOPS,
) -> Pipeline:
    """``source`` is a corpus, ``base`` a pretrained model to go on from instead of from scratch;
    ``flops`` are those of a trial."""
    objective = MaskedTokens(MaskPolicy(rate=one_of(0.15, 0.25, 0.4)))
    schedule = WSD(warmup_steps=20)
    length = {"tokens": None, "flops": flops, "share": 1.0, "longest": LONGEST}
    if base is not None:
        way = Pretrain(
            model=FromPretrained(base, ours=True),
            objective=objective,
            optimizer=AdamW(log_uniform(3e-5, 1e-3)),
            schedule=schedule,
            **length,
        )
        return Pipeline(LoadTexts(source), way, Evaluate())
    way = Pretrain(
        model=encoder(),
        objective=objective,
        optimizer=pretraining_optimizer(),
        schedule=schedule,
        **length,
    )
    return Pipeline(LoadTexts(source), Tokenize(tokenizer()), way, Evaluate())


def starts(base: str | None) -> tuple[dict[str, Any], ...]:
    """Points to begin with."""
    rate = {"pretrain.objective.policy.rate": 0.25}
    if base is not None:
        return ({**rate, "pretrain.optimizer.learning_rate": 3e-4},)
    network = {"pretrain.model.stem.width": 192, "pretrain.model.blocks.repeat.times": 2}
    return ({**rate, **network, "pretrain.optimizer": "AdamW"},)
