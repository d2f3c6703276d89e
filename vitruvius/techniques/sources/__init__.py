"""Sources: where the tensors of an adapter come from."""

from vitruvius.techniques.sources.generated import Generated
from vitruvius.techniques.sources.projected import Projected

__all__ = ["Generated", "Projected"]
