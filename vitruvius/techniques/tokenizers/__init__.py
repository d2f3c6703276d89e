"""Tokenizers: texts as numbers, and back."""

from vitruvius.techniques.tokenizers.bpe import BPE
from vitruvius.techniques.tokenizers.bytes import Bytes
from vitruvius.techniques.tokenizers.characters import Characters
from vitruvius.techniques.tokenizers.unigram import Unigram
from vitruvius.techniques.tokenizers.vocabulary import rows
from vitruvius.techniques.tokenizers.word_piece import WordPiece

__all__ = ["BPE", "Bytes", "Characters", "Unigram", "WordPiece", "rows"]
