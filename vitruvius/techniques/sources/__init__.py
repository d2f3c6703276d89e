"""Where the tensors of an edit come from."""

from vitruvius.techniques.sources.fixed import Fixed
from vitruvius.techniques.sources.free import Free
from vitruvius.techniques.sources.reparametrised import Reparametrised

__all__ = ["Fixed", "Free", "Reparametrised"]
