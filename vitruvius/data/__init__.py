"""Data a user has: tables, folders of images, arrays, corpora of text; and how they are split."""

from vitruvius.data.apart import without
from vitruvius.data.corpora import open_texts
from vitruvius.data.errors import DataError
from vitruvius.data.functions import open_code, open_functions
from vitruvius.data.labelled import open_labelled
from vitruvius.data.labels import label_texts
from vitruvius.data.loaded import Loaded, Medium, description
from vitruvius.data.opening import open_data, read_inputs
from vitruvius.data.splits import split
from vitruvius.data.text_splits import split_texts
from vitruvius.data.tokens import tokenise

__all__ = [
    "DataError",
    "Loaded",
    "Medium",
    "description",
    "label_texts",
    "open_code",
    "open_data",
    "open_functions",
    "open_labelled",
    "open_texts",
    "read_inputs",
    "split",
    "split_texts",
    "tokenise",
    "without",
]
