"""Raw documents to what the bodies of a model read."""

from __future__ import annotations

import hashlib

from vitruvius.contracts import Documents, Encoder, Given, Lab, Prepared
from vitruvius.space import to_json
from vitruvius.train.checkpoint import digest_of


def prepare(encoder: Encoder, documents: Documents, lab: Lab) -> Prepared:
    """An encoder with what it learned from the training part."""
    given = Given(rng=lab.generator("encoder"), documents=documents)
    return Prepared(encoder, encoder.fit(given))


def encode(prepared: tuple[Prepared, ...], documents: Documents) -> Documents:
    """Documents as the model's bodies read them."""
    for part in prepared:
        documents = part.encoder.apply(documents, Given(fitted=part.fitted))
    return documents


def digest_of_prepared(prepared: tuple[Prepared, ...]) -> str:
    """Of the encoders and what they learned; equal ones prepare alike."""
    told = [
        (to_json(part.encoder), sorted(part.fitted.values.items()), digest_of(part.fitted.tensors))
        for part in prepared
    ]
    return hashlib.sha256(ascii(told).encode()).hexdigest()
