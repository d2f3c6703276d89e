"""Views: random pictures of the same items, anew in each step."""

from vitruvius.techniques.views.image_view import ImageView

__all__ = ["ImageView"]
