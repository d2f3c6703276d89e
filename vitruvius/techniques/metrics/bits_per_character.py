"""How well a model predicts texts, whatever its tokens are.

Source: Shannon 1951, "Prediction and Entropy of Printed English", Bell System Technical Journal 30;
per character, so that tokenizers compare: Graves 2013, arXiv:1308.0850, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, numbers_of


@dataclass(frozen=True)
class BitsPerCharacter(Scored):
    """sum(nats) / (ln 2 sum(characters)): values are the nats of each text [N], targets its length.

    Of a model that hides tokens the nats are of its pseudo-likelihood, which compares with others
    of its kind alone.
    """

    name: ClassVar[str] = "bits_per_character"
    better: ClassVar[Better] = "lower"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        nats, characters = (column[:, 0] for column in numbers_of(self, predictions))
        if characters.sum() <= 0:
            raise ValueError("BitsPerCharacter needs texts with a character; all are empty.")
        bits = nats / math.log(2)
        value = float(bits.sum() / characters.sum())
        return value, (bits - value * characters) / characters.mean()
