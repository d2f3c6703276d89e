"""Our layers give what transformers' classes give with the same weights, and back."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.contracts.layouts import layout_of, plain
from tests.contracts.texts import given, token_batch
from vitruvius.contracts import Documents, Layout, Lineage, Model, Progress, Stream
from vitruvius.interop import families
from vitruvius.interop import transformers as interop
from vitruvius.interop.foreign_files import PretrainedError
from vitruvius.interop.matching import Misfit, activation
from vitruvius.techniques.layers import (
    GELU,
    ALiBi,
    Attention,
    Block,
    Decoder,
    Encoder,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    ReLU,
    RMSNorm,
    Rotary,
    SiLU,
    Tokens,
)
from vitruvius.techniques.layers.transformer import Transformer
from vitruvius.techniques.objectives import MaskedTokens, NextToken
from vitruvius.techniques.tokenizers import WordPiece
from vitruvius.train.text_bodies import TextBody

transformers = pytest.importorskip("transformers")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
SMALL = {**SIZES, "intermediate_size": 48, "max_position_embeddings": 40}
NONE = dict.fromkeys(
    ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
)
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SMALL),
    "roberta": ("Roberta", {**SMALL, "hidden_act": "relu", "type_vocab_size": 1}),
    "electra": ("Electra", {**SMALL, "embedding_size": 16}),
    "llama": ("Llama", {**SMALL, "num_key_value_heads": 2, "head_dim": 12}),
    "llama with biases": ("Llama", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {**SMALL, "num_key_value_heads": 2, "sliding_window": 4}),
    "modernbert": ("ModernBert", {**SMALL, **NONE, "local_attention": 6}),
}
every_family = pytest.mark.parametrize("family", CONFIGS)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Their warnings are not ours."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    log.setLevel(level)


def theirs(family: str, head: bool = True) -> Any:
    """A model of theirs with random weights; also where they begin with zeros and ones."""
    name, settings = CONFIGS[family]
    with quiet():
        config = getattr(transformers, f"{name}Config")(**settings)
        config._attn_implementation = "eager"
        auto = transformers.AutoModelForCausalLM if "Ll" in name or "Mis" in name else None
        maker = (auto or transformers.AutoModelForMaskedLM) if head else transformers.AutoModel
        torch.manual_seed(1)
        model = maker.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


def ids_and_mask() -> tuple[Tensor, Layout]:
    torch.manual_seed(2)
    return torch.randint(7, 60, (3, 14)), layout_of([[14], [9], [1]])


def network_of(model: Any) -> Any:
    return interop.network_from(model.config.to_dict(), model.state_dict())


def hidden_of(model: Any, ids: Tensor, layout: Layout, **more: Any) -> Tensor:
    mask = (layout.segments > 0).long()
    with torch.no_grad():
        return model.base_model(ids, attention_mask=mask, **more).last_hidden_state


@every_family
def test_hidden_states_are_theirs_with_padding(family: str) -> None:
    model = theirs(family)
    ids, layout = ids_and_mask()
    if family == "roberta":  # it finds padding by its id
        ids = ids.masked_fill(layout.segments == 0, 1)
    real = layout.segments > 0
    found = network_of(model)(ids, layout)
    torch.testing.assert_close(found[real], hidden_of(model, ids, layout)[real], **CLOSE)


@every_family
def test_packed_rows_are_their_separate_ones(family: str) -> None:
    model, lengths = theirs(family), (6, 1, 7)
    ids, _ = ids_and_mask()
    found = network_of(model)(ids, layout_of([lengths] * 3))
    for part, packed in zip(ids.split(lengths, 1), found.split(lengths, 1), strict=True):
        torch.testing.assert_close(packed, hidden_of(model, part, plain(part)), **CLOSE)


@every_family
def test_every_layer_is_theirs(family: str) -> None:
    model = theirs(family)
    ids, _ = ids_and_mask()
    with torch.no_grad():
        states = model.base_model(ids, output_hidden_states=True).hidden_states
    body = TextBody(network_of(model))
    names = ["stem", *(f"layer.{i}" for i in range(len(states) - 2))]  # their last one is normed
    taps = body(Stream(ids, plain(ids)), frozenset(names)).taps
    for name, state in zip(names, states, strict=False):
        torch.testing.assert_close(taps[name], state, **CLOSE)


@every_family
def test_logits_are_theirs(family: str) -> None:
    model = theirs(family)
    ids, _ = ids_and_mask()
    network = network_of(model)
    head = interop.head_from(model.config.to_dict(), model.state_dict())
    assert head is not None
    with torch.no_grad():
        wanted = model(ids).logits
    found = head(network(ids, plain(ids)), network.stem.table.weight)
    torch.testing.assert_close(found, wanted, **CLOSE)
    bare = theirs(family, head=False)
    if "llama" not in family and family != "mistral":
        assert interop.head_from(bare.config.to_dict(), bare.state_dict()) is None


def test_kept_keys_decode_as_theirs() -> None:
    model = theirs("llama")
    network = network_of(model)
    head = interop.head_from(model.config.to_dict(), model.state_dict())
    ids = torch.randint(7, 60, (2, 5))
    with quiet(), torch.no_grad():
        wanted = model.generate(
            ids, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    cache: dict[str, Tensor] = {}
    shown, found = ids, ids
    assert head is not None
    for _ in range(12):
        start = found.shape[1] - shown.shape[1]
        positions = torch.arange(start, found.shape[1]).expand(2, -1)
        layout = Layout(positions, torch.ones_like(positions), cache=cache)
        hidden = network(shown, layout)[:, -1]
        shown = head(hidden, network.stem.table.weight).argmax(-1, keepdim=True)
        found = torch.cat((found, shown), 1)
    assert torch.equal(found, wanted)


def bert(**fields: Any) -> Encoder:
    block = Block(Attention(4), FeedForward(2.0), order="post", **fields)
    return Encoder(Tokens(32, 40), (block,) * 2, LearnedPositions(40), None)


def llama(**fields: Any) -> Decoder:
    feed = FeedForward(2.5, SiLU(), True, bias=False)
    block = Block(Attention(4, bias=False, **fields), feed, RMSNorm())
    return Decoder(Tokens(32, 40, norm=None), (block,) * 2, Rotary(500.0), RMSNorm())


def modernbert() -> Encoder:
    feed = FeedForward(1.5, GELU(), True)
    blocks = (Block(Attention(4), feed), Block(Attention(4, window=3), feed))
    return Encoder(Tokens(32, 40), blocks, Rotary())


DESIGNS: dict[str, Transformer] = {
    "bert": bert(),
    "electra": bert().replace(stem=Tokens(32, 40, inner=16)),
    "llama": llama(sharing=2),
    "mistral": llama(window=3),
    "modernbert": modernbert(),
}


def ours(design: Transformer, tied: bool = True) -> Model:
    """A model of ours after a step of training, so that no weight is as it began."""
    torch.manual_seed(0)
    network = design.build(torch.zeros(1, 1, dtype=torch.long))
    model = Model({"input": TextBody(network)}, {}, Lineage(""), {"input": design})
    objective: Any = NextToken(tied) if isinstance(design, Decoder) else MaskedTokens(tied=tied)
    parts = objective.build(model)
    trained = torch.nn.ModuleList([network, parts])
    updater = torch.optim.SGD(trained.parameters(), 0.5)
    now = Progress(0, 0, 1, 0.0)
    objective.step(model, parts, token_batch(), now, given()).value.backward()
    updater.step()
    trained.eval()
    return replace(model, heads=dict(objective.heads(parts)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", DESIGNS)
def test_what_we_train_loads_with_automodel(kind: str, tied: bool, tmp_path: Path) -> None:
    design = DESIGNS[kind]
    model = ours(design, tied)
    assert interop.fits(design) == kind
    folder = interop.write(model, tmp_path / "model")
    auto = transformers.AutoModelForCausalLM if isinstance(design, Decoder) else None
    with quiet():
        loaded, told = (auto or transformers.AutoModelForMaskedLM).from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager"
        )
        plain_model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager")
    assert not told["missing_keys"] and not told["unexpected_keys"]
    ids = torch.randint(7, 40, (2, 11))
    body = model.bodies["input"]
    hidden = body(Stream(ids, plain(ids))).hidden
    (head,) = model.heads.values()
    with torch.no_grad():
        torch.testing.assert_close(plain_model(ids).last_hidden_state, hidden, **CLOSE)
        logits = head(hidden, interop.table_of(body))
        torch.testing.assert_close(loaded(ids).logits, logits, **CLOSE)
    again = interop.read(folder)
    if kind != "modernbert":  # whose config says the positions of each block
        assert again.designs["input"].replace(norm=None) == design.replace(norm=None)
    torch.testing.assert_close(again.bodies["input"](Stream(ids, plain(ids))).hidden, hidden)
    (second,) = again.heads.values()
    torch.testing.assert_close(second(hidden, interop.table_of(again.bodies["input"])), logits)


def test_a_head_trained_on_what_was_read_is_written_with_it(tmp_path: Path) -> None:
    tiny = bert(norm=LayerNorm(1e-12)).replace(stem=Tokens(32, 40, norm=LayerNorm(1e-12)))
    first = interop.read(interop.write(replace(ours(tiny), heads={}), tmp_path / "first"))
    head = MaskedTokens().build(first)["mlm"]  # type: ignore[index]
    folder = interop.write(replace(first, heads={"mlm": head}), tmp_path / "second")
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert set(interop.read(folder).heads) == {"mlm"}


def test_a_model_without_a_head_is_written_as_such(tmp_path: Path) -> None:
    model = replace(ours(bert()), heads={})
    folder = interop.write(model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    assert interop.read(folder).heads == {}


def test_our_tokenizer_is_written_beside_it(tmp_path: Path) -> None:
    texts = ["The masks of a row depend on its items alone.", "Rows depend on masks: a test."] * 9
    column: Any = np.array(texts, dtype=object)
    tokenizer = WordPiece(vocabulary=64)
    fitted = tokenizer.fit(given(documents=Documents({"text": column}, {})))
    codec = tokenizer.build(fitted)
    design = bert().replace(stem=Tokens(32, codec.vocabulary))
    model = replace(ours(design), tokenizer=codec)
    folder = interop.write(model, tmp_path / "model")
    with quiet():
        loaded = transformers.AutoTokenizer.from_pretrained(folder)
    for text in texts[:2]:
        assert loaded(text, add_special_tokens=False)["input_ids"] == list(codec.encode(text).ids)
    assert loaded.mask_token_id == 4 and loaded.pad_token_id == 0
    config = json.loads((folder / "config.json").read_text())
    assert config["pad_token_id"] == 0 and config["eos_token_id"] == 6
    again = interop.read(folder).tokenizer
    assert again is not None and again.encode(texts[0]).ids == codec.encode(texts[0]).ids


@pytest.mark.parametrize(
    ("design", "word"),
    [
        (Encoder(Tokens(32, 40), positions=ALiBi()), "Llama wants a Decoder"),
        (bert(residual=0.5), "BERT wants plain Blocks"),
        (bert().replace(blocks=(Block(order="post"), Block())), "blocks that are all alike"),
        (bert(dropout=0.1), "BERT wants equal dropout of stem and blocks"),
        (bert(norm=RMSNorm()), "BERT wants one LayerNorm in all places"),
        (llama().replace(norm=LayerNorm()), "Llama wants one RMSNorm in all places"),
        (modernbert().replace(norm=RMSNorm()), "ModernBERT wants one LayerNorm"),
    ],
)
def test_what_has_no_class_is_refused_with_the_reasons(
    design: Transformer, word: str, tmp_path: Path
) -> None:
    assert interop.fits(design) is None
    with pytest.raises(PretrainedError, match=word):
        interop.write(ours(design), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_configs_without_a_counterpart_are_refused() -> None:
    with pytest.raises(Misfit, match="model_type 'gpt2' has no counterpart"):
        families.design_of({"model_type": "gpt2"})
    scaled = {**SMALL, "model_type": "llama", "rope_parameters": {"rope_type": "yarn"}}
    with pytest.raises(Misfit, match="plain rotary positions, not 'yarn'"):
        families.design_of(scaled)
    odd = {**SMALL, "model_type": "bert", "hidden_act": "mish"}
    with pytest.raises(Misfit, match="activation 'mish' is none of gelu"):
        families.design_of(odd)
    assert activation("relu") == ReLU()


def test_weights_that_are_missing_are_named() -> None:
    model = theirs("bert")
    state = model.state_dict()
    del state["bert.encoder.layer.1.output.dense.weight"]
    with pytest.raises(Misfit, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        interop.network_from(model.config.to_dict(), state)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    with pytest.raises(PretrainedError, match="exists and is not empty"):
        interop.write(ours(bert()), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
