"""What objectives over a vocabulary share: the head, the token table of a body, losses by row."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitruvius.contracts import Batch, Layout, Loss, Model, Stream, Tensors
from vitruvius.techniques.layers.tokens import TokenTable


class TokenHead(nn.Module):
    """logits = norm(GELU(W hidden)) table' + bias; without ``transform`` hidden table' alone.

    The table [V inner] is an argument, so that a tied one stays a single parameter of the body; a
    head that is not tied has its own. BERT's, with transform, and Llama's, without.
    """

    parameter_kinds = {"weight": "head"}  # noqa: RUF012

    def __init__(
        self,
        width: int,
        inner: int,
        vocabulary: int,
        transform: bool = True,
        tied: bool = True,
        bias: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.width, self.inner, self.vocabulary = width, inner, vocabulary
        self.transform, self.tied, self.epsilon = transform, tied, epsilon
        mapped = transform or inner != width
        self.dense = nn.Linear(width, inner, bias=transform) if mapped else None
        self.norm = nn.LayerNorm(inner, epsilon) if transform else None
        self.weight = None if tied else nn.Parameter(torch.empty(vocabulary, inner))
        self.bias = nn.Parameter(torch.empty(vocabulary)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.normal_(self.weight, std=0.02)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        if self.dense is not None:
            hidden = self.dense(hidden)
        if self.norm is not None:
            hidden = self.norm(nn.functional.gelu(hidden))
        return nn.functional.linear(
            hidden, table if self.weight is None else self.weight, self.bias
        )


def table_of(body: nn.Module) -> Tensor:
    """The vectors [V inner] of the ids that a body reads."""
    for module in body.modules():
        if isinstance(module, TokenTable):
            return module.weight
        embeddings: Any = getattr(module, "get_input_embeddings", None)
        if embeddings is not None:
            return embeddings().weight
    raise ValueError(
        f"This objective needs a body that reads tokens; {type(body).__name__} has no table of "
        "them. Take an Encoder, a Decoder or FromPretrained as the model."
    )


def width_of(body: nn.Module) -> int:
    """Features of a body's hidden states, found by running it on one token."""
    table, training = table_of(body), body.training
    ids = torch.zeros(1, 1, dtype=torch.long, device=table.device)
    with torch.no_grad():
        hidden = body.eval()(Stream(ids, Layout(ids, ids + 1))).hidden
    body.train(training)
    return hidden.shape[-1]


def token_head(model: Model, name: str, transform: bool, tied: bool) -> nn.Module:
    """The model's head of this name, where it fits, else a new one, with the body's epsilon."""
    body = model.bodies["input"]
    table = table_of(body)
    known = model.heads.get(name)
    if isinstance(known, TokenHead) and known.vocabulary == len(table):
        return known
    norms = (part.eps for part in body.modules() if isinstance(part, nn.LayerNorm))
    return TokenHead(
        width_of(body), table.shape[1], len(table), transform, tied, transform, next(norms, 1e-5)
    )


def surprise(
    head: Any, hidden: Float[Tensor, "N d"], table: Tensor, ids: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """-log p(id) in nats."""
    return nn.functional.cross_entropy(head(hidden, table).float(), ids, reduction="none")


def by_row(
    losses: Float[Tensor, " N"], at: Bool[Tensor, "B T"], weight: Float[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """What each row adds to the weighted mean over all tokens; the mean over rows is that mean."""
    rows = at.nonzero()[:, 0]
    sums = losses.new_zeros(len(at)).index_add(0, rows, losses * weight[at])
    return sums * (len(at) / weight.sum().clamp(min=1e-9))


def places_of(at: Bool[Tensor, "B T"], most: int | None = None) -> Int[Tensor, " N"]:
    """Where ``at`` is True, counted through all rows.

    With ``most``, at least as many as any row has, it is so many places of each row, the rest of
    them where ``at`` is False: then nothing waits for a GPU to tell how many there are.
    """
    if most is None:
        return at.flatten().nonzero()[:, 0]
    found = at.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    first = torch.arange(len(at), device=at.device)[:, None] * at.shape[1]
    return (found + first).flatten()


def by_place(
    losses: Float[Tensor, " N"], places: Int[Tensor, " N"], weight: Float[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """``by_row`` of losses at places; those without weight do not count."""
    rows, tokens = weight.shape
    weighted = losses * weight.flatten().index_select(0, places)
    sums = losses.new_zeros(rows).index_add(0, places // tokens, weighted)
    return sums * (rows / weight.sum().clamp(min=1e-9))


def loss_of(per_row: Float[Tensor, " B"], parts: Tensors | None = None) -> Loss:
    return Loss(per_row.mean(), per_row, parts or {})


def need_tokens(name: str, batch: Batch) -> Stream:
    """The stream of ids. Raises ValueError where a batch has none."""
    stream = batch.streams["input"]
    if stream.values.dim() != 2 or stream.values.is_floating_point():
        raise ValueError(
            f"{name} learns from tokens: whole numbers [B, T]; got {list(stream.values.shape)} of "
            f"{stream.values.dtype}. Tokenize first, or take Supervised()."
        )
    return stream
