"""For tests: shapes and types of annotations, checked at every call.

In a conftest, before anything of the package is imported::

    from jaxtyping import install_import_hook
    import vitruvius.testing

    install_import_hook("vitruvius.techniques", "vitruvius.testing.checked")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def checked(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations checked. Constructors stay: fields may hold domains."""
    from beartype import beartype  # for tests alone: not among what a user installs

    return f if getattr(f, "__name__", "") == "__init__" else beartype(f)
