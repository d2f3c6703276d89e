"""What AutoModel loads comes in, gives the same, and goes out again."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.interop.tiny import KINDS, folder, mini_lm, network, tokenizer
from vitruvius.contracts import Batch, Codec, Layout, Lineage, Model, Pretrained, Stream, Task
from vitruvius.interop.foreign_files import PretrainedError, located
from vitruvius.interop.foreign_tokenizer import ForeignTokenizer
from vitruvius.interop.pretrained import (
    FromPretrained,
    PretrainedBody,
    load_pretrained,
    save_pretrained,
    takes_masks,
)
from vitruvius.interop.pretrained_images import PretrainedImageBody
from vitruvius.space import from_json, one_of, replay, to_json
from vitruvius.techniques.heads import PooledReadout, Readout
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.meter import FlopMeter

transformers = pytest.importorskip("transformers")
kinds = pytest.mark.parametrize("kind", KINDS)
TEXTS = ("the heart of the unknown bone", "a b", "renal failure is unknowns")


def alone(ids: torch.Tensor) -> Stream:
    """Rows without padding."""
    positions = torch.arange(ids.shape[1]).expand(ids.shape)
    return Stream(ids, Layout(positions, torch.ones_like(ids)))


def ids_of(items: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, 20, (items, length), generator=torch.Generator().manual_seed(seed))


@kinds
def test_a_round_trip_keeps_every_bit(tmp_path: Path, kind: str) -> None:
    source = folder(tmp_path / "theirs", kind)
    model = FromPretrained(str(source)).load()
    saved = save_pretrained(model, tmp_path / "ours")
    first = transformers.AutoModel.from_pretrained(source)
    again = transformers.AutoModel.from_pretrained(saved)
    assert type(again) is type(first)
    theirs, ours = first.state_dict(), again.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    ids = ids_of(2, 9)
    with torch.inference_mode():
        expected = first(input_ids=ids).last_hidden_state
        assert torch.equal(again(input_ids=ids).last_hidden_state, expected)
        found = model.bodies["input"](alone(ids)).hidden
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    words = transformers.AutoTokenizer.from_pretrained(saved)
    assert words(TEXTS[0])["input_ids"] == tokenizer(kind != "llama")(TEXTS[0])["input_ids"]
    assert not list(tmp_path.glob(".*")), "nothing is left beside"


@kinds
def test_trained_weights_are_what_is_saved(tmp_path: Path, kind: str) -> None:
    model = load_pretrained(str(folder(tmp_path / "theirs", kind)))
    body = model.bodies["input"].train()
    body(alone(ids_of(2, 5))).hidden.square().sum().backward()
    with torch.no_grad():
        for parameter in body.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    saved = save_pretrained(model, tmp_path / "ours")
    again = load_pretrained(str(saved))
    assert digest_of(again.bodies["input"].state_dict()) == digest_of(body.state_dict())
    assert again.lineage.base != model.lineage.base


@kinds
def test_padding_on_either_side_changes_nothing(tmp_path: Path, kind: str) -> None:
    body = load_pretrained(str(folder(tmp_path, kind))).bodies["input"]
    ids = ids_of(1, 6)
    with torch.inference_mode():
        expected = body(alone(ids)).hidden
        for left in (0, 3):
            wide = torch.zeros(2, 9, dtype=torch.long)
            segments = wide.clone()
            wide[0, left : left + 6], segments[0, left : left + 6] = ids[0], 1
            wide[1], segments[1] = ids_of(1, 9, 1)[0], 1
            positions = (segments.cumsum(1) - 1).clamp(min=0)
            found = body(Stream(wide, Layout(positions, segments))).hidden[0, left : left + 6]
            torch.testing.assert_close(found, expected[0], rtol=1e-5, atol=1e-5)


@kinds
def test_a_padded_batch_is_what_transformers_makes_of_it(tmp_path: Path, kind: str) -> None:
    source = folder(tmp_path, kind)
    model = load_pretrained(str(source))
    assert isinstance(model.tokenizer, ForeignTokenizer)
    stream = model.tokenizer.stream(TEXTS)
    theirs = transformers.AutoModel.from_pretrained(source).eval()
    batch = tokenizer(kind != "llama")(list(TEXTS), padding=True, return_tensors="pt")
    assert torch.equal(stream.values, batch["input_ids"])
    assert torch.equal(stream.layout.segments, batch["attention_mask"])
    if kind == "roberta":  # it tells padding by id: ours has another id for it
        batch["position_ids"] = (stream.layout.positions + 2).where(stream.layout.segments != 0, 1)
    with torch.inference_mode():
        expected = theirs(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            position_ids=batch.get("position_ids"),
        ).last_hidden_state
        found = model.bodies["input"](stream).hidden
    real = stream.layout.segments != 0
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-6)


@kinds
@pytest.mark.parametrize("packs", [True, False], ids=["by mask", "taken apart"])
def test_packed_documents_do_not_see_each_other(tmp_path: Path, kind: str, packs: bool) -> None:
    made = network(kind)
    assert takes_masks(made)
    body = PretrainedBody(made, packs)
    first, second, third = ids_of(1, 4, 1), ids_of(1, 5, 2), ids_of(1, 3, 3)
    packed = torch.zeros(2, 9, dtype=torch.long)
    segments = packed.clone()
    positions = packed.clone()
    for row, start, part, number in ((0, 0, first, 1), (0, 4, second, 2), (1, 2, third, 1)):
        places = slice(start, start + part.shape[1])
        packed[row, places], segments[row, places] = part[0], number
        positions[row, places] = torch.arange(part.shape[1])
    taps = frozenset({"layer.0"})
    with torch.inference_mode():
        found = body(Stream(packed, Layout(positions, segments)), taps)
        for row, start, part in ((0, 0, first), (0, 4, second), (1, 2, third)):
            expected = body(alone(part), taps)
            places = slice(start, start + part.shape[1])
            torch.testing.assert_close(
                found.hidden[row, places], expected.hidden[0], rtol=1e-5, atol=1e-5
            )
            torch.testing.assert_close(
                found.taps["layer.0"][row, places],
                expected.taps["layer.0"][0],
                rtol=1e-5,
                atol=1e-5,
            )


def test_a_model_with_windows_is_taken_apart() -> None:
    windowed = transformers.AutoModel.from_config(
        transformers.MistralConfig(
            vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, sliding_window=4,
        )
    )  # fmt: skip
    assert not takes_masks(windowed)


@kinds
def test_gradients_flow_through_rows_that_were_taken_apart(kind: str) -> None:
    body = PretrainedBody(network(kind), packs=False)
    segments = torch.tensor([[1, 1, 2, 2, 0]])
    layout = Layout(torch.tensor([[0, 1, 0, 1, 0]]), segments)
    body(Stream(ids_of(1, 5), layout)).hidden.square().sum().backward()
    assert body.network.get_input_embeddings().weight.grad.abs().sum() > 0


@kinds
def test_taps_are_the_hidden_states(tmp_path: Path, kind: str) -> None:
    body = load_pretrained(str(folder(tmp_path, kind))).bodies["input"]
    ids = ids_of(2, 5)
    wanted = frozenset({"stem", "layer.0", "layer.2"})
    with torch.inference_mode():
        made = body(alone(ids), wanted)
        theirs = body.network(input_ids=ids, output_hidden_states=True).hidden_states
    assert set(made.taps) == wanted
    for name, place in (("stem", 0), ("layer.0", 1), ("layer.2", 3)):
        torch.testing.assert_close(made.taps[name], theirs[place], rtol=1e-5, atol=1e-6)
    assert torch.equal(made.taps["layer.2"], made.hidden)
    assert not body(alone(ids)).taps
    with pytest.raises(ValueError, match=r"no tap 'layer\.3'; .* 'layer\.0' to 'layer\.2'"):
        body(alone(ids), frozenset({"layer.3"}))


@kinds
def test_it_is_weighed_on_meta(tmp_path: Path, kind: str) -> None:
    node = FromPretrained(str(folder(tmp_path, kind)))
    x = torch.empty(2, 8, dtype=torch.long, device="meta")
    body = node.build(x)
    assert body(Stream(x)).hidden.shape == (2, 8, 16)
    cost = FlopMeter().weigh(body, Stream(x))
    assert cost.parameters == sum(p.numel() for p in node.load().bodies["input"].parameters())
    tokens, layers, products = 2 * 8, 3, 2
    assert cost.flops > tokens * layers * products * (2 * 16 * 32)


def test_the_node_stands_in_a_space(tmp_path: Path) -> None:
    source = str(folder(tmp_path, "bert"))
    space = one_of(FromPretrained(source), FromPretrained("owner/model", revision="main"))
    node = replay(space, {"one_of": "FromPretrained"})
    assert isinstance(node, Pretrained) and node.decided
    assert from_json(json.loads(json.dumps(to_json(node)))) == node
    assert eval(repr(node)) == node
    assert FromPretrained.opens == ("source",)


def test_the_lineage_names_the_weights(tmp_path: Path) -> None:
    one = FromPretrained(str(folder(tmp_path / "one", "bert"))).load()
    same = FromPretrained(str(folder(tmp_path / "same", "bert"))).load()
    other = FromPretrained(str(folder(tmp_path / "other", "bert", seed=1))).load()
    assert one.lineage.base == one.lineage.initial == same.lineage.base != other.lineage.base
    assert one.lineage.base == digest_of(network("bert").state_dict())


def test_loading_draws_nothing_and_a_missing_pooler_is_the_same_each_time(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = folder(tmp_path, "bert")
    kept = load_file(source / "model.safetensors")
    few = {n: t for n, t in kept.items() if "pooler" not in n}
    assert len(few) < len(kept)
    save_file(few, source / "model.safetensors", metadata={"format": "pt"})
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one = load_pretrained(str(source))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    assert load_pretrained(str(source)).lineage == one.lineage


def test_a_document_that_is_too_long_is_refused(tmp_path: Path) -> None:
    for kind, most in (("bert", 40), ("roberta", 38)):
        body = load_pretrained(str(folder(tmp_path / kind, kind))).bodies["input"]
        assert body.longest == most
        assert body(alone(ids_of(1, most))).hidden.shape == (1, most, 16)
        with pytest.raises(ValueError, match=rf"at most {most} tokens; got {most + 1}"):
            body(alone(ids_of(1, most + 1)))


def spoiled(source: Path, how: str) -> None:
    weights, config_file = source / "model.safetensors", source / "config.json"
    content = json.loads(config_file.read_text())
    match how:
        case "no config":
            config_file.unlink()
        case "torn config":
            config_file.write_text("{")
        case "an adapter":
            config_file.rename(source / "adapter_config.json")
        case "remote code":
            content |= {"model_type": "mystery", "auto_map": {"AutoModel": "modeling.Mystery"}}
            config_file.write_text(json.dumps(content))
            (source / "modeling.py").write_text("raise SystemExit('this must never run')")
        case "unknown kind":
            config_file.write_text(json.dumps(content | {"model_type": "mystery"}))
        case "pickled":
            weights.rename(source / "pytorch_model.bin")
        case "no weights":
            weights.unlink()
        case "cut short":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "other sizes":
            config_file.write_text(json.dumps(content | {"hidden_size": 24}))
        case "more layers":
            config_file.write_text(json.dumps(content | {"num_hidden_layers": 4}))
        case "lost shard":
            index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
            weights.unlink()
            (source / "model.safetensors.index.json").write_text(json.dumps(index))
        case "no tokenizer":
            (source / "tokenizer.json").unlink()
        case "torn tokenizer":
            (source / "tokenizer.json").write_text("{}")
        case "foreign tokenizer":
            made = json.loads((source / "tokenizer.json").read_text())
            made["model"]["vocab"]["beyond"] = 32
            (source / "tokenizer.json").write_text(json.dumps(made))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no config", r"is not the folder of a model: config\.json is missing"),
        ("torn config", r"config\.json cannot be read"),
        ("an adapter", r"is an adapter, not a model"),
        ("remote code", r"wants to run code of its own .*no code of a model is ever run"),
        ("unknown kind", r"model_type 'mystery', which transformers .* does not know"),
        ("pickled", r"only pytorch_model\.bin: weights are loaded from safetensors alone"),
        ("no weights", r"holds no weights: model\.safetensors is missing"),
        ("cut short", r"model\.safetensors is damaged"),
        ("other sizes", r"cannot be loaded as a model|have another shape"),
        ("more layers", r"lack encoder\.layer\.3\..* and \d+ more: they are not those of its"),
        ("lost shard", r"not whole: model-00001-of-00002\.safetensors of its index is missing"),
        ("no tokenizer", r"holds no tokenizer \(tokenizer\.json is missing\)"),
        ("torn tokenizer", r"The tokenizer in .* cannot be loaded"),
        ("foreign tokenizer", r"has 33 tokens, the model 32: they do not belong together"),
    ],
)
def test_what_cannot_be_loaded_says_why(tmp_path: Path, how: str, message: str) -> None:
    source = folder(tmp_path / "model", "bert")
    load_pretrained(str(source))
    spoiled(source, how)
    with pytest.raises(PretrainedError, match=message) as raised:
        load_pretrained(str(source))
    assert "\n" not in str(raised.value)


def test_code_beside_a_known_kind_is_not_run(tmp_path: Path) -> None:
    source = folder(tmp_path, "bert")
    content = json.loads((source / "config.json").read_text())
    content["auto_map"] = {"AutoModel": "modeling.Mystery", "AutoConfig": "modeling.Config"}
    (source / "config.json").write_text(json.dumps(content))
    (source / "modeling.py").write_text("raise SystemExit('this must never run')")
    body = load_pretrained(str(source)).bodies["input"]
    assert type(body.network) is transformers.BertModel


def test_an_encoder_decoder_is_refused() -> None:
    t5 = transformers.AutoModel.from_config(
        transformers.T5Config(vocab_size=32, d_model=16, d_ff=32, num_layers=1, num_heads=2)
    )
    with pytest.raises(PretrainedError, match=r"T5Model reads no single stream of ids"):
        PretrainedBody(t5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./nowhere", r"There is no folder '\./nowhere'"),
        ("a/b/c", r"There is no folder 'a/b/c'"),
        ("", r"There is no folder ''"),
        ("nobody/nothing", r"'nobody/nothing' is no folder, is not whole in the cache"),
    ],
)
def test_a_folder_that_is_not_there(
    source: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PretrainedError, match=message):
        located(source)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(PretrainedError, match=r"must be the folder of a model; .* is a file"):
        located(str(tmp_path / "model.safetensors"))


def test_only_what_came_in_so_goes_out_so(tmp_path: Path) -> None:
    own = Model({"input": torch.nn.Identity()}, {}, Lineage(""))
    with pytest.raises(PretrainedError, match="Only a body from FromPretrained"):
        save_pretrained(own, tmp_path / "new")
    model = load_pretrained(str(folder(tmp_path / "model", "bert")))
    with pytest.raises(PretrainedError, match="exists and is not empty"):
        save_pretrained(model, tmp_path / "model")


def test_the_tokenizer_is_a_codec(tmp_path: Path) -> None:
    made = ForeignTokenizer(tokenizer())
    assert isinstance(made, Codec)
    assert made.specials == {"<pad>": 0, "<unk>": 1, "<cls>": 2, "<sep>": 3, "<mask>": 4}
    assert (made.frame, made.pair_frame) == (((2,), (3,)), ((2,), (3,), (3,)))
    assert made.vocabulary == len(made.tokens()) == len(set(made.tokens()))
    text = "The  heart, unknowns [MASK]"
    found = made.encode(text)
    pieces = [made.tokens()[i] for i in found.ids]
    assert pieces[:2] == ["the", "heart"] and "[MASK]" not in pieces and 2 not in found.ids
    assert [text[a:b] for a, b in found.offsets[:2]] == ["The", "heart"]
    at = pieces.index("un")
    assert [text[a:b] for a, b in found.offsets[at : at + 3]] == ["un", "known", "s"]
    assert found.words is not None and len(set(found.words[at : at + 3])) == 1
    assert made.decode(found.ids[:2]) == "the heart"
    (ids, begins), (none, no_words) = made.encode_many([text, ""], words=True)
    assert tuple(ids.tolist()) == found.ids and len(none) == 0 and no_words is not None
    words = np.array(found.words)
    assert begins is not None and np.array_equal(begins == 1, np.diff(words, prepend=-9) != 0)
    assert pickle.loads(pickle.dumps(made)).encode(text) == found or (
        pickle.loads(pickle.dumps(made)).encode(text).ids == found.ids
    )


def test_a_stream_knows_words_and_specials() -> None:
    made = ForeignTokenizer(tokenizer())
    stream = made.stream(["the unknowns", "a"])
    assert stream.layout.words is not None and stream.layout.fixed is not None
    assert stream.layout.words.tolist() == [[-1, 0, 1, 1, 1, -1], [-1, 0, -1, -1, -1, -1]]
    assert stream.layout.segments.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert stream.layout.positions.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 0, 0]]
    assert stream.layout.fixed.tolist() == [[1, 0, 0, 0, 0, 1], [1, 0, 1, 1, 1, 1]]
    short = made.stream(["the unknowns", "a"], longest=4)
    assert short.values.tolist()[0] == [*stream.values[0, :3].tolist(), 3]
    with pytest.raises(ValueError, match=r"beside the 2 specials of this model; got 2"):
        made.stream(["a"], longest=2)


def test_pairs_are_framed_and_the_longer_text_is_cut() -> None:
    made = ForeignTokenizer(tokenizer())
    a, b, c = (made.encode(word).ids[0] for word in "abc")
    assert made.pairs(["a b"], ["c"]).values.tolist() == [[2, a, b, 3, c, 3]]
    cut = made.pairs(["a b a b a b", "c"], ["c", "a b a b a b"], longest=7).values.tolist()
    assert cut == [[2, a, b, a, 3, c, 3], [2, c, 3, a, b, a, 3]]
    theirs = tokenizer()(["a b"], ["c"])["input_ids"]
    assert made.pairs(["a b"], ["c"]).values.tolist() == theirs


def test_mini_lm_is_the_real_one(tmp_path: Path) -> None:
    source = mini_lm()
    model = FromPretrained(str(source)).load()
    body, words = model.bodies["input"], model.tokenizer
    assert isinstance(words, ForeignTokenizer) and isinstance(body, PretrainedBody)
    assert (words.vocabulary, body.longest, body.packs, body.causal) == (30522, 512, True, False)
    texts = ["A man is eating food.", "Someone eats a meal.", "The stock market fell sharply."]
    theirs = transformers.AutoModel.from_pretrained(source).eval()
    batch = transformers.AutoTokenizer.from_pretrained(source)(
        texts, padding=True, return_tensors="pt"
    )
    stream = words.stream(texts)
    assert torch.equal(stream.values, batch["input_ids"])
    with torch.inference_mode():
        expected = theirs(**batch).last_hidden_state
        found = body(stream).hidden
    real = stream.layout.segments != 0
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)
    weight = real.unsqueeze(-1).float()
    mean = torch.nn.functional.normalize((found * weight).sum(1) / weight.sum(1), dim=1)
    alike = mean @ mean.T
    assert alike[0, 1] > 0.6 > 0.2 > alike[0, 2]
    saved = save_pretrained(model, tmp_path / "saved")
    again = transformers.AutoModel.from_pretrained(saved).state_dict()
    assert all(torch.equal(t, again[n]) for n, t in theirs.state_dict().items())
    assert load_pretrained(str(saved)).lineage.base == model.lineage.base


def images(items: int = 2, side: int = 16) -> torch.Tensor:
    return torch.randn(items, 1, side, side, generator=torch.Generator().manual_seed(0))


def test_an_image_model_reads_pixels(tmp_path: Path) -> None:
    source = folder(tmp_path / "vit", "vit")
    node = FromPretrained(str(source))
    model = node.load()
    body = model.bodies["input"]
    assert isinstance(body, PretrainedImageBody) and body.shape == (1, 16, 16)
    assert model.tokenizer is None and model.lineage.base == digest_of(body.network.state_dict())
    theirs = transformers.AutoModel.from_pretrained(source).eval()
    with torch.inference_mode():
        expected = theirs(pixel_values=images(), output_hidden_states=True)
        found = body(Stream(images()), frozenset({"stem", "layer.2"}))
    assert torch.equal(found.hidden, expected.last_hidden_state)
    assert torch.equal(found.taps["stem"], expected.hidden_states[0])
    assert torch.equal(found.taps["layer.2"], expected.hidden_states[3])
    again = load_pretrained(str(save_pretrained(model, tmp_path / "ours")))
    assert again.lineage == model.lineage
    rebuilt = PretrainedImageBody.rebuild(body.describe())
    assert rebuilt.network.state_dict().keys() == body.network.state_dict().keys()
    x = torch.empty(2, 1, 16, 16, device="meta")
    cost = FlopMeter().weigh(node.build(x), Stream(x))
    assert cost.parameters == sum(p.numel() for p in body.parameters()) and cost.flops > 0


@pytest.mark.parametrize("head", [PooledReadout("cls"), PooledReadout("mean"), Readout()])
def test_heads_work_on_an_image_model(head: PooledReadout | Readout) -> None:
    outputs = PretrainedImageBody(network("vit"))(Stream(images(3)))
    module = head.build(outputs.hidden, Task("kind", "item", labels=("a", "b"))).eval()
    batch = Batch({"input": Stream(images(3))}, {}, torch.arange(3))
    answer = module(outputs, batch)
    assert answer.shape == (3, 2) and torch.equal(answer, module(outputs, None))


def test_images_that_do_not_fit_are_refused() -> None:
    body = PretrainedImageBody(network("vit"))
    with pytest.raises(ValueError, match=r"ViTModel reads images \[1, 16, 16\] .* got \[1, 8, 8\]"):
        body(Stream(images(side=8)))
    with pytest.raises(ValueError, match=r"of real numbers; got \[1, 16, 16\] of torch\.int64"):
        body(Stream(images().long()))
    with pytest.raises(PretrainedError, match=r"BertModel does not say which images it reads"):
        PretrainedImageBody(network("bert"))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTMAEConfig(**sizes, intermediate_size=16, image_size=32)
    with pytest.raises(PretrainedError, match=r"ViTMAEModel reads no single image whole"):
        PretrainedImageBody(transformers.ViTMAEModel(config))
