"""Deep convolutional networks for images, in the space of the first DeepArchitect paper.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 7 and its released
experiments (the space "deepconv" with the light training hyperparameters).
Differs from the paper: images are not cropped and flipped, and a training has at most 100 epochs in
place of 30 minutes.
"""

from __future__ import annotations

from vitruvius.contracts import Layer, Optimizer
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import Repeat, either_order, one_of, optional
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import (
    Affine,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    ReLU,
    Sequential,
)
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.techniques.schedules import Plateau


def deepconv(source: str = "digits", target: str | None = None) -> Pipeline:
    """60,466,176 networks times 128 ways to train them."""
    return Pipeline(
        Load(source, target),
        Train(
            optimizer=optimizer(),
            schedule=Plateau(factor=one_of(0.1, 0.5), patience=one_of(4, 8, 16, 32), floor=1e-6),
            batch_size=64,
            epochs=100,
            patience=64,
            model=deepconv_network(classes=None),
            head=Readout(),
        ),
        Evaluate(),
    )


def deepconv_network(classes: int | None = 10) -> Layer:
    """Two strided convolutions, each followed by up to 32 equal blocks.

    With ``classes`` it ends in as many logits, else in features for a readout.
    """
    early = (48, 64, 80, 96, 112, 128)
    late = (96, 128, 160, 192, 224, 256)
    return Sequential(
        Conv(one_of(*early), kernel=one_of(3, 5, 7), stride=2),
        blocks(early, "early"),
        Conv(one_of(*late), kernel=one_of(3, 5, 7), stride=2),
        blocks(late, "late"),
        Flatten() if classes is None else Affine(classes),
    )


def blocks(filters: tuple[int, ...], label: str) -> Layer:
    """1 to 32 copies of one decided block: convolution, activation and norm, perhaps dropout."""
    block = Sequential(
        Conv(one_of(*filters), kernel=one_of(3, 5)),
        either_order(ReLU(), BatchNorm()),
        optional(Dropout(one_of(0.1, 0.5))),
    )
    return Sequential(Repeat(block, times=one_of(1, 2, 4, 8, 16, 32), tied=True), label=label)


def optimizer() -> Optimizer:
    """Adam, or SGD with much momentum, at one of eight rates from 1e-2 to 1e-7."""
    rate = one_of(1e-2, 2e-3, 4e-4, 7e-5, 1.4e-5, 2.7e-6, 5e-7, 1e-7)
    return one_of(
        AdamW(learning_rate=rate, weight_decay=0.0),
        SGD(learning_rate=rate, momentum=0.99, weight_decay=0.0, nesterov=False),
    )
