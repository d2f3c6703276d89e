"""Texts as vectors of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vitruvius.contracts import SPECIALS, Array, Codec, Documents, Given, Model
from vitruvius.data.packing import Frame
from vitruvius.data.tokens import tokenise
from vitruvius.techniques.heads import Embedding
from vitruvius.train.text_feeding import TextFeed

LONGEST = 512  # tokens, where the body says nothing
SLOTS = 8192  # tokens of a batch


def embed(
    model: Model,
    texts: Sequence[str],
    head: Embedding | None = None,
    longest: int | None = None,
    device: torch.device | None = None,
) -> Array:
    """Vectors of length 1, float32 [N d]; the mean of the last hidden states where no head is
    given. Texts beyond ``longest`` tokens are cut. The model is left in the mode it was in."""
    if model.tokenizer is None:
        raise ValueError("embed needs a model with a tokenizer; this one reads no texts.")
    head, device = head or Embedding(), device or torch.device("cpu")
    body: Any = model.bodies["input"]
    most = min(n for n in (longest, getattr(body, "longest", None), LONGEST) if n is not None)
    column = np.empty(len(texts), dtype=object)
    column[:] = list(texts)
    tokens = tokenise(Documents({"text": column}), model.tokenizer)
    feed = TextFeed.of(tokens, most, device, frame=frame_of(model.tokenizer), multiple=1)
    was_training, found = body.training, None
    body.eval()
    try:
        with torch.inference_mode():
            for batch in feed.by_tokens(max(SLOTS, most)):
                vectors = head.predict(model, batch, Given()).values.float().cpu().numpy()
                if found is None:
                    found = np.zeros((len(texts), vectors.shape[1]), np.float32)
                found[batch.rows.numpy()] = vectors
    finally:
        body.train(was_training)
    assert found is not None
    return found


def frame_of(codec: Codec) -> Frame:
    """What stands around a text: as its model expects; of our tokenizers <cls> and <sep>."""
    known = getattr(codec, "frame", None)
    if known is None:
        return Frame(SPECIALS.index("<cls>"), SPECIALS.index("<sep>"))
    before, after = known
    if len(before) > 1 or len(after) > 1:
        raise ValueError(
            f"A row has one token before and one after a text; this model wants {len(before)} "
            f"and {len(after)}."
        )
    return Frame(before[0] if before else None, after[0] if after else None)
