"""Adapters: what of a pretrained model trains on a task, and what trains beside it."""

from vitruvius.techniques.adapters.aside import Aside
from vitruvius.techniques.adapters.bit_fit import BitFit
from vitruvius.techniques.adapters.bottleneck import Bottleneck
from vitruvius.techniques.adapters.did import DID
from vitruvius.techniques.adapters.domain_mixture import DomainMixture
from vitruvius.techniques.adapters.full_tuning import FullTuning
from vitruvius.techniques.adapters.head_bottlenecks import HeadBottlenecks
from vitruvius.techniques.adapters.houlsby import Houlsby
from vitruvius.techniques.adapters.last_layers import LastLayers
from vitruvius.techniques.adapters.layer_mix import LayerMix
from vitruvius.techniques.adapters.linear_probe import LinearProbe
from vitruvius.techniques.adapters.low_rank import LowRank
from vitruvius.techniques.adapters.low_rank_sparse import LowRankSparse
from vitruvius.techniques.adapters.low_rank_twin import LowRankTwin
from vitruvius.techniques.adapters.mam import MAM
from vitruvius.techniques.adapters.polyhistor import Polyhistor
from vitruvius.techniques.adapters.polyhistor_lite import PolyhistorLite
from vitruvius.techniques.adapters.prefix import Prefix
from vitruvius.techniques.adapters.prompts import Prompts
from vitruvius.techniques.adapters.random_entries import RandomEntries
from vitruvius.techniques.adapters.random_tensors import RandomTensors
from vitruvius.techniques.adapters.recalibrate import Recalibrate
from vitruvius.techniques.adapters.said import SAID
from vitruvius.techniques.adapters.together import Together
from vitruvius.techniques.adapters.tucker import Tucker
from vitruvius.techniques.adapters.uni_pt import UniPT
from vitruvius.techniques.adapters.within import Within

__all__ = [
    "DID",
    "MAM",
    "SAID",
    "Aside",
    "BitFit",
    "Bottleneck",
    "DomainMixture",
    "FullTuning",
    "HeadBottlenecks",
    "Houlsby",
    "LastLayers",
    "LayerMix",
    "LinearProbe",
    "LowRank",
    "LowRankSparse",
    "LowRankTwin",
    "Polyhistor",
    "PolyhistorLite",
    "Prefix",
    "Prompts",
    "RandomEntries",
    "RandomTensors",
    "Recalibrate",
    "Together",
    "Tucker",
    "UniPT",
    "Within",
]
