"""Which sites a part of an adapter is given."""

from __future__ import annotations

from collections.abc import Sequence

from vitruvius.contracts import Part, Sites, WeightDelta
from vitruvius.train.sites import Located, chosen

EVERYWHERE = Sites(kinds=())


def sites_of(
    part: Part, found: Sequence[Located], parameters: Sequence[Located]
) -> Sequence[Located]:
    """Of all that ``locate`` found; of a delta everywhere, every parameter."""
    if isinstance(part.edit, WeightDelta) and part.sites == EVERYWHERE:
        return parameters
    return chosen(part.sites, found)
