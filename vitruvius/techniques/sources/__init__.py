"""Where the tensors of an edit come from."""

from vitruvius.techniques.sources.free import Free

__all__ = ["Free"]
