"""Every view changes items alone, by item, seed and row alone."""

import pytest
import torch

from tests.contracts.common import example, name, samples
from tests.contracts.tasks import image_batch, image_rows
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Batch, Stream, View

ALL = catalogue(View)
BATCH = image_batch()


def seen(view: View, batch: Batch = BATCH, seed: int = 0) -> torch.Tensor:
    return view.view(batch, torch.Generator().manual_seed(seed)).streams["input"].values


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_items_change_and_all_else_stays(cls: type[View]) -> None:
    before = BATCH.streams["input"].values.clone()
    batch = Batch(
        {**BATCH.streams, "other": Stream(torch.ones(12, 3))},
        {"label": torch.arange(12)},
        BATCH.rows,
    )
    for view in samples(cls, 8):
        made = view.view(batch, torch.Generator().manual_seed(0))
        values = made.streams["input"].values
        assert values.shape == before.shape and values.dtype == before.dtype
        assert values.isfinite().all() and not torch.equal(values, before)
        assert torch.equal(BATCH.streams["input"].values, before)
        assert made.rows is batch.rows and made.fields["label"] is batch.fields["label"]
        assert made.streams["other"] is batch.streams["other"]


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_depends_on_rows_and_seed_alone(cls: type[View]) -> None:
    order = torch.tensor([7, 2, 4])
    for view in samples(cls, 8):
        whole = seen(view)
        torch.testing.assert_close(seen(view, image_rows(BATCH, order)), whole[order])
        assert torch.equal(seen(view), whole)
        assert not torch.equal(seen(view, seed=1), whole)
        one = torch.Generator().manual_seed(0)
        first, second = (view.view(BATCH, one).streams["input"].values for _ in range(2))
        assert torch.equal(first, whole) and not torch.equal(second, first)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_global_generator_is_left_alone(cls: type[View]) -> None:
    before = torch.random.get_rng_state()
    seen(example(cls))
    assert torch.equal(torch.random.get_rng_state(), before)
