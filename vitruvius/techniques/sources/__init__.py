"""Where the tensors of an edit come from."""

from vitruvius.techniques.sources.free import Free
from vitruvius.techniques.sources.generated import Generated
from vitruvius.techniques.sources.loaded import Loaded
from vitruvius.techniques.sources.projected import Projected

__all__ = ["Free", "Generated", "Loaded", "Projected"]
