"""Heads: from what a network knows of an item to an answer."""

from vitruvius.techniques.heads.answer import Answer
from vitruvius.techniques.heads.embedding import Embedding
from vitruvius.techniques.heads.moments import Moments
from vitruvius.techniques.heads.pair_score import PairScore
from vitruvius.techniques.heads.pooled_readout import PooledReadout
from vitruvius.techniques.heads.readout import Readout
from vitruvius.techniques.heads.with_words import WithWords
from vitruvius.techniques.heads.word_tags import WordTags

__all__ = [
    "Answer",
    "Embedding",
    "Moments",
    "PairScore",
    "PooledReadout",
    "Readout",
    "WithWords",
    "WordTags",
]
