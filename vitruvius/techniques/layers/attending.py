"""Attention from queries, keys, values and a layout: the one place where it is computed.

Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, section 3.2; the window
is that of Beltagy, Peters & Cohan 2020, "Longformer", arXiv:2004.05150, section 3.1 (``window``
tokens on each side; libraries often quote both sides together).

Axes: B rows, H heads of queries, G heads of keys and values, T queries, S keys, d width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Any,
    causal: bool = False,
    window: int | None = None,
    slopes: tuple[float, ...] = (),
    dropout: float = 0.0,
    scale: float | None = None,
    prefix: int = 0,
) -> Tensor:
    """softmax(scale q k' - slope distance) v, over the keys that each query may see.

    [B H T d] of query [B H T d], key and value [B G S d]. A query sees keys of its own segment, no
    later ones where ``causal``, none further than ``window`` positions; padding sees padding, so
    that nothing is left without a key. The first ``prefix`` keys are seen by all, at no distance.
    Scores take T S numbers per head, with a window 3 window T.
    """
    if key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key = key.repeat_interleave(groups, 1)
        value = value.repeat_interleave(groups, 1)
    tokens, cached = query.shape[2], layout.cache is not None
    if window is not None and not cached and not prefix and tokens > 3 * window:
        return _in_bands(query, key, value, layout, causal, window, slopes, dropout, scale)
    name = ("mask", causal, window, slopes, prefix)
    mask = None if layout.shared is None else layout.shared.get(name)
    if mask is None:
        here, mine = layout.positions, layout.segments
        there, theirs = here, mine
        if cached:
            there, theirs = layout.cache["positions"], layout.cache["segments"]
        mask = _allowed(here, mine, there, theirs, causal, window, slopes, query)
        if prefix:
            mask = functional.pad(mask, (prefix, 0), value=0.0 if slopes else True)
        if layout.shared is not None:
            layout.shared[name] = mask
    if mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    return functional.scaled_dot_product_attention(
        query, key, value, mask, dropout_p=dropout, scale=scale
    )


def _allowed(
    positions: Tensor,
    segments: Tensor,
    key_positions: Tensor,
    key_segments: Tensor,
    causal: bool,
    window: int | None,
    slopes: tuple[float, ...],
    like: Tensor,
) -> Tensor:
    """[... 1 T S], True where a query sees a key; with slopes [... H T S], what is added."""
    seen = segments.unsqueeze(-1) == key_segments.unsqueeze(-2)
    if causal or window is not None or slopes:
        distance = positions.unsqueeze(-1) - key_positions.unsqueeze(-2)
        if causal:
            seen = seen & (distance >= 0)
        if window is not None:
            seen = seen & (distance.abs() <= window)
        if slopes:
            slope = torch.tensor(slopes, device=like.device)[:, None, None]
            bias = -slope * distance.abs().unsqueeze(-3)
            return bias.masked_fill(~seen.unsqueeze(-3), -math.inf)
    return seen.unsqueeze(-3)


def _in_bands(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Any,
    causal: bool,
    window: int,
    slopes: tuple[float, ...],
    dropout: float,
    scale: float | None,
) -> Tensor:
    """The same in blocks of ``window`` queries, each with the keys that they can reach."""
    rows, tokens = query.shape[0], query.shape[2]
    blocks = math.ceil(tokens / window)
    end = blocks * window - tokens
    after = 0 if causal else window
    span = 2 * window + after

    def reached(x: Tensor) -> Tensor:
        """[B H S d] to [B blocks, H, span, d]."""
        x = functional.pad(x, (0, 0, window, end + after)).unfold(2, span, window)
        return x.permute(0, 2, 1, 4, 3).flatten(0, 1)

    name = ("bands", causal, window, slopes)
    mask = None if layout.shared is None else layout.shared.get(name)
    if mask is None:
        # what is added is a segment of its own, so that each of its queries still sees one key
        positions = functional.pad(layout.positions, (window, end + after))
        segments = functional.pad(layout.segments, (window, end + after), value=-1)
        last = window + blocks * window
        here, mine = (
            x[:, window:last].unflatten(1, (blocks, window)) for x in (positions, segments)
        )
        there, theirs = (x.unfold(1, span, window) for x in (positions, segments))
        mask = _allowed(here, mine, there, theirs, causal, window, slopes, query).flatten(0, 1)
        if layout.shared is not None:
            layout.shared[name] = mask
    if mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    query = functional.pad(query, (0, 0, 0, end)).unflatten(2, (blocks, window))
    query = query.transpose(1, 2).flatten(0, 1)
    mixed = functional.scaled_dot_product_attention(
        query, reached(key), reached(value), mask, dropout_p=dropout, scale=scale
    )
    mixed = mixed.unflatten(0, (rows, blocks)).transpose(1, 2).flatten(2, 3)
    return mixed[:, :, :tokens]
