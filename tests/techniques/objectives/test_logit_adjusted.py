"""Rare classes: the adjusted cross-entropy by hand, and what it learns."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.contracts.tasks import CLASSES, batch_of, documents, given, model_of
from vitruvius.contracts import Progress
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.objectives import LogitAdjusted, Supervised
from vitruvius.techniques.objectives.logit_adjusted import log_shares

NOW = Progress(0, 0, 12, 0.0)


def test_the_loss_is_that_of_logits_and_log_shares() -> None:
    batch, asked = batch_of(documents(CLASSES)), given(CLASSES)
    model = model_of(Readout(), CLASSES)
    label = np.asarray(asked.documents.attributes["label"])
    counts = np.maximum(np.bincount(label, minlength=len(CLASSES.labels)), 1)
    shares = torch.from_numpy(np.log(counts / counts.sum())).float()
    torch.testing.assert_close(log_shares(asked), shares)
    logits = model.heads["task"](model.bodies["input"](batch.streams["input"]), batch)
    for strength in (0.5, 1.0):
        loss = LogitAdjusted(strength).step(model, nn.Module(), batch, NOW, asked)
        by_hand = nn.functional.cross_entropy(logits + strength * shares, batch.fields["label"])
        torch.testing.assert_close(loss.value, by_hand)


def test_without_strength_it_is_plain_cross_entropy() -> None:
    batch, asked, model = batch_of(documents(CLASSES)), given(CLASSES), model_of(Readout(), CLASSES)
    one, two = (
        o.step(model, nn.Module(), batch, NOW, asked) for o in (LogitAdjusted(0.0), Supervised())
    )
    torch.testing.assert_close(one.value, two.value)


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r"LogitAdjusted\.strength must not be negative; got -1"):
        LogitAdjusted(-1.0)
