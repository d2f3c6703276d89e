"""Every policy hides what is free to be hidden, by item, seed and step alone."""

import pytest
import torch

from tests.contracts.common import name, samples
from tests.contracts.texts import LENGTHS, given, rows_of, token_batch
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Given, Policy, Progress

ALL = catalogue(Policy)
NOW = Progress(3, 0, 12, 0.3)
BATCH = token_batch(tuple(tuple(5 * length for length in row) for row in LENGTHS))


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_targets_are_the_originals_and_weights_say_where(cls: type[Policy]) -> None:
    layout = BATCH.streams["input"].layout
    assert layout.fixed is not None
    for policy in samples(cls, 8):
        found = policy.hide(BATCH, NOW, given())
        assert torch.equal(found.targets["ids"], BATCH.streams["input"].values)
        assert found.chosen is not None and found.changed is not None and found.chosen.any()
        assert torch.equal(found.weight["ids"] > 0, found.chosen)
        assert not (found.chosen & ((layout.segments == 0) | layout.fixed)).any()
        assert not (found.changed & ~found.chosen).any()


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_depends_on_rows_seed_and_step_alone(cls: type[Policy]) -> None:
    order = torch.tensor([3, 1])
    for policy in samples(cls, 8):
        whole = policy.hide(BATCH, NOW, given(1)).batch.streams["input"].values
        again = policy.hide(BATCH, NOW, given(1)).batch.streams["input"].values
        some = policy.hide(rows_of(BATCH, order), NOW, given(1)).batch.streams["input"].values
        other = policy.hide(BATCH, NOW, given(2)).batch.streams["input"].values
        assert torch.equal(again, whole) and torch.equal(some, whole[order])
        assert not torch.equal(other, whole)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_what_it_reads_is_named_in_its_needs(cls: type[Policy]) -> None:
    everything = given()
    for policy in samples(cls, 3):
        asked = Given(**{need: getattr(everything, need) for need in policy.needs})
        policy.hide(BATCH, NOW, asked)
