"""The seam for networks that come with weights."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from vitruvius.contracts.records import Model
from vitruvius.contracts.roles import Layer


@dataclass(frozen=True)
class Pretrained(Layer):
    """A network that brings weights, tokenizer and lineage of its own.

    It stands where a layer stands. ``build`` gives its body on meta, for parameters and FLOPs; who
    wants to use it calls ``load`` in place of filling that one.
    """

    @abstractmethod
    def load(self) -> Model:
        """Body "input", tokenizer, and a lineage with the digest of its weights as ``base``."""
