"""Input preparation, fitted on the training part alone and kept with the model."""

from vitruvius.techniques.encoders.columns import Columns
from vitruvius.techniques.encoders.pixels import Pixels
from vitruvius.techniques.encoders.shortened import Shortened

__all__ = ["Columns", "Pixels", "Shortened"]
