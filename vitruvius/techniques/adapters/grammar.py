"""Every adapter of one task under one budget, as a space.

Source: He et al. 2022, "Towards a unified view of parameter-efficient transfer learning",
arXiv:2110.04366, section 4.1: methods differ in form, place, order, composition; compared at equal
numbers.
"""

from __future__ import annotations

from typing import Any

from vitruvius.contracts import Adapter
from vitruvius.space import one_of
from vitruvius.techniques.adapters.aside import Aside
from vitruvius.techniques.adapters.bottleneck import Bottleneck
from vitruvius.techniques.adapters.did import DID
from vitruvius.techniques.adapters.head_bottlenecks import HeadBottlenecks
from vitruvius.techniques.adapters.houlsby import Houlsby
from vitruvius.techniques.adapters.low_rank import LowRank
from vitruvius.techniques.adapters.low_rank_sparse import LowRankSparse
from vitruvius.techniques.adapters.mam import MAM
from vitruvius.techniques.adapters.prefix import Prefix
from vitruvius.techniques.adapters.prompts import Prompts
from vitruvius.techniques.adapters.random_entries import RandomEntries
from vitruvius.techniques.adapters.random_tensors import RandomTensors
from vitruvius.techniques.adapters.recalibrate import Recalibrate
from vitruvius.techniques.adapters.said import SAID
from vitruvius.techniques.adapters.tucker import Tucker
from vitruvius.techniques.adapters.uni_pt import UniPT
from vitruvius.techniques.adapters.within import Within

FAMILY: tuple[type[Adapter], ...] = (
    LowRank,
    Tucker,
    LowRankSparse,
    Bottleneck,
    HeadBottlenecks,
    Houlsby,
    Aside,
    Recalibrate,
    Prefix,
    Prompts,
    MAM,
    UniPT,
    SAID,
    DID,
    RandomEntries,
    RandomTensors,
)
"""What has a size that can be set, and asks for one task alone."""


def any_adapter(budget: float = 0.005) -> Any:
    """A space over the whole family: ``Within`` a budget, whichever is taken.

    ``budget`` are numbers that train in the bodies, or below 1 their share of the base's; a domain
    may stand there. All but the size of each is open: its rank, width or length follows from the
    base, so that no point is refused for its size but where the smallest is above the budget.
    """
    return Within(one_of(*(_open(cls) for cls in FAMILY)), budget)


def _open(cls: type[Adapter]) -> Any:
    """All of its choices but its size."""
    return cls.space(**{cls.knob: getattr(cls(), cls.knob)})
