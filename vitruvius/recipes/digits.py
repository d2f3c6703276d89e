"""Small convolutional networks for small images such as handwritten digits of 8 x 8 pixels.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 4 (its example of a
space), at a size that a CPU trains in seconds.
"""

from __future__ import annotations

from vitruvius.contracts import Layer, Optimizer
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import Repeat, either_order, log_uniform, one_of, optional
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import (
    Affine,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
)
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.techniques.schedules import Constant, Cosine


def digits(source: str = "digits", target: str | None = None) -> Pipeline:
    """Networks for small images, and how to train them."""
    return Pipeline(
        Load(source, target),
        Train(
            optimizer=optimizer(),
            schedule=one_of(Constant(), Cosine(warmup=one_of(0.0, 0.1))),
            batch_size=one_of(32, 64, 128),
            epochs=12,
            model=digits_network(classes=None),
            head=Readout(),
        ),
        Evaluate(),
    )


def digits_network(classes: int | None = 10) -> Layer:
    """Convolutions at full size, then at half of it around a residual connection.

    With ``classes`` it ends in as many logits, else in features for a readout.
    """
    width = one_of(16, 32, 64, name="width")
    network = (
        Repeat(block(one_of(8, 16, 32)), times=one_of(1, 2)),
        MaxPool(2),
        block(width),
        optional(Residual(block(width)), label="skip"),
        one_of(GlobalAveragePool(), Flatten(), label="pool"),
        optional(
            Sequential(Affine(one_of(32, 64)), ReLU(), Dropout(one_of(0.1, 0.3, 0.5))),
            label="hidden",
        ),
    )
    return Sequential(*network) if classes is None else Sequential(*network, Affine(classes))


def block(filters: int) -> Layer:
    """Convolution, activation and norm in either order, perhaps dropout."""
    return Sequential(
        Conv(filters, kernel=one_of(3, 5)),
        either_order(ReLU(), BatchNorm()),
        optional(Dropout(one_of(0.1, 0.25))),
    )


def optimizer() -> Optimizer:
    """AdamW or SGD with momentum, at rates from too small to too large."""
    return one_of(
        AdamW(learning_rate=log_uniform(1e-4, 3e-2)),
        SGD(learning_rate=log_uniform(1e-3, 1.0), weight_decay=log_uniform(1e-5, 1e-3)),
    )
