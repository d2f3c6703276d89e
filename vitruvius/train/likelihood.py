"""How surprised a model is by texts, in nats: of what it was pretrained on.

Sources: of a decoder, the chain rule; of a model that hides tokens, the pseudo-log-likelihood of
Salazar et al. 2020, "Masked Language Model Scoring", arXiv:1910.14659, section 2.
Differs from the paper: every seventh token is hidden at a time, so that 7 passes are enough.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitruvius.contracts import Batch, Documents, Model, Predictions
from vitruvius.data.packing import Packed
from vitruvius.data.tokens import tokenise
from vitruvius.techniques.objectives.token_head import surprise, table_of
from vitruvius.techniques.policies.mask_policy import special
from vitruvius.train.predicting import evaluating, slots
from vitruvius.train.reading import frame_of, longest_of
from vitruvius.train.text_feeding import TextFeed

APART = 7  # tokens between two that are hidden at once


def surprises(
    model: Model, documents: Documents, device: torch.device, precision: torch.dtype
) -> Predictions:
    """Nats of each text [N], and its characters as target. Longer texts are read in parts.

    Raises ValueError where the model has no head that predicts tokens.
    """
    codec = model.tokenizer
    if codec is None or not {"lm", "mlm"} & model.heads.keys():
        raise ValueError(
            "This model predicts no tokens: it has neither a head 'mlm' nor 'lm'. "
            "Pretrain it on MaskedTokens() or NextToken()."
        )
    longest, frame = longest_of(model), frame_of(codec)
    feed = TextFeed.of(tokenise(documents, codec), longest, device, packer=Packed(), frame=frame)
    nats = torch.zeros(len(documents), dtype=torch.float64)
    with evaluating(model, device, precision):
        for rows in feed.cut_by_tokens(slots(device, longest)):
            batch = feed.batch(rows)
            told = _ahead(model, batch) if "lm" in model.heads else _hidden(model, batch)
            owner = _documents(batch)
            known = owner >= 0
            nats.index_add_(0, owner[known].cpu(), told[known].double().cpu())
    column = documents.payload["text"]
    characters = [len(str(column[i])) for i in range(len(documents))]
    rows = torch.arange(len(documents))
    return Predictions(nats, torch.tensor(characters, dtype=torch.float64), rows)


def _ahead(model: Model, batch: Batch) -> Tensor:
    """-log p of each token that others stand before [B T], 0 elsewhere."""
    stream, body = batch.streams["input"], model.bodies["input"]
    segments = stream.layout.segments
    follows = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    hidden = body(stream).hidden[:, :-1][follows]
    told = torch.zeros(segments.shape, device=segments.device)
    losses = surprise(model.heads["lm"], hidden, table_of(body), stream.values[:, 1:][follows])
    told[:, 1:][follows] = losses.float()
    return told


def _hidden(model: Model, batch: Batch) -> Tensor:
    """-log p of each token that is no special [B T], hidden with every seventh, 0 elsewhere."""
    stream, body = batch.streams["input"], model.bodies["input"]
    layout, ids = stream.layout, stream.values
    free = layout.segments > 0
    if layout.fixed is not None:
        free = free & ~layout.fixed
    mask = special(_codec(model), "<mask>")
    told = torch.zeros(ids.shape, device=ids.device)
    for number in range(APART):
        at = free & (layout.positions % APART == number)
        shown = replace(stream, values=ids.masked_fill(at, mask))
        hidden = body(shown).hidden[at]
        told[at] = surprise(model.heads["mlm"], hidden, table_of(body), ids[at]).float()
    return told


def _documents(batch: Batch) -> Tensor:
    """The document of each token [B T]; -1 at padding."""
    segments = batch.streams["input"].layout.segments
    owner = batch.fields["document"].gather(1, (segments - 1).clamp(min=0))
    return owner.where(segments > 0, -1)


def _codec(model: Model) -> Any:
    return model.tokenizer
