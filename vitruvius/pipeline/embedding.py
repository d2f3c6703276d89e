"""Texts as vectors of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vitruvius.contracts import SPECIALS, Array, Codec, Documents, Given, Model
from vitruvius.data.packing import Frame
from vitruvius.data.tokens import tokenise
from vitruvius.techniques.heads import Embedding
from vitruvius.train.text_feeding import TextFeed

LONGEST = 512  # tokens, where the model says nothing
SLOTS = {"cpu": 2048}  # tokens of a batch; measured: 1024 to 4096 alike, 8192 half as fast
SLOTS_ELSEWHERE = 65_536


def embed(
    model: Model,
    texts: Sequence[str],
    head: Embedding | None = None,
    longest: int | None = None,
    device: torch.device | None = None,
    precision: torch.dtype = torch.float32,
) -> Array:
    """Vectors of length 1, float32 [N d]; the mean of the last hidden states where no head is
    given. Texts beyond ``longest`` tokens, or what the model takes, are cut. The model is left in
    the mode it was in. On a CPU with AMX bfloat16 is 2.4 times as fast as float32 for MiniLM, and
    turns no vector by more than 0.5 degrees."""
    if model.tokenizer is None:
        raise ValueError("embed needs a model with a tokenizer; this one reads no texts.")
    if not len(texts):
        raise ValueError("embed needs at least one text; got none.")
    head, device = head or Embedding(), device or torch.device("cpu")
    body = model.bodies["input"]
    most = min(longest_of(model), longest or LONGEST)
    feed = feed_of(model, texts, most, device)
    was_training, found = body.training, np.zeros((0, 0), np.float32)
    body.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, precision, precision != torch.float32),
        ):
            for batch in feed.by_tokens(max(SLOTS.get(device.type, SLOTS_ELSEWHERE), most)):
                vectors = head.predict(model, batch, Given()).values.float().cpu().numpy()
                if not len(found):
                    found = np.zeros((len(texts), vectors.shape[1]), np.float32)
                found[batch.rows.numpy()] = vectors
    finally:
        body.train(was_training)
    return found


def feed_of(model: Model, texts: Sequence[str], longest: int, device: torch.device) -> TextFeed:
    """A row for each text, as the model expects it."""
    assert model.tokenizer is not None
    column = np.empty(len(texts), dtype=object)
    column[:] = list(texts)
    tokens = tokenise(Documents({"text": column}), model.tokenizer)
    return TextFeed.of(tokens, longest, device, frame=frame_of(model.tokenizer), multiple=1)


def longest_of(model: Model) -> int:
    """Tokens of a text, frame included: what the model was trained on, no more than its positions
    reach, and 512 where neither is known."""
    told = [getattr(model, "longest", None)]
    told += [getattr(part, "longest", None) for part in model.bodies["input"].modules()]
    return min((n for n in told if isinstance(n, int)), default=LONGEST)


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
