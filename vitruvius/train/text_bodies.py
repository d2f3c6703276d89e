"""A network of tokens as the body of a text stream: outlined on meta, then filled from a seed."""

from __future__ import annotations

import torch

from vitruvius.contracts import Layer, Layout, Stream
from vitruvius.space import Infeasible
from vitruvius.train.building import TokenBody, reset


class TextBody(TokenBody):
    """What ``Encoder.build`` or ``Decoder.build`` gives for ids [B T], called as a body."""


def outline_text(
    design: Layer, rows: int, tokens: int, address: str = ""
) -> tuple[TextBody, Stream]:
    """The body on meta, and a stream of rows that are full, to weigh it with.

    Raises Infeasible where the parts of the design do not fit, or cannot take so many tokens.
    """
    ids = torch.empty((rows, tokens), dtype=torch.long, device="meta")
    stream = Stream(ids, Layout(ids, ids))
    try:
        with torch.device("meta"), torch.no_grad():
            body = TextBody(design.build(ids))
            body(stream)
    except ValueError as error:  # layers say which of their parts does not fit
        place = ".".join(filter(None, (address, getattr(error, "address", ""))))
        raise Infeasible(place, getattr(error, "reason", str(error))) from error
    return body, stream


def fill(body: TextBody, seed: int) -> TextBody:
    """The body with weights drawn on the CPU from the seed; the global generator stays."""
    body = body.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in body.modules():
            reset(module)
    return body
