"""Weights of transformers' models in our layers, and ours in their format.

Source: Wolf et al. 2020, "Transformers: State-of-the-Art Natural Language Processing",
arXiv:1910.03771. Reading and writing needs safetensors alone.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import SPECIALS, Lineage, Model
from vitruvius.interop import families
from vitruvius.interop.families import Weight
from vitruvius.interop.foreign_files import PretrainedError
from vitruvius.interop.matching import Config, Misfit
from vitruvius.techniques.layers.transformer import Transformer
from vitruvius.techniques.objectives.token_head import TokenHead, table_of
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.text_bodies import TextBody

State = dict[str, Tensor]
TYPES = "embeddings.token_type_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"


def fits(design: Transformer) -> str | None:
    """The model_type of the class that computes what a design does; None: there is none."""
    try:
        return families.config_of(design)["model_type"]
    except Misfit:
        return None


def design_of(config: Mapping[str, Any]) -> Transformer | None:
    """Our design that computes what a config says; None where there is none."""
    try:
        return families.design_of(config)
    except (Misfit, KeyError):
        return None


def network_from(config: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> nn.Module:
    """Their network as ours. ``theirs`` may be of a model with or without a head. Raises Misfit."""
    design = families.design_of(config)
    with torch.device("meta"):
        network = design.build(torch.zeros(1, 1, dtype=torch.long))
    prefix = families.prefix_of(config)
    plain = {name.removeprefix(prefix): tensor for name, tensor in theirs.items()}
    if POSITIONS in plain:
        first = config.get("pad_token_id", 1) + 1 if config["model_type"] == "roberta" else 0
        positions = plain[POSITIONS][first:]
        if TYPES in plain:  # all tokens are of type 0, whose vector is part of each position
            positions = positions + plain[TYPES][0]
        plain[POSITIONS] = positions
    state = _taken(plain, families.weights_of(config), network.state_dict())
    network = network.to_empty(device="cpu")
    network.load_state_dict(state)
    return network.eval()


def head_from(config: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> nn.Module | None:
    """Their output layer over the vocabulary as our head, if the weights have one."""
    name, _, weights = families.head_of(config)
    found = [weight for weight in weights if weight.theirs in theirs]
    if name == "mlm" and not any(weight.ours == ("dense.weight",) for weight in found):
        return None
    if name == "lm" and not (found or config.get("tie_word_embeddings")):
        return None
    tied = bool(config.get("tie_word_embeddings", name == "mlm"))
    width = config["hidden_size"]
    inner = config.get("embedding_size", width) if name == "mlm" else width
    epsilon = config.get("layer_norm_eps", config.get("norm_eps", 1e-12))
    head = TokenHead(
        width, inner, config["vocab_size"], name == "mlm", tied, name == "mlm", epsilon
    )
    theirs = dict(theirs)
    for bias in ("cls.predictions.bias", "lm_head.bias"):  # theirs under another name
        if bias in theirs and name == "mlm":
            theirs[bias.replace("bias", "decoder.bias")] = theirs[bias]
    _, _, weights = families.head_of(config)
    head.load_state_dict(_taken(theirs, weights, head.state_dict()))
    return head.eval()


def weights_to(config: Mapping[str, Any], network: nn.Module, prefix: str = "") -> State:
    """Our weights under their names."""
    ours = network.state_dict()
    state = {
        weight.theirs: torch.cat([ours[name] for name in weight.ours])
        for weight in families.weights_of(config, prefix)
        if weight.ours[0] in ours
    }
    if config["model_type"] in ("bert", "electra"):
        width = config["embedding_size"]
        state[prefix + TYPES] = torch.zeros(config["type_vocab_size"], width)
    return state


def read(folder: str | os.PathLike[str]) -> Model:
    """A folder of transformers as a model of our layers, with its head and tokenizer."""
    from safetensors.torch import load_file

    from vitruvius.interop.foreign_files import check_weights, config_of, weight_files
    from vitruvius.interop.foreign_tokenizer import ForeignTokenizer

    path = Path(folder)
    config = config_of(path)
    check_weights(path)
    theirs: State = {}
    for file in weight_files(path):
        theirs |= {name: tensor.float() for name, tensor in load_file(file).items()}
    try:
        network, head = network_from(config, theirs), head_from(config, theirs)
        design = families.design_of(config)
    except (Misfit, KeyError) as error:
        raise PretrainedError(f"{path} cannot be read as our layers: {error}.") from error
    tokenizer = ForeignTokenizer.load(path) if (path / "tokenizer.json").exists() else None
    digest = digest_of(network.state_dict())
    return Model(
        {"input": TextBody(network)},
        {} if head is None else {families.head_of(config)[0]: head},
        Lineage(digest, base=digest),
        {"input": design},
        tokenizer,
    )


def write(model: Model, folder: str | os.PathLike[str]) -> Path:
    """A model of our layers as a folder that AutoModel and AutoTokenizer load.

    With the head "mlm" or "lm" it is their class with that head. Written beside and renamed: the
    folder is whole or absent. Raises PretrainedError where no class of theirs computes the same.
    """
    from safetensors.torch import save_file

    target, design = Path(folder), model.designs.get("input")
    if not isinstance(design, Transformer):
        raise PretrainedError(
            "Only a model built from an Encoder or a Decoder is written so; got "
            f"{type(design).__name__ if design else 'a foreign body'}."
        )
    network: Any = model.bodies["input"]
    network = getattr(network, "network", network)
    try:
        config = families.config_of(design.sized(len(table_of(network))))
    except Misfit as error:
        raise PretrainedError(f"{target} is not written: {error}.") from error
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PretrainedError(f"{target} exists and is not empty. Name a new folder.")
    name, architecture, weights = families.head_of(config)
    head = model.heads.get(name)
    if isinstance(head, TokenHead) and _head_fits(config, head):
        config |= {"architectures": [architecture], "tie_word_embeddings": head.tied}
        state = weights_to(config, network, families.prefix_of(config))
        ours = head.state_dict()
        state |= {w.theirs: ours[w.ours[0]] for w in weights if w.ours[0] in ours}
        if config["model_type"] == "bert":
            state["cls.predictions.bias"] = ours["bias"]
    else:
        state = weights_to(config, network)
    config |= {"dtype": "float32", **_special_ids(model)}
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        tensors = {n: t.detach().cpu().contiguous().clone() for n, t in state.items()}
        save_file(tensors, beside / "model.safetensors", {"format": "pt"})
        _write_tokenizer(model.tokenizer, beside)
        beside.chmod(0o755)
        os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _taken(
    theirs: Mapping[str, Tensor], weights: Iterable[Weight], wanted: Mapping[str, Tensor]
) -> State:
    """Ours out of theirs; a bias that they lack is 0. Raises Misfit where a weight is missing."""
    state: State = {}
    for weight in weights:
        shapes = [wanted[name].shape for name in weight.ours if name in wanted]
        if not shapes:
            continue
        if weight.theirs in theirs:
            parts = theirs[weight.theirs].split([shape[0] for shape in shapes])
        elif weight.theirs.endswith("bias"):
            parts = [torch.zeros(shape) for shape in shapes]
        else:
            raise Misfit(f"the weights lack {weight.theirs}")
        state |= {n: part.clone() for n, part in zip(weight.ours, parts, strict=True)}
    return state


def _head_fits(config: Config, head: TokenHead) -> bool:
    """Whether their class has such a head: its norm is that of the network."""
    if not head.transform:
        return True
    return head.epsilon == config.get("layer_norm_eps", config.get("norm_eps"))


def _special_ids(model: Model) -> Config:
    tokenizer = model.tokenizer
    if tokenizer is None:
        return {"pad_token_id": None}
    specials = getattr(tokenizer, "specials", None)
    if specials is None:
        specials = {name: i for i, name in enumerate(SPECIALS)}
    words = {"pad": "<pad>", "bos": "<bos>", "eos": "<eos>", "cls": "<cls>", "sep": "<sep>"}
    return {f"{word}_token_id": specials.get(name) for word, name in words.items()}


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Theirs as they save it; ours as tokenizer.json where it has that form."""
    if callable(getattr(tokenizer, "save", None)):
        tokenizer.save(folder)
    elif callable(getattr(tokenizer, "portable", None)):
        (folder / "tokenizer.json").write_text(tokenizer.portable(), encoding="utf-8")
        words = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
        named = {f"{word}_token": name for word, name in zip(words, SPECIALS, strict=True)}
        about = {"tokenizer_class": "PreTrainedTokenizerFast", **named}
        text = json.dumps(about, indent=2) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
