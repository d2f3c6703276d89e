"""An exported program gives what the model gives, where there is nothing but torch."""

import gzip
import importlib
import json
import pkgutil
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import vitruvius.techniques.layers as folder_of_layers
from vitruvius.contracts import Documents, Fitted, Layer, Split, State
from vitruvius.data import read_inputs
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.export import ExportError, export, predict_file
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import Infeasible, Repeat, either_order, one_of, optional, replay, sample
from vitruvius.study.worker import USER_MODULE, load_user_file
from vitruvius.techniques.encoders import Columns
from vitruvius.techniques.heads import Answer, Readout
from vitruvius.techniques.layers import (
    ELU,
    GELU,
    Affine,
    Attention,
    AveragePool,
    BatchNorm,
    Block,
    Branches,
    Combine,
    Conv,
    Dense,
    Dropout,
    Encoder,
    FeedForward,
    Flatten,
    GlobalAveragePool,
    Graph,
    GroupNorm,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Patches,
    ReLU,
    Residual,
    RMSNorm,
    SeparableConv,
    SequenceConv,
    Sequential,
    Sigmoid,
    SiLU,
    SqueezeExcite,
    Tanh,
    Wire,
)
from vitruvius.testing.exported import (
    answers_in,
    check_alone,
    ruff_finds,
    run_isolated,
    try_isolated,
)
from vitruvius.testing.untrained import Run, untrained

EVIDENCE = {
    "source": "somewhere/digits",
    "metric": "accuracy",
    "better": "higher",
    "items": {"train": 1079, "validation": 359, "test": 359},
    "data": {"train": "ab" * 32, "validation": "cd" * 32, "test": "ef" * 32},
    "floor": {"name": "accuracy of the class frequencies", "value": 0.1014},
    "seed": 7,
    "trials": 12,
    "budget": {"seconds": 60.0, "trials": None, "flops": None},
    "versions": {"vitruvius": "0.1.0", "torch": "2.13.0"},
    "final": {
        "trial": 4,
        "selected": 0.9833,
        "validation": 0.975,
        "rescored": [
            {"trial": 4, "seed": 8, "score": 0.97},
            {"trial": 4, "seed": 9, "score": 0.98},
            {"trial": 5, "seed": 8, "score": 0.5},
        ],
        "test": {"score": 0.9721, "stderr": 0.0087, "items": 359},
    },
}


def pipeline(source: str, model, head=None, target=None, **load_fields) -> Pipeline:
    train = Train(model=model, head=head or Readout())
    return Pipeline(Load(source, target, **load_fields), train, Evaluate())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 handwritten digits as uint8 in an .npz file."""
    pixels = np.rint(load_digits().images[:40] * (255 / 16)).astype(np.uint8)
    path = tmp_path_factory.mktemp("digits") / "new.npz"
    np.savez(path, x=pixels[:, None])
    return path


def agrees(run: Run, out: Path, data: Path, text: str) -> None:
    """In one process, through our classes, and by the program: the same answers."""
    check_alone(out / "model.py", images=run.state.fitted["inputs"].values["medium"] == "image")
    documents = read_inputs(data, run.state.fitted["inputs"].values)
    expected = run.answers(documents).double()
    for lines in (text, "\n".join(predict_file(out, data))):
        found = answers_in(lines)
        assert found.shape == expected.shape
        if expected.dim() == 1:
            assert torch.allclose(found, expected, rtol=1e-6, atol=0)
        else:
            assert (found - expected).abs().max() < 1e-6
    assert text.splitlines()[0] == predict_file(out, data)[0]


# ------------------------------------------------------------------------- designs


def image_space():
    block = either_order(Conv(one_of(6, 8), kernel=one_of(2, 3)), BatchNorm())
    return Sequential(
        Repeat(
            one_of(
                Sequential(block, one_of(ReLU(), LeakyReLU(), ELU(), GELU())),
                Residual(Sequential(block, SiLU()), shortcut=one_of("zeros", "project")),
                Branches(Conv(6), SeparableConv(6), combine=one_of("sum", "mean", "concat")),
                Dense(Conv(4), Sequential(Conv(4), Tanh())),
            ),
            times=one_of(1, 2, 3),
        ),
        optional(one_of(MaxPool.space(), AveragePool.space())),
        optional(Dropout(0.2)),
        one_of(GlobalAveragePool(), Flatten(), Identity()),
        optional(Affine(24)),
    )


FIXED = {
    "wide-to-narrow": Sequential(
        Conv(12, stride=2), Residual(Conv(5, stride=2)), Residual(Conv(20, padding="same"))
    ),
    "norms": Sequential(Conv(8), GroupNorm(4), SqueezeExcite(0.25), LayerNorm(), Sigmoid()),
    "pools": Sequential(Conv(6), MaxPool(3, 1, "same"), AveragePool(2, 2, "same"), Flatten()),
    "graph": Graph(
        inputs=("x",),
        nodes=(
            Wire("left", Conv(6), ("x",)),
            Wire("right", Sequential(Conv(6), ReLU()), ("x",)),
            Wire("both", Conv(4), ("left", "right"), combine="concat"),
            Wire("end", Combine("mean"), ("left", "right")),
            Wire("out", Branches(Conv(3), Conv(2), combine="concat"), ("both", "end"), "concat"),
        ),
        output="out",
    ),
    "odd-kernels": Sequential(
        Conv(4, kernel=2, dilation=3), SeparableConv(6, kernel=4, bias=False), Conv(6, groups=3)
    ),
    "answer": Sequential(Affine(16, bias=False), GELU(True), Affine(10)),
    "nothing": Identity(),
}


@pytest.fixture(scope="module")
def exported_images(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Run, Path]]:
    """Designs of all kinds on handwritten digits, exported."""
    root = tmp_path_factory.mktemp("images")
    designs = [
        pipeline("digits", model, Answer() if name == "answer" else None)
        for name, model in FIXED.items()
    ]
    rng, space = random.Random(0), pipeline("digits", image_space())
    state = designs[0].stages[0].look().state
    made: list[tuple[Run, Path]] = []
    while len(made) < len(FIXED) + 10:
        is_fixed = len(made) < len(FIXED)
        design = designs[len(made)] if is_fixed else replay(space, sample(space, rng))
        try:
            run = untrained(design, root / f"run-{len(made)}", len(made), state)
        except Infeasible:
            assert not is_fixed, "a fixed design does not fit"
            continue
        out = export(run.folder, design, root / f"model-{len(made)}", EVIDENCE)
        made.append((run, out))
    return made


def test_programs_agree_where_only_torch_is(
    exported_images: list[tuple[Run, Path]], digits: Path
) -> None:
    texts = run_isolated([(out, digits) for _, out in exported_images])
    for (run, out), text in zip(exported_images, texts, strict=True):
        agrees(run, out, digits, text)
    spread = [float(answers_in(text).std(0).mean()) for text in texts]
    assert sum(s > 1e-3 for s in spread) > len(spread) / 2, "the designs tell nothing apart"


def test_programs_are_clean(exported_images: list[tuple[Run, Path]]) -> None:
    assert ruff_finds([out / "model.py" for _, out in exported_images]) == ""


def test_every_module_of_the_layers_was_exported(
    exported_images: list[tuple[Run, Path]], exported_sequence: tuple[Run, Path]
) -> None:
    """A new layer with a module of its own belongs into a design of this file, unless it reads a
    layout: programs of texts are not written yet."""
    names = set()
    for found in pkgutil.iter_modules(folder_of_layers.__path__):
        module = importlib.import_module(f"{folder_of_layers.__name__}.{found.name}")
        own = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        if any(issubclass(value, Layer) and not value.reads_layout for value in own):
            names |= {value.__name__ for value in own if issubclass(value, nn.Module)}
    texts = [(out / "model.py").read_text() for _, out in [*exported_images, exported_sequence]]
    missing = {name for name in names if not any(f"class {name}(" in text for text in texts)}
    assert not missing


@pytest.fixture(scope="module")
def exported_sequence(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Sequences of 12 steps with 5 features, and a number as the answer."""
    root = tmp_path_factory.mktemp("sequences")
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (120, 12, 5))
    np.savez(root / "data.npz", x=x, y=10 * x[:, :, 0].sum(1) + rng.normal(0, 1, 120))
    model = Sequential(
        SequenceConv(8, kernel=4, padding="causal"),
        BatchNorm(),
        Residual(Sequential(SequenceConv(6, stride=2), SiLU())),
        FeedForward(2.0, gated=True),
        RMSNorm(),
        MaxPool(2, padding="same"),
        SequenceConv(7, padding="valid"),
    )
    design = pipeline(str(root / "data.npz"), model)
    run = untrained(design, root / "run", state=as_sequences(design.stages[0].look().state))
    return run, export(run.folder, design, root / "model", {})


def as_sequences(state: State) -> State:
    """Arrays are opened as [N, 1, T, d], for images; here T is time."""
    splits = {}
    for name, part in state.splits.items():
        documents = part.opened().documents
        x = np.asarray(documents.payload["array"])[:, 0]
        splits[name] = Split(Documents({"array": x}, documents.attributes))
    inputs = {**state.fitted["inputs"].values, "shape": [12, 5]}
    return replace(state, splits=splits, fitted={"inputs": Fitted(values=inputs)})


# --------------------------------------------------------------------------- tables


def write_table(path: Path, rows: int, seed: int, unseen: bool = False) -> Path:
    """Numbers, categories, booleans, dates and codes; a fifth of each missing, some unseen."""
    rng = random.Random(seed)
    lines = ["size,colour,ready,since,code,constant,price,kind"]
    for i in range(rows):
        cells = [
            f"{rng.gauss(50, 12):.3f}",
            rng.choice(["red", "green", '"deep, blue"', "étoile"]),
            rng.choice(["true", "False"]),
            f"20{rng.randrange(10, 24)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)} 12:30",
            f"0{rng.randrange(1000, 1006)}",
        ]
        if unseen and i % 4 == 0:
            cells[1], cells[0] = "never seen", "1e9"
        cells = [rng.choice(["", "NA", " ? "]) if rng.random() < 0.2 else c for c in cells]
        lines.append(",".join([*cells, "7", f"{rng.gauss(1000, 250):.2f}", rng.choice("ab")]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def table_model(answers: int | None = None):
    hidden = (Affine(12), BatchNorm(), ReLU(), Residual(Sequential(Affine(12), Tanh())))
    return Sequential(*hidden) if answers is None else Sequential(*hidden, Affine(answers))


def test_tables_agree(tmp_path: Path) -> None:
    source = str(write_table(tmp_path / "train.csv", 300, 0))
    new = write_table(tmp_path / "new.csv", 60, 1, unseen=True)
    jobs: list[tuple[Run, Path, Path]] = []
    cases = (
        ("kind", table_model(), Readout(), Columns()),
        ("kind", table_model(2), Answer(), Columns(numbers="quantile", missing="mean")),
        ("price", table_model(), Readout(), Columns(rare=1, most=3)),
        ("price", table_model(1), Answer(), Columns(numbers="quantile")),
    )
    for i, (target, model, head, encoder) in enumerate(cases):
        design = Pipeline(
            Load(source, target), Train(model=model, head=head, encoder=encoder), Evaluate()
        )
        run = untrained(design, tmp_path / f"run-{i}", i)
        jobs.append((run, export(run.folder, design, tmp_path / f"model-{i}", EVIDENCE), new))
    for (run, out, data), text in zip(jobs, run_isolated([job[1:] for job in jobs]), strict=True):
        agrees(run, out, data, text)
    assert ruff_finds([out / "model.py" for _, out, _ in jobs]) == ""


def test_tables_of_other_dialects_agree(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [(rng.gauss(0, 3), rng.gauss(5, 1), rng.choice("xyz")) for _ in range(90)]
    comma = [f"{a:.2f};{b:.2f};{c}".replace(".", ",") for a, b, c in rows]
    (tmp_path / "german.csv").write_text("\r\n".join(["a;b;c", *comma]), encoding="utf-16")
    (tmp_path / "bare.tsv").write_text("\n".join(f"{a}\t{b}\t{c}" for a, b, c in rows))
    (tmp_path / "only.tsv").write_text("\n".join(f"{a}\t{b}" for a, b, _ in rows[:9]))
    zipped = "\n".join(["b,extra,a", "", *(f' {b} ,"quoted ""word""",{a}' for a, b, _ in rows)])
    (tmp_path / "zipped.csv.gz").write_bytes(gzip.compress(zipped.encode()))
    named = untrained(pipeline(str(tmp_path / "german.csv"), table_model(), target="c"),
                      tmp_path / "run-1")  # fmt: skip
    bare = untrained(pipeline(str(tmp_path / "bare.tsv"), table_model(), target="-1"),
                     tmp_path / "run-2")  # fmt: skip
    out_named = export(named.folder, named.design, tmp_path / "named", {})
    out_bare = export(bare.folder, bare.design, tmp_path / "bare", {})
    jobs = [
        (named, out_named, tmp_path / "german.csv"),
        (named, out_named, tmp_path / "zipped.csv.gz"),
        (bare, out_bare, tmp_path / "bare.tsv"),
        (bare, out_bare, tmp_path / "only.tsv"),
    ]
    texts = run_isolated([job[1:] for job in jobs])
    for (run, out, data), text in zip(jobs, texts, strict=True):
        agrees(run, out, data, text)


# ---------------------------------------------------------------- images and arrays


def test_image_files_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (14 + i, 17, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{i}.png")
    new = tmp_path / "new"
    (new / "deeper").mkdir(parents=True)
    pixels = rng.integers(0, 256, (30, 20, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(new / "alpha.png")
    Image.fromarray(pixels[..., :3]).save(new / "photo.jpg", exif=turned())
    Image.fromarray(pixels[..., 0]).save(new / "deeper" / "grey.bmp")
    Image.fromarray(pixels[..., :3]).convert("P").save(new / "palette.gif")
    Image.fromarray(rng.integers(0, 65536, (9, 9), dtype=np.uint16)).save(new / "deep.png")
    Image.fromarray(rng.normal(120, 60, (9, 9)).astype(np.float32)).save(new / "float.tiff")
    (new / ".hidden.png").write_bytes(b"no image")
    (new / "notes.txt").write_text("no image")
    run = untrained(pipeline(str(tmp_path / "train"), image_example()), tmp_path / "run")
    out = export(run.folder, run.design, tmp_path / "model", EVIDENCE)
    jobs = [(out, new), (out, new / "alpha.png")]
    for (_, data), text in zip(jobs, run_isolated(jobs), strict=True):
        agrees(run, out, data, text)
        assert [line.split(",")[0] for line in text.splitlines()] == [
            line.split(",")[0] for line in predict_file(out, data)
        ]


def image_example():
    return Sequential(Conv(6), BatchNorm(), ReLU(), AveragePool(2), GlobalAveragePool())


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_without_pillow_the_program_says_so(
    exported_images: list[tuple[Run, Path]], tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    out = exported_images[0][1]
    _, said = try_isolated([(out, tmp_path / "one.png")], blocked=("vitruvius", "PIL"))
    assert "install pillow" in said and said.endswith("status 2\n")


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "u1", "<i4", ">u2", "?", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_without_numpy(dtype: str, order: str, tmp_path: Path) -> None:
    from vitruvius.data.arrays import read_array_inputs
    from vitruvius.pipeline.standalone.arrays import read_npz

    x = np.asarray(np.random.default_rng(0).integers(0, 2, (7, 6, 5, 3)), np.dtype(dtype), order)
    for i, (array, last) in enumerate(((x, True), (np.moveaxis(x, 3, 1), False))):
        path = tmp_path / f"{i}.npz"
        (np.savez_compressed if i else np.savez)(path, x=array, y=np.array(list("abcdefg")))
        like = {"shape": [3, 6, 5], "channels_last": last}
        expected = np.asarray(read_array_inputs(path, like).payload["array"], np.float64)
        found = read_npz(path, (3, 6, 5), last).to(torch.float64)
        assert torch.equal(found, torch.from_numpy(expected))


def test_arrays_agree(exported_sequence: tuple[Run, Path], tmp_path: Path) -> None:
    run, out = exported_sequence
    data = tmp_path / "new.npz"
    np.savez(data, inputs=np.random.default_rng(1).normal(3, 2, (600, 12, 5)))
    agrees(run, out, data, run_isolated([(out, data)])[0])


USER_FILE = """
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.techniques.layers import Affine, Flatten, Sequential

GAIN = 2.0


@dataclass(frozen=True)
class Gate(Layer):
    def build(self, x: Tensor) -> nn.Module:
        return _Gate(nn.Linear(x.shape[1], x.shape[1]))


class _Gate(nn.Module):
    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        return GAIN * x * self.linear(x).sigmoid()


space = Sequential(Flatten(), Affine(12), Gate())
"""


def test_layers_of_a_users_file_agree(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(USER_FILE)
    monkeypatch.delitem(sys.modules, USER_MODULE, raising=False)
    module = load_user_file(str(path))
    run = untrained(pipeline("digits", module.space), tmp_path / "run")
    out = export(run.folder, run.design, tmp_path / "model", {})
    monkeypatch.delitem(sys.modules, USER_MODULE)
    found = answers_in(run_isolated([(out, digits)])[0])
    expected = run.answers(read_inputs(digits, run.state.fitted["inputs"].values)).double()
    assert (found - expected).abs().max() < 1e-6
    with pytest.raises(ExportError, match=r"python .*model\.py"):
        predict_file(out, digits)


# ----------------------------------------------------------- the folder and its words


def test_card_and_program_tell_the_evidence(exported_images: list[tuple[Run, Path]]) -> None:
    _, out = exported_images[0]
    card, text = (out / "README.md").read_text(), (out / "model.py").read_text()
    for words in (
        "0.975 ± 0.0071 (standard deviation)",
        "0.9721 ± 0.0087",
        "0.1014",
        "12 designs",
        "60 seconds",
    ):
        assert words in card
    assert "0.9721" in text.split('"""')[1] and "0.975" in text.split('"""')[1]
    written = json.loads((out / "design.json").read_text())
    assert written["task"]["labels"] == [str(i) for i in range(10)]
    assert written["inputs"]["size"] == [8, 8]


def test_export_is_written_again_but_over_nothing_else(
    exported_images: list[tuple[Run, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = exported_images[0]
    out = export(run.folder, run.design, tmp_path / "a" / "model", {})
    first = (out / "model.py").read_bytes()
    assert export(run.folder, run.design, out, {}) == out
    assert (out / "model.py").read_bytes() == first
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"thesis\.txt"):
        export(run.folder, run.design, out, {})
    assert (out / "thesis.txt").read_text() == "years of work"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(run.folder, run.design, Path("."), {})
    assert (tmp_path / "here" / "model.py").read_bytes() == first
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file"):
        export(run.folder, run.design, tmp_path / "file", {})
    with pytest.raises(ExportError, match="cannot be written"):
        export(run.folder, run.design, tmp_path / "file" / "model", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "file", "here"]


def test_a_full_disk_leaves_the_earlier_export(
    exported_images: list[tuple[Run, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = exported_images[0]
    out = export(run.folder, run.design, tmp_path / "model", {})
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*given: object, **fields: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vitruvius.pipeline.export.shutil.copyfile", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(run.folder, run.design, out, {})
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_wrong_input_is_one_line_and_status_2(tmp_path: Path) -> None:
    source = str(write_table(tmp_path / "train.csv", 120, 0))
    run = untrained(pipeline(source, table_model(), target="kind"), tmp_path / "run")
    out = export(run.folder, run.design, tmp_path / "model", {})
    good = (tmp_path / "train.csv").read_text().splitlines()[:3]
    wrong = {
        "no-such.csv": (None, "No such file"),
        "no-column.csv": (["size,ready", "1,true"], "no column 'colour'"),
        "no-rows.csv": (good[:1], "no rows"),
        "empty.csv": ([], "empty"),
        "ragged.csv": ([*good, "1,2"], "line 4"),
        "word.csv": ([good[0], "big,red,true,2020-01-01,01000,7,1,a"], "'big' is not a number"),
        "bool.csv": ([good[0], "1,red,maybe,2020-01-01,01000,7,1,a"], "not true or false"),
        "date.csv": ([good[0], "1,red,true,Monday,01000,7,1,a"], "is not a date"),
        "data.parquet": (["PAR1"], "Parquet"),
    }
    for name, (lines, _) in wrong.items():
        if lines is not None:
            (tmp_path / name).write_text("\n".join(lines))
    outs, said = try_isolated([(out, tmp_path / name) for name in wrong])
    assert not any(path.exists() for path in outs)
    lines = said.splitlines()
    for (name, (_, words)), line, status in zip(
        wrong.items(), lines[::2], lines[1::2], strict=True
    ):
        assert line.startswith("model.py: ") and name in line and words in line
        assert status == "status 2"


def test_a_network_of_tokens_is_refused(tmp_path: Path) -> None:
    patches = Encoder(Patches(8, 4), (Block(Attention(2)),), positions=None)
    run = untrained(pipeline("digits", patches), tmp_path / "run")
    with pytest.raises(ExportError, match=r"TokenNetwork reads where tokens stand.*own folder"):
        export(run.folder, run.design, tmp_path / "model", {})
    assert not (tmp_path / "model").exists()


def test_damaged_weights_are_refused(
    exported_images: list[tuple[Run, Path]], tmp_path: Path
) -> None:
    from vitruvius.pipeline.standalone.weights import read_safetensors

    path = exported_images[0][1] / "model.safetensors"
    for cut in (0, 5, 200, path.stat().st_size - 100):
        (tmp_path / "cut").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(ValueError, match="damaged"):
            read_safetensors(tmp_path / "cut")
