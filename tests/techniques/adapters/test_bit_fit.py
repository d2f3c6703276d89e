"""BitFit: biases, all of them, and about a thousandth of BERT."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.bases import base, given
from vitruvius.contracts import base_parameters
from vitruvius.techniques.adapters import BitFit
from vitruvius.train.adapting import attach


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_all_biases_and_nothing_else(kind: str) -> None:
    model = base(kind)
    chosen = BitFit().choose(model, given())
    assert chosen.keys() == {n for n in base_parameters(model) if n.endswith(".bias")}
    assert all(bool(mask.all()) for mask in chosen.values())


def test_the_share_of_bert_base_is_that_of_the_paper() -> None:
    transformers = pytest.importorskip("transformers")
    from vitruvius.contracts import Lineage, Model
    from vitruvius.interop.pretrained import PretrainedBody

    with torch.device("meta"):
        network = transformers.AutoModel.from_config(transformers.BertConfig())
    model = Model({"input": PretrainedBody(network)}, {}, Lineage("x"))
    unread = ("input.network.pooler.",)
    chosen = [n for n in BitFit().choose(model, given()) if not n.startswith(unread)]
    found = base_parameters(model)
    count = sum(found[n].numel() for n in chosen)
    assert count == 12 * (768 * 8 + 3072) - 12 * 768 + 768  # q k v o, down, 2 norms; up; stem
    assert 0.0008 < count / sum(p.numel() for p in found.values()) < 0.001  # 0.09 % in the paper


def test_the_pooler_that_a_body_never_reads_is_not_counted() -> None:
    model = base("bert")
    adapted = attach(BitFit(), model, given())
    read = [n for n in base_parameters(model) if n.endswith(".bias") and ".pooler." not in n]
    assert adapted.count == sum(base_parameters(model)[n].numel() for n in read)
