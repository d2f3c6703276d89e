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

from vitruvius.techniques.layers.dropping import dropped

SHORT = 512  # keys up to which all scores are kept for the backward pass without dropout
VECTOR = 32  # numbers of bfloat16 in a register: softmax is slow over rows of other lengths


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
    later ones where ``causal``, none further than ``window`` positions; padding sees something, so
    that nothing is left without a key. The first ``prefix`` keys are seen by all, at no distance.
    Scores take T S numbers per head, with a window 3 window T. Where the layout says that a row is
    one document, no mask of T S numbers is made; without padding none at all.
    """
    if key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key = key.repeat_interleave(groups, 1)
        value = value.repeat_interleave(groups, 1)
    tokens, cached = query.shape[2], layout.cache is not None
    if window is not None and not cached and not prefix and tokens > 3 * window:
        return _in_bands(query, key, value, layout, causal, window, slopes, dropout, scale)
    if not (cached or prefix or slopes or layout.packed) and window is None:
        if not layout.padded:
            return _mixed(query, key, value, None, causal, dropout, scale)
        if not causal:
            return _mixed(query, key, value, _own_keys(layout), False, dropout, scale)
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
    return _mixed(query, key, value, mask, False, dropout, scale)


def _mixed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool,
    dropout: float,
    scale: float | None,
) -> Tensor:
    """What is attended to under a mask: True where a query sees a key, or what is added.

    By PyTorch's own function, but not in training on the CPU with dropout or in bfloat16: there it
    takes two to four times the time of its parts.
    """
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    slow = dropout > 0 or (
        query.dtype == torch.bfloat16 and torch.is_grad_enabled() and key.shape[2] <= SHORT
    )
    if not slow or query.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.scaled_dot_product_attention(
            query, key, value, mask, dropout_p=dropout, is_causal=causal, scale=scale
        )
    if causal:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    query = query.contiguous() * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = query @ key.contiguous().transpose(-1, -2)
    if mask is not None:
        scores += _added(mask, scores)
    if scores.dtype == torch.bfloat16 and key.shape[2] % VECTOR:
        weights = scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
    else:
        weights = scores.softmax(-1)
    return dropped(weights, dropout, True) @ value.contiguous()


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype).masked_fill_(~mask, -math.inf)


def _own_keys(layout: Any) -> Tensor:
    """[B 1 1 S], True at the tokens of rows of one document; a row of padding sees itself."""
    mask = None if layout.shared is None else layout.shared.get("own keys")
    if mask is None:
        segments = layout.segments
        mask = (segments == segments.amax(1, keepdim=True))[:, None, None]
        if layout.shared is not None:
            layout.shared["own keys"] = mask
    return mask


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
    query = functional.pad(query, (0, 0, 0, end)).unflatten(2, (blocks, window))
    query = query.transpose(1, 2).flatten(0, 1)
    mixed = _mixed(query, reached(key), reached(value), mask, False, dropout, scale)
    mixed = mixed.unflatten(0, (rows, blocks)).transpose(1, 2).flatten(2, 3)
    return mixed[:, :, :tokens]
