"""Raw documents to what the bodies of a model read."""

from __future__ import annotations

from vitruvius.contracts import Documents, Encoder, Given, Lab, Prepared


def prepare(encoder: Encoder, documents: Documents, lab: Lab) -> Prepared:
    """An encoder with what it learned from the training part."""
    given = Given(rng=lab.generator("encoder"), documents=documents)
    return Prepared(encoder, encoder.fit(given))


def encode(prepared: tuple[Prepared, ...], documents: Documents) -> Documents:
    """Documents as the model's bodies read them."""
    for part in prepared:
        documents = part.encoder.apply(documents, Given(fitted=part.fitted))
    return documents
