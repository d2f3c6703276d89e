"""Attention of transformers' models with keys and values that no token has.

One function stands under a name in transformers' own table of attention functions; it asks the
module that calls it for what is to be seen beside the tokens. No class of a model is patched.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

NAME = "vitruvius_more_keys"


@functools.cache
def registered() -> str:
    """The name to give a config, after making sure that transformers knows it."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **given: Any,
) -> tuple[Tensor, None]:
    """transformers' scaled dot-product attention over ``module.prefix(key heads)`` and the keys.

    Query [B H T d], key and value [B G S d]; a mask is True, or 0, where a query sees a key.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    prefix = module.__dict__.get("prefix")
    first = None if prefix is None else prefix(key.shape[1])
    if first is not None:
        keys, values = (t.to(key.dtype).expand(len(key), -1, -1, -1) for t in first)
        added = keys.shape[2]
        causal = given.get("is_causal")
        causal = getattr(module, "is_causal", False) if causal is None else causal
        if attention_mask is None and causal and query.shape[2] > 1:
            seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device)
            attention_mask = seen.tril(key.shape[2] - query.shape[2])[None, None]
        if attention_mask is not None:
            free = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = nn.functional.pad(attention_mask, (added, 0), value=free)
        key, value = torch.cat((keys, key), 2), torch.cat((values, value), 2)
        given["is_causal"] = False
    return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
