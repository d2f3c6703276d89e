"""Fully connected networks for tables: classes or numbers, any columns.

Source: Gorishniy et al. 2021, "Revisiting deep learning models for tabular data",
arXiv:2106.11959, section 3 (its MLP and ResNet as two options of one space).
Differs from the paper: all hidden layers share one width; categories are one-hot columns.
"""

from __future__ import annotations

from vitruvius.contracts import Layer
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import Repeat, log_uniform, one_of
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import (
    GELU,
    Affine,
    BatchNorm,
    Dropout,
    Identity,
    LayerNorm,
    ReLU,
    Residual,
    Sequential,
    SiLU,
)
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.schedules import Constant, Cosine


def mlp(source: str = "digits", target: str | None = None) -> Pipeline:
    """Networks for tables, and how to train them."""
    return Pipeline(
        Load(source, target),
        Train(
            optimizer=AdamW(
                learning_rate=log_uniform(1e-4, 3e-2), weight_decay=log_uniform(1e-4, 0.3)
            ),
            schedule=one_of(Constant(), Cosine(warmup=one_of(0.0, 0.1))),
            batch_size=one_of(32, 64, 128, 256),
            epochs=40,
            patience=10,
            model=mlp_network(),
            head=Readout(),
        ),
        Evaluate(),
    )


def mlp_network() -> Layer:
    """Hidden layers of one width, plain or residual, that end in features for a readout."""
    block = Sequential(
        Affine(one_of(16, 32, 64, 128, 256, name="width")),
        one_of(Identity(), BatchNorm(), LayerNorm(), name="norm"),
        one_of(ReLU(), GELU(), SiLU(), name="activation"),
        Dropout(one_of(0.0, 0.1, 0.3, 0.5, name="dropout")),
    )
    return Sequential(
        block,
        Repeat(one_of(block, Residual(block), name="path"), times=one_of(0, 1, 2, 4), tied=True),
    )
