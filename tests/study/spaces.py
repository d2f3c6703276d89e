"""Small spaces over real digits that train in a blink, for tests of the study."""

from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import one_of
from vitruvius.techniques.layers import Affine, Conv, Flatten, ReLU, Sequential
from vitruvius.techniques.optimizers import SGD, AdamW


def tiny(epochs: int = 1) -> Pipeline:
    """36 designs of one hidden layer."""
    return Pipeline(
        Load("digits"),
        Train(
            optimizer=one_of(AdamW(one_of(1e-3, 1e-2, 3e-2)), SGD(one_of(0.01, 0.1, 0.5))),
            batch_size=one_of(64, 128),
            epochs=epochs,
            model=Sequential(Flatten(), Affine(one_of(8, 16, 32)), ReLU(), Affine(10)),
        ),
        Evaluate(),
    )


def holed() -> Pipeline:
    """Half of its 16 designs cannot be built: a convolution after everything is flat."""
    network = Sequential(
        one_of(Flatten(), Conv(4)), Conv(one_of(2, 4), one_of(1, 2, 3, 5)), Flatten(), Affine(10)
    )
    return Pipeline(Load("digits"), Train(epochs=1, model=network), Evaluate())


def unbuildable() -> Pipeline:
    """No design can be built."""
    network = Sequential(Flatten(), Conv(one_of(2, 4)), Affine(10))
    return Pipeline(Load("digits"), Train(epochs=1, model=network), Evaluate())


def broken() -> Pipeline:
    """Every training diverges."""
    network = Sequential(Flatten(), Affine(one_of(8, 16)), Affine(10))
    optimizer = SGD(learning_rate=1e12, momentum=one_of(0.5, 0.9, 0.95, 0.99), weight_decay=0.0)
    train = Train(optimizer=optimizer, batch_size=one_of(32, 64, 128, 256), epochs=3, model=network)
    return Pipeline(Load("digits"), train, Evaluate())
