"""Places of a model: the same in every family, where they begin and end, and found unnoticed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import BASES, answers, base, batch_for
from tests.contracts.test_adapters import digest, shape
from vitruvius.contracts import Lineage, Model, Sites, Stream, base_parameters
from vitruvius.techniques.layers import (
    Affine,
    Attention,
    BatchNorm,
    Block,
    Conv,
    Decoder,
    Encoder,
    FeedForward,
    Flatten,
    GlobalAveragePool,
    LayerNorm,
    ReLU,
    Residual,
    RMSNorm,
    SequenceConv,
    Sequential,
    SiLU,
    Tokens,
)
from vitruvius.train.building import Body, reset
from vitruvius.train.sites import KINDS, Located, chosen, locate
from vitruvius.train.text_bodies import fill, outline_text

pytest.importorskip("transformers")
kinds = pytest.mark.parametrize("kind", BASES)
APART = (
    "attention",
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.out",
)
FUSED = ("attention", "attention.query_key_value", "attention.out")
PLAIN, GATED = ("ffn", "ffn.up", "ffn.down"), ("ffn", "ffn.gate", "ffn.up", "ffn.down")
LAYER = {
    "ours": (*APART, *PLAIN),
    "bert": (*APART, *PLAIN),
    "roberta": (*APART, *PLAIN),
    "modernbert": (*FUSED, *PLAIN),
    "llama": (*APART, *GATED),
    "vit": (*APART, *PLAIN),
}
NORMS = {  # in the first layer, in the second; ours and ModernBERT's first has none of its own
    "ours": (1, 2),
    "bert": (2, 2),
    "roberta": (2, 2),
    "modernbert": (1, 2),
    "llama": (2, 2),
    "vit": (2, 2),
}
BEFORE = {
    "ours": ["embedding", "embedding", "norm"],
    "bert": ["embedding", "embedding", "embedding", "norm"],
    "roberta": ["embedding", "embedding", "norm", "embedding"],
    "modernbert": ["embedding", "norm"],
    "llama": ["embedding"],
    "vit": ["convolution"],
}
PATHS = {  # of the attention, its first map and its last, of the feed-forward, its first and last
    "ours": "network.blocks.0 mixer query out feed_forward up down",
    "bert": "network.encoder.layer.0 attention.output.dense attention.self.query "
    "attention.output.dense output.dense intermediate.dense output.dense",
    "roberta": "network.encoder.layer.0 attention.output.dense attention.self.query "
    "attention.output.dense output.dense intermediate.dense output.dense",
    "modernbert": "network.layers.0 attn Wqkv Wo mlp Wi Wo",
    "llama": "network.layers.0 self_attn q_proj o_proj mlp gate_proj down_proj",
    "vit": "network.layers.0 attention q_proj o_proj mlp fc1 fc2",
}
TEXT = Tokens(64, 32)
BLOCKS = {
    "post": Block(Attention(4), FeedForward(2.0), order="post"),
    "gated": Block(Attention(4), FeedForward(2.0, SiLU(), gated=True), RMSNorm()),
    "shared keys": Block(Attention(4, sharing=2, window=2), FeedForward(2.0, bias=False)),
}


def one(found: tuple[Located, ...], kind: str, depth: int = 0) -> Located:
    (only,) = (o for o in found if o.site.kind == kind and o.site.depth == depth)
    return only


def text_model(design: Encoder | Decoder) -> Model:
    return Model({"input": fill(outline_text(design, 2, 8)[0], 0).eval()}, {}, Lineage("x"))


def model_of(layer: Any, item: tuple[int, ...]) -> Model:
    """An own network of images or rows."""
    body = Body(layer.build(torch.empty((2, *item), device="meta"))).to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in body.modules():
            reset(part)
    return Model({"input": body.eval()}, {}, Lineage("x"))


def hidden(model: Model) -> Tensor:
    with torch.no_grad():
        return model.bodies["input"](batch_for(model).streams["input"]).hidden


@kinds
def test_every_family_has_the_same_places(kind: str) -> None:
    found = locate(base(kind))
    for depth in (0, 1):
        places = Counter(o.site.place for o in found if o.site.depth == depth)
        assert places == Counter({"layer": 1, "norm": NORMS[kind][depth]}) + Counter(LAYER[kind])
    assert [o.site.place for o in found if o.site.depth == -1] == BEFORE[kind]
    after = [o.site.place for o in found if o.site.depth == 2]
    assert after == (["output"] if "bert" in kind and kind != "modernbert" else ["norm", "output"])
    assert {o.site.kind for o in found} <= set(KINDS)
    assert all(o.site.tower == "input" for o in found)


@kinds
def test_paths_are_those_of_the_body_and_sizes_of_its_parameters(kind: str) -> None:
    model = base(kind)
    parameters, body = base_parameters(model), model.bodies["input"]
    found = locate(model)
    names = [(o.site.path, o.site.kind) for o in found]
    assert len(set(names)) == len(names)
    for o in found:
        tower, _, path = o.site.path.partition(".")
        assert tower == "input" and body.get_submodule(path) is o.module and o.body is body
        sizes = dict(o.site.sizes)
        width, after = sizes.pop("input"), sizes.pop("output")
        assert (sizes.pop("key", None) is not None) == (o.site.kind == "attention")
        heads = sizes.pop("heads", None)
        assert heads == (torch.Size([4, 16]) if o.site.kind == "attention" else None)
        assert all(parameters[f"{o.site.path}.{n}"].shape == size for n, size in sizes.items())
        if o.site.kind == "linear":
            assert (*after, *width) == sizes["weight"]
        elif o.site.kind in ("attention", "ffn", "layer", "norm", "output"):
            assert tuple(width) == tuple(after) == (64,)
    layer, attention, first, last, ffn, up, down = PATHS[kind].split()
    inner = ("", "") if "." in attention else (f"{attention}.", f"{ffn}.")
    for name, path, entry, exit_, at in (
        ("attention", attention, first, last, inner[0]),
        ("ffn", ffn, up, down, inner[1]),
    ):
        part = one(found, name)
        assert part.site.path == f"input.{layer}.{path}"
        assert part.entry is body.get_submodule(f"{layer}.{at}{entry}")
        assert part.exit is body.get_submodule(f"{layer}.{at}{exit_}")


@kinds
@pytest.mark.parametrize("part", ["attention", "ffn"])
def test_what_is_added_at_the_exit_goes_into_the_layer(kind: str, part: str) -> None:
    """A site that is read at its entry and computed anew gives what it gives at its exit."""
    model = base(kind)
    at = one(locate(model), part, 1)
    seen: dict[str, Tensor] = {}
    hooks = [
        at.entry.register_forward_pre_hook(lambda _, args: seen.update(x=args[0])),
        at.exit.register_forward_hook(lambda _, args, y: seen.update(y=y)),
    ]
    before = hidden(model)
    for hook in hooks:
        hook.remove()
    x, y = seen["x"], seen["y"]
    assert x.shape == y.shape and x.shape[-1:] == at.site.sizes["input"] == torch.Size([64])
    if at.module is not at.exit and part == "ffn":
        torch.testing.assert_close(at.module(x), y)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    moved = at.exit.register_forward_hook(lambda _, args, y: y + noise)
    assert not torch.allclose(hidden(model), before, atol=1e-3)
    moved.remove()
    constant = at.exit.register_forward_hook(lambda _, args, made: y)
    changed = at.entry.register_forward_pre_hook(lambda _, args: (args[0] + 3.0,))
    if part == "ffn":  # of an attention, key and value read for themselves
        assert torch.equal(hidden(model), before), "nothing else depends on what its entry reads"
    constant.remove()
    assert not torch.allclose(hidden(model), before, atol=1e-4)
    changed.remove()
    assert torch.equal(hidden(model), before)


@kinds
def test_the_output_is_what_the_body_gives(kind: str) -> None:
    model = base(kind)
    at = one(locate(model), "output", 2)
    assert at.entry is at.exit is at.module
    before = hidden(model)
    hook = at.exit.register_forward_hook(lambda _, args, y: 2 * y)
    assert torch.equal(hidden(model), 2 * before)
    hook.remove()


@kinds
def test_nothing_is_changed_by_looking(kind: str) -> None:
    model = base(kind)
    body = model.bodies["input"].train()
    next(body.parameters()).requires_grad_(False)
    state = torch.random.get_rng_state()
    before, built = digest(model), shape(model)
    first, again = locate(model), locate(model)
    assert [o.site for o in first] == [o.site for o in again]
    assert (digest(model), shape(model)) == (before, built)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(answers(model), answers(base(kind)))


def test_a_buffer_that_every_pass_moves_is_put_back() -> None:
    class Counting(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return x

    model = model_of(Sequential(Affine(4), Affine(4)), (3,))
    body: Any = model.bodies["input"]
    body.network.append(Counting())
    held = body.network[2].seen
    locate(model)
    assert body.network[2].seen is held and not held.any()


@kinds
def test_half_precision_is_seen_through(kind: str) -> None:
    model = base(kind)
    wide = [(o.site.path, o.site.place) for o in locate(model)]
    model.bodies["input"].to(torch.bfloat16)
    assert [(o.site.path, o.site.place) for o in locate(model)] == wide


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("design", [Encoder, Decoder])
def test_all_blocks_of_ours(name: str, design: type[Encoder]) -> None:
    block = BLOCKS[name]
    found = locate(text_model(design(TEXT, (block, block))))
    ffn = GATED if name == "gated" else PLAIN
    for depth in (0, 1):
        places = {o.site.place for o in found if o.site.depth == depth}
        assert places - {"norm", "layer"} == {*APART, *ffn}
    entry = one(found, "ffn").entry
    (opening,) = (o for o in found if o.module is entry)
    assert opening.site.place == ("ffn.gate" if name == "gated" else "ffn.up")
    keys = [o.site.sizes["output"] for o in found if o.site.place == "attention.key"]
    assert keys == [torch.Size([32 if name == "shared keys" else 64])] * 2


class Blocks(nn.Module):
    """A body of blocks that read hidden states, after a table."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.table = nn.Embedding(8, 16)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, stream: Stream) -> Tensor:
        x = self.table(stream.values)
        for block in self.blocks:
            x = x + block(x)
        return x


class Smoothing(nn.Module):
    """A map, a running mean over the tokens, and a map back."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.before(x).cumsum(1))


class Named(nn.Module):
    """An attention whose three maps have names of no library, and feed-forward beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(16, 16) for _ in range(4))
        self.w1, self.w2, self.w3 = nn.Linear(16, 8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.a(x) @ self.b(x).mT).softmax(-1)
        mixed = self.d(weights @ self.c(x))
        return mixed + self.w2(self.w1(x).sigmoid() * self.w3(x))


def of_blocks(*blocks: nn.Module) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model({"input": Blocks(*blocks)}, {}, Lineage("x"))


def test_a_mixer_with_maps_around_it_is_no_attention() -> None:
    found = locate(of_blocks(Smoothing(), Smoothing()))
    assert {o.site.place for o in found} == {"embedding", "layer", "linear", "output"}


def test_names_are_not_needed() -> None:
    found = locate(of_blocks(Named(), Named()))
    places = {o.site.path.rpartition(".")[2]: o.site.place for o in found if o.site.depth == 0}
    places = {name: place for name, place in places.items() if name in "abcdw1w2w3"}
    assert places == {
        "a": "attention.query", "b": "attention.key", "c": "attention.value", "d": "attention.out",
        "w1": "ffn.gate", "w3": "ffn.up", "w2": "ffn.down",
    }  # fmt: skip


def test_torchs_own_attention_reads_its_map_itself() -> None:
    layers = (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2))
    found = locate(of_blocks(*layers))
    linears = [(o.site.path, o.site.place) for o in found if o.site.kind == "linear"]
    assert linears == [
        (f"input.blocks.{depth}.{name}", place)
        for depth in (0, 1)
        for name, place in (("linear1", "ffn.up"), ("linear2", "ffn.down"))
    ]


def test_what_is_shared_is_there_once() -> None:
    layer = Named()
    model = of_blocks(layer, layer)
    assert len([o for o in locate(model) if o.site.place == "attention.query"]) == 1
    body = base("ours").bodies["input"]
    both = locate(Model({"input": body, "text": body}, {}, Lineage("x")))
    assert [o.site for o in both] == [o.site for o in locate(base("ours"))]
    other = base("ours", 1).bodies["input"]
    towers = locate(Model({"input": body, "text": other}, {}, Lineage("x")))
    assert len(towers) == 2 * len(both)
    assert {o.site.tower for o in chosen(Sites(towers=("text",)), towers)} == {"text"}


def test_images_of_our_own_layers() -> None:
    net = Sequential(
        Conv(4), BatchNorm(), ReLU(), Residual(Conv(4)), GlobalAveragePool(), Affine(3)
    )
    found = locate(model_of(net, (1, 8, 8)))
    assert [(o.site.path, o.site.kind, o.site.depth) for o in found if o.site.kind != "layer"] == [
        ("input.network.0", "convolution", 0),
        ("input.network.1", "norm", 1),
        ("input.network.3.body", "convolution", 2),
        ("input.network.5", "linear", 3),
        ("input.network.5", "output", 4),
    ]
    sizes = found[1].site.sizes
    assert sizes == {
        "weight": torch.Size([4, 1, 3, 3]), "bias": torch.Size([4]),
        "input": torch.Size([1]), "output": torch.Size([4]),
    }  # fmt: skip


@pytest.mark.parametrize(("net", "item"), [
    (Sequential(Affine(4), LayerNorm(), Affine(3)), (5,)),
    (Sequential(SequenceConv(4), LayerNorm(), Affine(3)), (6, 5)),
    (Sequential(Conv(4), Flatten(), Affine(3)), (1, 9, 9)),
], ids=["rows", "sequences", "images of a size that is not tried"])  # fmt: skip
def test_bodies_of_other_shapes(net: Any, item: tuple[int, ...]) -> None:
    found = locate(model_of(net, item))
    depths = [o.site.depth for o in found if o.site.kind == "layer"]
    linears = [o.site.depth for o in found if o.site.kind == "linear"]
    assert depths == [*range(len(depths))] and linears[-1] == depths[-1]


def test_a_pooler_that_nobody_reads_is_no_site() -> None:
    assert all("pooler" not in o.site.path for kind in ("bert", "vit") for o in locate(base(kind)))
    assert any("pooler" in name for name in base_parameters(base("bert")))


def test_a_body_without_weights_is_refused() -> None:
    body = outline_text(Encoder(TEXT, (Block(),)), 2, 8)[0]
    with pytest.raises(ValueError, match=r"TextBody has no weights yet \(it is on meta\)\. Fill"):
        locate(Model({"input": body}, {}, Lineage("x")))


def test_a_body_that_fails_says_how() -> None:
    class Broken(Blocks):
        def forward(self, stream: Stream) -> Tensor:
            raise RuntimeError("no such rows")

    with pytest.raises(RuntimeError, match="no such rows"):
        locate(Model({"input": Broken(nn.Linear(16, 16))}, {}, Lineage("x")))


def test_the_real_model_has_them_too() -> None:
    from tests.interop.tiny import mini_lm
    from vitruvius.interop.pretrained import load_pretrained

    found = locate(load_pretrained(str(mini_lm())))
    for depth in range(6):
        places = Counter(o.site.place for o in found if o.site.depth == depth)
        assert places == Counter({"layer": 1, "norm": 2}) + Counter(LAYER["bert"])


def deep(layers: int) -> tuple[Located, ...]:
    block = Block(Attention(2), FeedForward(1.0))
    return locate(text_model(Encoder(Tokens(8, 32), (block,) * layers)))


@pytest.mark.parametrize(
    ("shares", "layers", "meant"),
    [((0.0,), 4, {0}), ((1.0,), 4, {3}), ((0.3, 0.7), 4, {1, 2}), ((0.0, 1.0), 1, {0})],
)
def test_layers_are_meant_by_shares(
    shares: tuple[float, ...], layers: int, meant: set[int]
) -> None:
    found = chosen(Sites(("linear",), ("ffn.up",), shares), deep(layers))
    assert {o.site.depth for o in found} == meant and len(found) == len(meant)


def test_sites_are_narrowed_by_all_that_is_given() -> None:
    found = locate(base("llama"))
    assert chosen(Sites(kinds=()), found) == found
    assert len(chosen(Sites(), found)) == 14
    picked = chosen(Sites(places=("attention.query", "attention.value"), depths=(1.0,)), found)
    assert [o.site.path for o in picked] == [
        "input.network.layers.1.self_attn.q_proj",
        "input.network.layers.1.self_attn.v_proj",
    ]
    assert [o.site.depth for o in chosen(Sites(("attention", "ffn"), depths=(0.0,)), found)] == [
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (
            Sites(("convolution",)),
            r"Sites\.kinds names 'convolution', a site that does not exist in this model\. "
            r"There is embedding, norm, layer, linear, attention, ffn, output\.",
        ),
        (
            Sites(places=("ffn.gate",)),
            r"Sites\.places names 'ffn\.gate', .* ffn\.up, ffn, ",
        ),
        (Sites(towers=("text",)), r"Sites\.towers names 'text', a site .* There is input\."),
        (Sites(depths=(2.0,)), r"Sites\.depths must be shares from 0, .*, the last; got 2\.0"),
        (
            Sites(("embedding",), depths=(0.0,)),
            r"means a site that does not exist in this model\. "
            r"Of these kinds there is embedding of input; layers: 2\.",
        ),
        (Sites(("norm",), ("ffn.up",)), r"means a site that does not .* there is norm of input"),
    ],
)
def test_a_site_that_does_not_exist(sites: Sites, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        chosen(sites, locate(base("bert")))
    assert "\n" not in str(raised.value)


def test_patches_of_our_own_are_read_as_images() -> None:
    from vitruvius.techniques.layers import Attention, Block, Encoder, Patches
    from vitruvius.train.building import TokenBody

    design = Encoder(Patches(16, 2), (Block(Attention(2)),) * 2, positions=None)
    body = TokenBody(design.build(torch.zeros(2, 1, 8, 8))).eval()
    found = locate(Model({"input": body}, {}, Lineage("start")))
    places = [one.site.place for one in found]
    assert places.count("attention.query") == places.count("ffn.down") == 2
    assert places.count("output") == 1
