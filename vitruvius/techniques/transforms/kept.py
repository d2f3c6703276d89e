"""Documents with some rows left out, and where each of the rest came from."""

from __future__ import annotations

from vitruvius.contracts import Array, Documents


def kept(documents: Documents, rows: Array) -> Documents:
    """These rows; "origin" is the row in the first documents of a chain of transforms."""
    left = documents.take(rows)
    return left if "origin" in left.attributes else left.annotate({"origin": rows})
