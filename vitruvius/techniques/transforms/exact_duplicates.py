"""Removal of exact duplicates.

Source: Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better",
arXiv:2107.06499, section 4.
Differs from the paper: whole documents, not substrings.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vitruvius.contracts import Documents, Given, Transform
from vitruvius.space import hyper, one_of
from vitruvius.techniques.transforms.kept import kept


@dataclass(frozen=True)
class ExactDuplicates(Transform):
    """Of documents with the same text the first is kept.

    With ``loose`` texts are the same that differ in case, white space or Unicode form alone. Takes
    16 bytes of memory for each document.
    """

    loose: bool = hyper(True, one_of(True, False), "case and white space do not count")

    needs: ClassVar[tuple[str, ...]] = ()

    def apply(self, documents: Documents, given: Given) -> Documents:
        seen: set[bytes] = set()
        rows = []
        column = documents.payload["text"]
        for row in range(len(documents)):
            text = str(column[row])
            if self.loose:
                text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
            content = text.encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(content, digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                rows.append(row)
        return kept(documents, np.array(rows, np.int64))
