"""Bytes of UTF-8 as tokens.

Source: Xue et al. 2022, "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models",
arXiv:2105.13626, section 3.1.
Differs from the paper: 7 special ids before the bytes in place of 3, and no ids for spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import SPECIALS, Array, Codec, Encoding, Fitted, Tokenizer
from vitruvius.techniques.tokenizers.words import begins, numbered


@dataclass(frozen=True)
class Bytes(Tokenizer):
    """Each byte of UTF-8 is a token: 256 of them after the 7 specials, nothing to train.

    Loses nothing of any text. Sequences are as long as the text has bytes.
    """

    def build(self, fitted: Fitted | None) -> Codec:
        return BytesCodec()


class BytesCodec:
    """Token = byte + 7."""

    lossless = True
    digest = "bytes"

    @property
    def vocabulary(self) -> int:
        return len(SPECIALS) + 256

    def tokens(self) -> tuple[str, ...]:
        """ASCII as itself, other bytes as <0xE9>."""
        shown = (chr(b) if 32 <= b < 127 else f"<0x{b:02X}>" for b in range(256))
        return (*SPECIALS, *shown)

    def encode(self, text: str) -> Encoding:
        content = np.frombuffer(_encoded(text), np.uint8)
        first = (content & 0xC0) != 0x80  # of a character
        at = (np.cumsum(first) - 1).tolist()
        ids = (content.astype(np.int64) + len(SPECIALS)).tolist()
        return Encoding(
            tuple(ids), tuple((place, place + 1) for place in at), numbered(begins(content))
        )

    def encode_many(
        self, texts: Sequence[str], words: bool = False
    ) -> list[tuple[Array, Array | None]]:
        """Ids, and where words begin if asked for, of each text."""
        found: list[tuple[Array, Array | None]] = []
        for text in texts:
            content = np.frombuffer(_encoded(text), np.uint8)
            ids = content.astype(np.uint16) + np.uint16(len(SPECIALS))
            found.append((ids, begins(content) if words else None))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        content = bytes(i - len(SPECIALS) for i in ids if i >= len(SPECIALS))
        try:
            return content.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # cut within a character, or made by a model
            return content.decode("utf-8", "replace")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
