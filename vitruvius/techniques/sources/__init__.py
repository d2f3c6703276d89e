"""Where the tensors of an edit come from."""

from vitruvius.techniques.sources.fixed import Fixed
from vitruvius.techniques.sources.free import Free
from vitruvius.techniques.sources.generated import Generated
from vitruvius.techniques.sources.loaded import Loaded
from vitruvius.techniques.sources.projected import Projected
from vitruvius.techniques.sources.reparametrised import Reparametrised

__all__ = [
    "Fixed",
    "Free",
    "Generated",
    "Loaded",
    "Projected",
    "Reparametrised",
]
