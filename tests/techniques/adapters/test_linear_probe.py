"""A probe: the hidden states of a text are the same in every epoch."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.bases import BASES, answers, base, batch_for, given, train
from vitruvius.techniques.adapters import LinearProbe
from vitruvius.train.adapting import attach


@pytest.mark.parametrize("kind", BASES)
def test_hidden_states_can_be_computed_once(kind: str) -> None:
    model = base(kind)
    once = answers(model)
    adapted = attach(LinearProbe(), model, given())
    assert LinearProbe().frozen and adapted.count == 0 and not adapted.deltas()
    body = adapted.model.bodies["input"]
    for _ in range(2):
        train(adapted.model, steps=1)
        body.train()
        hidden = body(batch_for(model).streams["input"]).hidden
        assert torch.equal(hidden, once) and not hidden.requires_grad
    assert not adapted.save()[0].tensors
