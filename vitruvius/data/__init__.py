"""Data a user has: tables, folders of images, arrays; and how they are split."""

from vitruvius.data.errors import DataError
from vitruvius.data.loaded import Loaded, Medium, description
from vitruvius.data.opening import open_data, read_inputs
from vitruvius.data.splits import split

__all__ = ["DataError", "Loaded", "Medium", "description", "open_data", "read_inputs", "split"]
