"""Adapters: what of a pretrained model trains on a task, and what trains beside it."""

from vitruvius.techniques.adapters.bit_fit import BitFit
from vitruvius.techniques.adapters.bottleneck import Bottleneck
from vitruvius.techniques.adapters.did import DID
from vitruvius.techniques.adapters.full_tuning import FullTuning
from vitruvius.techniques.adapters.last_layers import LastLayers
from vitruvius.techniques.adapters.linear_probe import LinearProbe
from vitruvius.techniques.adapters.low_rank import LowRank
from vitruvius.techniques.adapters.polyhistor import Polyhistor
from vitruvius.techniques.adapters.polyhistor_lite import PolyhistorLite
from vitruvius.techniques.adapters.prefix import Prefix
from vitruvius.techniques.adapters.prompts import Prompts
from vitruvius.techniques.adapters.said import SAID
from vitruvius.techniques.adapters.together import Together

__all__ = [
    "DID",
    "SAID",
    "BitFit",
    "Bottleneck",
    "FullTuning",
    "LastLayers",
    "LinearProbe",
    "LowRank",
    "Polyhistor",
    "PolyhistorLite",
    "Prefix",
    "Prompts",
    "Together",
]
