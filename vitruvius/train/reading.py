"""What the bodies of a model read: texts, words or pairs as rows of tokens; other items encoded."""

from __future__ import annotations

import numpy as np
import torch

from vitruvius.contracts import SPECIALS, Codec, Documents, Model
from vitruvius.data.packing import Frame
from vitruvius.data.tagged import tokenise_words
from vitruvius.data.tokens import Tokens, tokenise
from vitruvius.train.encoding import encode
from vitruvius.train.feeding import Feed
from vitruvius.train.text_feeding import PairFeed, TextFeed

LONGEST = 512  # tokens, where neither the model nor its body says anything
PAIRS = (("text", "other"), ("query", "positive"))


def feed_of(model: Model, documents: Documents, device: torch.device) -> Feed | TextFeed | PairFeed:
    """Labelled items as the model reads them: rows of tokens where it has a tokenizer."""
    if model.tokenizer is not None:
        return text_feed(model, documents, device)
    return Feed.of(encode(model.prepared, documents), device)


def text_feed(
    model: Model, documents: Documents, device: torch.device, longest: int | None = None
) -> TextFeed | PairFeed:
    """Rows of tokens, one for each item, with its label where it has one.

    By what the documents hold: "words" (given words), "text" with "other" or "query" with
    "positive" (pairs), "text". Texts are prepared as the model's were (``Model.prepared``), and cut
    at ``longest`` tokens, and at what the model takes.
    """
    codec = model.tokenizer
    if codec is None:
        raise ValueError("This model reads no texts: it has no tokenizer. Put Tokenize before it.")
    documents = encode(model.prepared, documents)
    most = min(n for n in (longest, longest_of(model)) if n is not None)
    frame, columns = frame_of(codec), documents.payload
    fields = {}
    if "label" in set(documents.attributes):  # asking for what a phase may not read raises
        fields["label"] = torch.from_numpy(np.ascontiguousarray(documents.attributes["label"]))
    if "words" in columns:
        sentences = list(columns["words"][:])
        fields["words"] = torch.tensor([len(words) for words in sentences])
        tokens = tokenise_words(sentences, codec)
        return TextFeed.of(tokens, most, device, frame=frame, fields=fields)
    for one, two in PAIRS:
        if one in columns and two in columns:
            first, second = (_tokens(documents, codec, column) for column in (one, two))
            return PairFeed(
                TextFeed.of(first, most, device, frame=frame, fields=fields),
                TextFeed.of(second, most, device, frame=frame),
            )
    only = next((name for name in ("text", "query") if name in columns), None)
    if only is None:
        raise ValueError(f"A text model reads no documents that hold {sorted(columns)} alone.")
    tokens = _tokens(documents, codec, only)
    return TextFeed.of(tokens, most, device, frame=frame, fields=fields)


def _tokens(documents: Documents, codec: Codec, column: str) -> Tokens:
    return tokenise(documents, codec, column=column)


def longest_of(model: Model) -> int:
    """Tokens of a text, frame included: what the model was trained on, no more than its positions
    reach, and 512 where neither is known."""
    told = [getattr(part, "longest", None) for part in model.bodies["input"].modules()]
    known = [n for n in (model.longest, *told) if isinstance(n, int)]
    return min(known, default=LONGEST)


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
