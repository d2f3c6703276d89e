"""Full tuning: all that can train, with or without the tables of ids."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.contracts.bases import base, given
from vitruvius.contracts import Lineage, Model, base_parameters
from vitruvius.techniques.adapters import FullTuning

TABLES = {
    "ours": {"stem.table.weight", "stem.positions.weight"},
    "bert": {
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
    },
    "llama": {"embed_tokens.weight"},
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_stay_where_they_are_left_out(kind: str) -> None:
    model = base(kind)
    everything = base_parameters(model).keys()
    assert FullTuning().choose(model, given()).keys() == everything
    without = FullTuning(embeddings=False).choose(model, given()).keys()
    assert everything - without == {f"input.network.{name}" for name in TABLES[kind]}


def test_masks_take_no_memory() -> None:
    model = base("ours")
    masks = FullTuning().choose(model, given())
    assert all(mask.untyped_storage().nbytes() == 1 for mask in masks.values())
    assert all(mask.shape == base_parameters(model)[n].shape for n, mask in masks.items())


def test_whole_numbers_do_not_train() -> None:
    body = nn.Linear(2, 2)
    body.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    model = Model({"input": body}, {}, Lineage("x"))
    assert FullTuning().choose(model, given()).keys() == {"input.bias"}
