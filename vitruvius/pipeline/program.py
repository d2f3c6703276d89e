"""The text of a standalone program that predicts: network, encoder, reading of data, command line.

It is copied together from the sources of what a design uses and those in ``standalone/``.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Encoder, Model
from vitruvius.pipeline.expressions import WIDTH, ExportError, expression, literal, text
from vitruvius.pipeline.source_code import Sources
from vitruvius.pipeline.standalone.answers import csv_lines
from vitruvius.pipeline.standalone.arrays import read_npz
from vitruvius.pipeline.standalone.images import read_images
from vitruvius.pipeline.standalone.tables import read_table
from vitruvius.pipeline.standalone.weights import part, read_safetensors
from vitruvius.train.building import TokenBody

BATCH = 512  # items at once, as in training's own predictions
OWN_NAMES = (
    "WEIGHTS", "LABELS", "COLUMNS", "ORDER", "TARGET", "CHANNELS", "HEIGHT", "WIDTH", "SHAPE",
    "Network", "load", "predict", "main",
)  # fmt: skip
EXAMPLES = {"number": "1.5", "boolean": "True", "date": '"2024-12-31"', "category": '"a"'}


@dataclass(frozen=True, eq=False)
class Parts:
    """What the text of one program is made from."""

    model: Model
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    """Of one encoded item."""
    inputs: Mapping[str, Any]
    """``description`` of the data."""
    evidence: Sequence[str]
    """Lines on where it comes from and how good it is."""

    @property
    def medium(self) -> str:
        return self.inputs["medium"]


def program(parts: Parts) -> str:
    """The text of model.py. Raises ExportError with the class that cannot be exported."""
    body, head = network_parts(parts.model)
    encoder = encoder_class(parts.model)
    network = _network(parts, body, head)
    sources = Sources(origins=dict.fromkeys(OWN_NAMES))
    for module in _ours(body, head):
        sources.add(type(module), ("forward",) if module is head else ())
    modules = list(sources.definitions)
    sources.add(encoder)
    ours, early = list(sources.definitions), list(sources.constants)
    for item in (part, read_safetensors, csv_lines, *_readers(parts)):
        sources.add(item)
    written, constants = sources.definitions, sources.constants
    late = [text for name, text in constants.items() if name not in early]
    blocks = [
        "\n".join([_constants(parts), *(constants[name] for name in early)]),
        *(written[name] for name in modules),
        network,
        *(written[name] for name in ours if name not in modules),
        _load(encoder.__name__, bool(head.state_dict())),
        _predict(parts),
        _main(parts),
        *(["\n".join(late)] if late else []),
        *(text for name, text in reversed(written.items()) if name not in ours),
        'if __name__ == "__main__":\n    main()',
    ]
    extra = {
        ("argparse", "", ""), ("functools", "", ""), ("pathlib", "Path", ""), ("torch", "", ""),
        ("torch", "Tensor", ""), ("torch", "nn", ""),
    }  # fmt: skip
    code = "\n\n\n".join(blocks)
    return _marked(f"{_docstring(parts)}\n\n{sources.written_imports(extra)}\n\n{code}\n")


def network_parts(model: Model) -> tuple[nn.Module, nn.Module]:
    """The network of a model without what wraps it, and its head."""
    body, head = getattr(model.bodies["input"], "network", None), model.heads["task"]
    if len(model.bodies) > 1 or not isinstance(body, nn.Module):
        raise ExportError(
            f"Only models with one network can be exported; this one has {sorted(model.bodies)} "
            f"({type(model.bodies['input']).__name__})."
        )
    if isinstance(model.bodies["input"], TokenBody):
        raise ExportError(
            f"{type(body).__name__} reads where tokens stand, so it cannot be exported. "
            "Keep the model's own folder, or take a network without tokens."
        )
    if not callable(getattr(head, "answer", None)):
        raise ExportError(
            f"{type(head).__name__} has no method answer(hidden), so it cannot be exported. "
            "Give it one that maps what the network gives to logits or numbers."
        )
    return body, head


def encoder_class(model: Model) -> type:
    """The class that encodes with torch alone: of ``Columns`` it is ``ColumnsEncoder``."""
    if len(model.prepared) != 1:
        raise ExportError(
            f"Only models with one encoder can be exported; this one has {len(model.prepared)}."
        )
    technique: Encoder = model.prepared[0].encoder
    name = f"{type(technique).__name__}Encoder"
    found = getattr(sys.modules[type(technique).__module__], name, None)
    if not isinstance(found, type):
        raise ExportError(
            f"{type(technique).__name__} cannot be exported: its file has no class {name}(values, "
            "tensors) with __call__(rows) that needs torch alone. Write one, and let apply use it."
        )
    return found


def passes_on(head: nn.Module) -> bool:
    """Whether the answer is what the network gives, unchanged."""
    if list(head.children()) or head.state_dict():
        return False
    answer: Any = head.answer
    probe = torch.zeros(2, 3)
    return answer(probe) is probe


def _ours(body: nn.Module, head: nn.Module) -> list[nn.Module]:
    """Modules whose classes are not of torch, those inside others first."""
    roots = [body] if passes_on(head) else [body, head]
    return [
        module
        for root in roots
        for module in reversed(list(root.modules()))
        if type(module).__module__.split(".")[0] != "torch"
    ]


def _network(parts: Parts, body: nn.Module, head: nn.Module) -> str:
    shapes = _shapes(parts)
    first = "        self.body = "
    lines = [
        "class Network(nn.Module):",
        *_wrapped_docstring(_what_network_does(parts, body, head), 1),
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        first + text(expression(body, shapes), 2, len(first)),
    ]
    answer = "self.body(x)"
    if not passes_on(head):
        first = "        self.head = "
        lines.append(first + text(expression(head), 2, len(first)))
        answer = "self.head.answer(self.body(x))"
    lines += ["", "    def forward(self, x: Tensor) -> Tensor:", f"        return {answer}"]
    return "\n".join(lines)


def _what_network_does(parts: Parts, body: nn.Module, head: nn.Module) -> str:
    count = sum(p.numel() for module in (body, head) for p in module.parameters())
    shape = ", ".join(map(str, ("N", *parts.shape)))
    what = f"logits [N, {len(parts.labels)}] of classes" if parts.labels else "numbers [N]"
    return f"From encoded inputs [{shape}] to {what}; {count:,} parameters."


def _shapes(parts: Parts) -> dict[nn.Module, str]:
    """Of each module the shape of one item that comes out of it."""
    found: dict[nn.Module, str] = {}

    def note(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() > 1:
            found[module] = " x ".join(map(str, output.shape[1:]))

    body, _ = network_parts(parts.model)
    hooks = [module.register_forward_hook(note) for module in body.modules()]
    try:
        with torch.inference_mode():
            body(torch.zeros(1, *parts.shape))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _readers(parts: Parts) -> list[Any]:
    return {"table": [read_table], "image": [read_images, read_npz], "array": [read_npz]}[
        parts.medium
    ]


def _constants(parts: Parts) -> str:
    inputs = parts.inputs
    lines = ['WEIGHTS = Path(__file__).with_name("model.safetensors")']
    if parts.labels:
        lines.append(_filled("LABELS = ", [literal(label) for label in parts.labels], "()"))
    if parts.medium == "table":
        kinds = [f"{literal(c['name'])}: {literal(c['kind'])}" for c in inputs["columns"]]
        lines.append(_filled("COLUMNS = ", kinds, "{}"))
        if not inputs["header"]:
            lines.append(_filled("ORDER = ", [literal(n) for n in inputs["order"]], "()"))
            lines.append(f"TARGET = {literal(inputs['target'])}")
    elif parts.medium == "image":
        channels, (height, width) = inputs["channels"], inputs["size"]
        lines.append(f"CHANNELS, HEIGHT, WIDTH = {channels}, {height}, {width}")
    else:
        lines.append(f"SHAPE = {literal(tuple(inputs['shape']))}  # of one item")
    return "\n".join(lines)


def _filled(start: str, items: list[str], brackets: str) -> str:
    """A tuple or dict in one line, or as many items in each line as fit."""
    comma = "," if len(items) == 1 and brackets == "()" else ""
    flat = f"{start}{brackets[0]}{', '.join(items)}{comma}{brackets[1]}"
    if len(flat) <= WIDTH:
        return flat
    lines, line = [], "   "
    for item in items:
        if len(line) > 3 and len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([start + brackets[0], *lines, line, f"{brackets[1]}  # fmt: skip"])


def _load(encoder: str, head: bool) -> str:
    answers = '    network.head.load_state_dict(part(tensors, "network.head."))\n' if head else ""
    return f'''@functools.cache
def load(path: Path = WEIGHTS) -> tuple[Network, {encoder}]:
    """The network with its weights, and the preparation of its inputs."""
    tensors, values = read_safetensors(path)
    network = Network()
    network.body.load_state_dict(part(tensors, "network.body.network."))
{answers}    encoder = {encoder}(values["prepared"][0]["values"], part(tensors, "prepared.0."))
    return network.eval(), encoder'''


def _predict(parts: Parts) -> str:
    made = f"Probabilities [N, {len(parts.labels)}] of LABELS" if parts.labels else "Numbers [N]"
    last = "torch.cat(answers).softmax(-1)" if parts.labels else "torch.cat(answers)"
    if parts.medium == "table":
        signature, given = "rows: dict[str, list]", 'for rows given by column: {"name": cells}'
        inputs = f"network(x).float() for x in encoder(rows).split({BATCH})"
    elif parts.medium == "image":
        signature, given = "images: Tensor", "for uint8 images [N, CHANNELS, HEIGHT, WIDTH]"
        inputs = f'network(encoder({{"image": x}})).float() for x in images.split({BATCH})'
    else:
        signature, given = "items: Tensor", "for items [N, *SHAPE]"
        inputs = f'network(encoder({{"array": x}})).float() for x in items.split({BATCH})'
    return f'''def predict({signature}) -> Tensor:
    """{made}, {given}."""
    network, encoder = load()
    with torch.inference_mode():
        answers = [{inputs}]
    return {last}'''


def _main(parts: Parts) -> str:
    labels = "LABELS" if parts.labels else "()"
    reads, lines = {
        "table": (["rows = read_table(given.data, COLUMNS)"], f"csv_lines({labels}, answers)"),
        "image": (
            [
                'if given.data.suffix.lower() == ".npz":',
                "    images, names = read_npz(given.data, (CHANNELS, HEIGHT, WIDTH)), []",
                "else:",
                "    images, names = read_images(given.data, CHANNELS, HEIGHT, WIDTH)",
            ],
            f"csv_lines({labels}, answers, names)",
        ),
        "array": (["items = read_npz(given.data, SHAPE)"], f"csv_lines({labels}, answers)"),
    }[parts.medium]
    if parts.medium == "table" and not parts.inputs["header"]:
        reads = ["rows = read_table(given.data, COLUMNS, ORDER, TARGET)"]
    if parts.medium == "array" and parts.inputs["channels_last"]:
        reads = ["items = read_npz(given.data, SHAPE, channels_last=True)"]
    data = {
        "table": "a .csv or .tsv with the columns it reads",
        "image": "an image, a folder of them, or an .npz",
        "array": "an .npz file with an array x",
    }[parts.medium]
    variable = {"table": "rows", "image": "images", "array": "items"}[parts.medium]
    inner = "\n".join(f"        {line}" for line in reads)
    return f'''def main() -> None:
    parser = argparse.ArgumentParser(description="Predict new data; the answers are CSV.")
    parser.add_argument("data", type=Path, help="{data}")
    parser.add_argument("--out", type=Path, help="a .csv to write; else answers are printed")
    given = parser.parse_args()
    try:
{inner}
        answers = predict({variable}).tolist()
        written = "\\n".join({lines}) + "\\n"
        if given.out is None:
            print(written, end="")
        else:
            given.out.write_text(written, encoding="utf-8")
    except (OSError, ValueError) as error:
        parser.exit(2, f"{{parser.prog}}: {{error}}\\n")'''


def _docstring(parts: Parts) -> str:
    inputs, labels = parts.inputs, parts.labels
    what = f"one of {len(labels)} classes" if labels else "a number"
    of = {
        "table": lambda: f"rows of a table with {len(inputs['columns'])} columns",
        "image": lambda: "images of {} x {} pixels".format(*inputs["size"]),
        "array": lambda: f"arrays of {' x '.join(map(str, inputs['shape']))}",
    }[parts.medium]()
    data = {"table": "new.csv", "image": "photos/", "array": "new.npz"}[parts.medium]
    call = {
        "table": lambda: _example(inputs["columns"]),
        "image": lambda: (
            f"images  # uint8 [N, {inputs['channels']}, {inputs['size'][0]}, {inputs['size'][1]}]"
        ),
        "array": lambda: f"items  # [N, {', '.join(map(str, inputs['shape']))}]",
    }[parts.medium]()
    code, _, comment = call.partition("  # ")
    usage = [
        f"    python model.py {data}",
        f"    python model.py {data} --out answers.csv",
        "",
        "    from model import predict",
        f"    predict({code})" + (f"  # {comment}" if comment else ""),
    ]
    if parts.medium == "table":
        head = f"Predicts {inputs['target']!r}, {what}, from {of}. Needs PyTorch alone."
    else:
        head = f"{inputs['name']}: {what} for {of}. Needs PyTorch alone."
    if parts.medium == "image":
        head += " To read image files it also needs pillow."
    tail = (
        "The weights and what was learned of the inputs lie in model.safetensors beside this file; "
        "README.md tells how the model was found. Written by Vitruvius."
    )
    lines = [
        *textwrap.wrap(head, WIDTH - 3), "", *usage, "",
        *(line for given in parts.evidence for line in textwrap.wrap(given, WIDTH)),
        *textwrap.wrap(tail, WIDTH),
    ]  # fmt: skip
    inner = "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"""')
    return f'"""{inner}\n"""'


def _example(columns: Sequence[Mapping[str, Any]]) -> str:
    shown = []
    for column in columns[:3]:
        item = f"{literal(column['name'])}: [{EXAMPLES[column['kind']]}]"
        if len(", ".join([*shown, item])) < WIDTH - 30:
            shown.append(item)
    more = ", ..." if len(shown) < len(columns) else ""
    return "{" + ", ".join(shown) + more + "}"


def _wrapped_docstring(sentence: str, indent: int) -> list[str]:
    space = "    " * indent
    return [f'{space}"""{sentence}"""']


def _marked(code: str) -> str:
    """With a word to linters in lines that hold a name too long to be cut."""
    in_docstring = code.index('"""', 3) + 3
    head, rest = code[:in_docstring], code[in_docstring:]
    lines = [
        f"{line}  # noqa: E501" if len(line) > WIDTH and "# noqa" not in line else line
        for line in rest.split("\n")
    ]
    return head + "\n".join(lines)
