"""Adapters: what of a pretrained model trains on a task."""

from vitruvius.techniques.adapters.bit_fit import BitFit
from vitruvius.techniques.adapters.full_tuning import FullTuning
from vitruvius.techniques.adapters.last_layers import LastLayers
from vitruvius.techniques.adapters.linear_probe import LinearProbe

__all__ = ["BitFit", "FullTuning", "LastLayers", "LinearProbe"]
