"""Heads that go from transformers' models: exact where they can go, refused where they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.bases import WIDE, answers, base, given
from tests.contracts.test_adapters import digest
from tests.contracts.test_storing import through
from tests.interop import tiny
from vitruvius.contracts import Lineage, Model, base_parameters
from vitruvius.interop.foreign_files import PretrainedError
from vitruvius.interop.pretrained import PretrainedBody, save_pretrained
from vitruvius.techniques.adapters import Prefix
from vitruvius.techniques.compressors import PruneHeads
from vitruvius.train.adapting import attach

transformers = pytest.importorskip("transformers")
SIZES = {"vocab_size": 32, "pad_token_id": 1, "max_position_embeddings": 40, **WIDE}
HALF = PruneHeads(0.5, "weight")


def model_of(config: Any) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.AutoModel.from_config(config).eval()
    return Model({"input": PretrainedBody(network)}, {}, Lineage("start"))


def masked(model: Model, structure: Any) -> Model:
    """The maps back do not read what is gone."""
    for name, axis in structure.axes.items():
        weight = base_parameters(model)[name]
        gone = torch.ones(weight.shape[axis], dtype=torch.bool)
        gone[structure.kept[name]] = False
        with torch.no_grad():
            weight[:, gone] = 0
    return model


@pytest.mark.parametrize(("key_heads", "left"), [(1, (2, 1)), (2, (2, 1)), (4, (2, 2))])
def test_heads_of_llama_that_share_keys_go_with_them(key_heads: int, left: tuple[int, int]) -> None:
    model = model_of(tiny.config("llama", **WIDE, num_key_value_heads=key_heads))
    made = HALF.compress(model, given())
    attention: Any = made.model.bodies["input"].get_submodule("network.layers.0.self_attn")
    width = attention.head_dim
    rows = [getattr(attention, f"{n}_proj").out_features // width for n in "qkv"]
    assert rows == [left[0], left[1], left[1]]
    assert attention.num_key_value_groups == left[0] // left[1]
    now = answers(made.model)
    torch.testing.assert_close(now, answers(masked(model, made.structure)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        transformers.DistilBertConfig(vocab_size=32, dim=64, n_layers=2, n_heads=4, hidden_dim=128),
        transformers.ElectraConfig(**SIZES, embedding_size=16),
        transformers.Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    ],
    ids=lambda config: config.model_type,
)
def test_other_classes_are_known_by_their_structure(config: Any, tmp_path: Path) -> None:
    model = model_of(config)
    made = HALF.compress(model, given())
    now = answers(made.model)
    torch.testing.assert_close(now, answers(masked(model, made.structure)), rtol=1e-5, atol=1e-5)
    assert torch.equal(answers(through(tmp_path, made.model)), now)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            transformers.GPTNeoXConfig(**SIZES),
            r"takes heads only where all else stays the same; GPTNeoXModel then answers .* off",
        ),
        (transformers.MPNetConfig(**SIZES), r"cannot take heads from MPNetModel, which expects"),
        (
            transformers.GPT2Config(vocab_size=32, n_embd=64, n_layer=2, n_head=4),
            r"finds no attention in the layers of GPT2Model\. Take PruneWeights",
        ),
        (
            transformers.DebertaV2Config(
                **SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"]
            ),
            r"needs heads of one width, .*attention\.self has .* Take PruneWeights",
        ),
    ],
    ids=["interleaved", "slopes", "other maps", "positions"],
)
def test_where_it_would_not_be_exact_it_is_refused(config: Any, why: str) -> None:
    model = model_of(config)
    before, first = digest(model), answers(model)
    with pytest.raises(ValueError, match=rf"^PruneHeads {why}") as raised:
        HALF.compress(model, given())
    assert "\n" not in str(raised.value)
    assert digest(model) == before and torch.equal(answers(model), first)


def test_a_prefix_fits_what_is_left() -> None:
    made = HALF.compress(base("bert"), given()).model
    before = answers(made)
    adapted = attach(Prefix(3), made, given())
    assert adapted.count == 2 * 2 * 3 * 32
    assert not torch.equal(answers(made), before)
    adapted.detach()
    assert torch.equal(answers(made), before)


def test_a_folder_for_automodel_cannot_hold_it(tmp_path: Path) -> None:
    made = HALF.compress(base("bert"), given()).model
    with pytest.raises(PretrainedError, match=r"BertModel has lost heads, .* Keep it in a store"):
        save_pretrained(made, tmp_path / "there")
    assert not (tmp_path / "there").exists()
