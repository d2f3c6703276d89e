"""Residual networks for images, in the space of the first DeepArchitect paper.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, and its released experiments
(the space "resnet").
Differs from the paper: shortcuts pad channels and skip places, but never pad places; a mean over
all places comes before the answer; training is AdamW or SGD with a cosine schedule.
"""

from __future__ import annotations

from vitruvius.contracts import Layer
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import Repeat, either_order, log_uniform, one_of, optional
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import (
    Affine,
    AveragePool,
    BatchNorm,
    Conv,
    Dropout,
    GlobalAveragePool,
    ReLU,
    Residual,
    Sequential,
)
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.techniques.schedules import Cosine

FILTERS = (48, 64, 80, 96, 112, 128)


def resnet(source: str = "digits", target: str | None = None) -> Pipeline:
    """Networks of one or two groups of residual blocks, and how to train them."""
    return Pipeline(
        Load(source, target),
        Train(
            optimizer=one_of(
                AdamW.space(beta1=0.9, beta2=0.999),
                SGD.space(learning_rate=log_uniform(1e-3, 0.3), momentum=0.9, nesterov=True),
            ),
            schedule=Cosine(warmup=0.05),
            batch_size=one_of(32, 64, 128),
            epochs=30,
            patience=10,
            model=resnet_network(classes=None),
            head=Readout(),
        ),
        Evaluate(),
    )


def resnet_network(classes: int | None = 10) -> Layer:
    """A group of residual blocks, perhaps a second one of double width at half the places.

    With ``classes`` it ends in as many logits, else in features for a readout.
    """
    second = Sequential(
        AveragePool(2, padding="same"),
        group(tuple(2 * filters for filters in FILTERS)),
    )
    last = (GlobalAveragePool(),) if classes is None else (GlobalAveragePool(), Affine(classes))
    return Sequential(group(FILTERS), optional(second, label="second"), *last)


def group(filters: tuple[int, ...]) -> Layer:
    """1, 2, 4 or 8 residual blocks, each decided on its own."""
    return Sequential(Repeat(block(filters), times=one_of(1, 2, 4, 8)), label="group")


def block(filters: tuple[int, ...]) -> Layer:
    """A residual connection around equal convolutions and a last one, which may skip places."""
    inner = Sequential(
        Conv(one_of(*filters), kernel=one_of(1, 3, 5)), either_order(BatchNorm(), ReLU())
    )
    body = Sequential(
        Repeat(inner, times=one_of(1, 2, 4), tied=True),
        Conv(one_of(*filters), kernel=one_of(1, 3, 5), stride=one_of(1, 3, 5)),
    )
    return Sequential(Residual(body), optional(Dropout(one_of(0.1, 0.5))))
