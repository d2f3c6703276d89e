"""Removal of near duplicates by MinHash.

Source: Broder 1997, "On the Resemblance and Containment of Documents"; bands: Leskovec, Rajaraman &
Ullman, "Mining of Massive Datasets", section 3.4.
Differs from the paper: a pair that shares a band counts when its signatures agree in so many places
as the threshold asks for; whole clusters of such pairs are one, by way of the document that first
showed the band.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import Array, Documents, Given, Transform
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.transforms.kept import kept

PRIME = (1 << 31) - 1  # of the hash family (a h + b) mod p
SEED = 0
# Letters of scripts that put no space between words count one by one.
WORD = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff]|\\w+")


@dataclass(frozen=True)
class NearDuplicates(Transform):
    """Of documents whose sets of word n-grams are alike the first is kept.

    Alike: |A and B| / |A or B| is estimated at ``threshold`` or above, as the share of
    ``signature`` minimal hashes that agree (standard error at most 1 / (2 sqrt(signature))). Takes
    4 * signature bytes of memory and one pass for each document.
    """

    threshold: float = hyper(0.8, uniform(0.5, 0.95), "share of n-grams in common")
    words: int = hyper(5, one_of(3, 5, 8), "words of an n-gram")
    signature: int = hyper(128, one_of(64, 128, 256), "minimal hashes of a document")

    def check(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(
                f"NearDuplicates.threshold must be above 0 and at most 1; got {self.threshold}."
            )
        if self.words < 1 or self.signature < 16:
            raise ValueError(
                "NearDuplicates needs at least 1 word and a signature of at least 16; "
                f"got words={self.words}, signature={self.signature}."
            )

    def apply(self, documents: Documents, given: Given) -> Documents:
        cluster = kin(documents, self.threshold, self.words, self.signature)
        return kept(documents, np.flatnonzero(cluster == np.arange(len(documents))))


def kin(
    documents: Documents, threshold: float = 0.8, words: int = 5, signature: int = 128
) -> Array:
    """The first document of the cluster of near duplicates of each, [N]; itself where it is alone.

    Clusters are closed under likeness: what is like a member is a member.
    """
    column = documents.payload["text"]
    signatures = np.empty((len(documents), signature), np.uint32)
    a, b = _family(signature)
    for row in range(len(documents)):
        signatures[row] = minimal_hashes(shingles(str(column[row]), words), a, b)
    return _clusters(signatures, threshold)


def words_of(text: str) -> list[str]:
    """Its words without regard to case and Unicode form, as n-grams count them."""
    return WORD.findall(_normal(text))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def shingles(text: str, words: int) -> Array:
    """Hashes below 2^31 - 1 of the different n-grams of words, uint64; of a short text its all."""
    found = words_of(text) or [" ".join(_normal(text).split())]
    codes = np.array([zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in found], np.uint64)
    length = max(len(codes) - words + 1, 1)
    mixed = np.zeros(length, np.uint64)
    for offset in range(min(words, len(codes))):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + length]
        mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.unique((mixed >> np.uint64(33)) % np.uint64(PRIME))


def minimal_hashes(shingled: Array, a: Array, b: Array) -> Array:
    """min over h of (a h + b) mod (2^31 - 1), for each hash function; uint32 [functions]."""
    least = np.full(len(a), PRIME, np.uint64)
    for start in range(0, len(shingled), 512):
        values = np.outer(a, shingled[start : start + 512]) + b[:, None]
        values = (values & np.uint64(PRIME)) + (values >> np.uint64(31))  # mod p, up to one p
        values = np.where(values >= PRIME, values - np.uint64(PRIME), values)
        least = np.minimum(least, values.min(1))
    return least.astype(np.uint32)


def _family(functions: int) -> tuple[Array, Array]:
    rng = np.random.Generator(np.random.PCG64(SEED))
    a = rng.integers(1, PRIME, functions, np.uint64)
    return a, rng.integers(0, PRIME, functions, np.uint64)


def _rows_of_a_band(signature: int, threshold: float) -> int:
    """The most rows with which a pair at the threshold shares a band with 0.999 or more."""
    for rows in range(16, 1, -1):
        bands = signature // rows
        if 1 - (1 - threshold**rows) ** bands >= 0.999:
            return rows
    return 1


def _clusters(signatures: Array, threshold: float) -> Array:
    """Union over all bands of those whose signatures agree often enough."""
    count, length = signatures.shape
    parent = np.arange(count)
    rows = _rows_of_a_band(length, threshold)
    needed = math.ceil(threshold * length - 1e-9)
    for start in range(0, length - rows + 1, rows):
        band = np.ascontiguousarray(signatures[:, start : start + rows])
        keys = band.view(np.dtype((np.void, band.itemsize * rows))).reshape(-1)
        order = np.argsort(keys, kind="stable")
        for members in _runs(keys[order], order):
            _join(members, signatures, needed, parent)
    return np.array([_root(parent, row) for row in range(count)], np.int64)


def _runs(keys: Array, order: Array) -> list[Array]:
    """Rows that share a key, where there are at least two."""
    if len(keys) < 2:
        return []
    edges = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    sizes = np.diff(np.append(edges, len(keys)))
    return [order[e : e + n] for e, n in zip(edges, sizes, strict=True) if n > 1]


def _join(members: Array, signatures: Array, needed: int, parent: Array) -> None:
    """Each member that is not yet of a cluster seen here is compared with those that lead one."""
    left = members
    while len(left) > 1:
        first, others = int(left[0]), left[1:]
        alike = (signatures[others] == signatures[first]).sum(1) >= needed
        for other in others[alike].tolist():
            one, two = sorted((_root(parent, first), _root(parent, other)))
            parent[two] = one
        left = others[~alike]


def _root(parent: Array, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row
