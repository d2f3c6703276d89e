"""Modules as the constructor calls that make them again, laid out as ruff would.

The arguments are read from the attributes that are named like the parameters of ``__init__``; what
was made of them is made again on meta and compared, so that nothing is guessed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WIDTH = 100  # columns of a line
INDENT = "    "
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class ExportError(ValueError):
    """What cannot be exported, or where to. One line: what, where, how to mend."""


@dataclass(frozen=True)
class Call:
    """``name(arguments)``, of which each is (keyword or "", expression, comment)."""

    name: str
    arguments: tuple[tuple[str, Expression, str], ...]
    brackets: str = "()"
    long: bool = False
    """Whether every argument has a line of its own, even where one line would do."""


Expression = str | Call
Notes = Mapping[nn.Module, str]


def expression(module: nn.Module, notes: Notes | None = None) -> Expression:
    """The call that makes a module. ``notes`` go behind members of a Sequential, if they differ."""
    _check_plain(module)
    cls = type(module)
    if cls in CONTAINERS:
        return _container(module, notes or {})
    foreign = not _is_torch(cls)
    arguments: list[tuple[str, Expression, str]] = []
    for parameter in _parameters(cls):
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if not foreign:
                continue
            raise ExportError(
                f"{cls.__name__}.__init__ takes *{name}, which an export cannot read back. "
                f"Take a list or an nn.ModuleList named {name!r} instead."
            )
        if name.startswith("_") or name in ("device", "dtype"):
            continue
        value = _value(module, parameter)
        if value is parameter.empty or _same(value, parameter.default):
            continue
        written = _written(value, module, name, notes)
        positional = parameter.default is parameter.empty and not foreign
        arguments.append(("" if positional else name, written, ""))
    call = Call(cls.__name__ if foreign else f"nn.{cls.__name__}", tuple(arguments))
    if not foreign:
        _check_again(module, call)
    return call


def text(written: Expression, indent: int = 0, before: int = 0, after: int = 0) -> str:
    """An expression in lines of at most 100 columns. Its first line has ``before`` columns in
    front of it and its last ``after`` columns behind it; the others begin at ``indent`` steps."""
    flat = _flat(written)
    if isinstance(written, str):
        return written
    if not _is_long(written) and before + len(flat) + after <= WIDTH:
        return flat
    opening, closing = written.brackets
    lines = [f"{written.name}{opening}"]
    inner = INDENT * (indent + 1)
    for keyword, argument, comment in written.arguments:
        start = inner + _key(written, keyword)
        lines.append(f"{start}{text(argument, indent + 1, len(start), 1)},")
        last = lines[-1].rsplit("\n", 1)[-1]
        if comment and len(last) + len(comment) + 4 <= WIDTH:
            lines[-1] += f"  # {comment}"
    return "\n".join([*lines, f"{INDENT * indent}{closing}"])


def literal(value: Any) -> str:
    """A plain value as ruff writes it: strings in double quotes."""
    if isinstance(value, str):
        written = repr(value)
        if written[0] == "'" and value.count('"') <= value.count("'"):
            inner = written[1:-1].replace("\\'", "'").replace('"', '\\"')
            return f'"{inner}"'
        return written
    if isinstance(value, float) and not math.isfinite(value):
        return "torch.nan" if math.isnan(value) else ("-" if value < 0 else "") + "torch.inf"
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def _parameters(cls: type[nn.Module]) -> list[inspect.Parameter]:
    """Of ``__init__``, without self. Recurrent modules of torch keep theirs in their base."""
    if cls in (nn.RNN, nn.LSTM, nn.GRU):
        found = list(inspect.signature(nn.RNNBase.__init__).parameters.values())
        return [p for p in found[1:] if p.name != "mode"]
    return list(inspect.signature(cls.__init__).parameters.values())[1:]


def _container(module: nn.Module, notes: Notes) -> Call:
    children = dict(module.named_children())
    if isinstance(module, nn.ModuleDict):
        inner = tuple((literal(k), expression(m, notes), "") for k, m in children.items())
        return Call("nn.ModuleDict", (("", Call("", inner, "{}"), ""),))
    if list(children) != [str(i) for i in range(len(children))]:
        raise ExportError(
            f"nn.{type(module).__name__} with names of its own ({', '.join(children)}) cannot be "
            "exported. Give it the modules without names, or use an nn.ModuleDict."
        )
    if isinstance(module, nn.ModuleList):
        members = tuple(("", expression(m, notes), "") for m in children.values())
        return Call("nn.ModuleList", (("", Call("", members, "[]"), ""),))
    row, before = [], ""
    for child in children.values():
        note = notes.get(child, "")
        is_new = note != before and not (type(child) is nn.Sequential and len(child) > 1)
        row.append(("", expression(child, notes), note if is_new else ""))
        before = note
    return Call("nn.Sequential", tuple(row), long=len(row) > 1)


def _value(module: nn.Module, parameter: inspect.Parameter) -> Any:
    """The argument that a module was made with; ``empty`` where it is not kept."""
    name = parameter.name
    found = getattr(module, name, parameter.empty)
    if name == "bias" and _is_torch(type(module)) and (found is None or isinstance(found, Tensor)):
        return found is not None
    if found is parameter.empty and parameter.default is parameter.empty:
        raise ExportError(
            f"{type(module).__name__} does not keep the argument {name!r} of its __init__, so it "
            f"cannot be exported. Set self.{name} = {name} in it."
        )
    if isinstance(found, tuple) and len(set(found)) == 1 and _is_torch(type(module)):
        return found[0]
    return found


def _written(value: Any, module: nn.Module, name: str, notes: Notes | None) -> Expression:
    if isinstance(value, nn.Module):
        return expression(value, notes)
    if _is_literal(value):
        return _plain(value)
    if isinstance(value, torch.dtype):
        return repr(value)
    raise ExportError(
        f"{type(module).__name__}.{name} holds a {type(value).__name__}, which cannot be written "
        "into a program. Give it numbers, strings, tuples of these, or modules."
    )


def _plain(value: Any) -> Expression:
    """A literal, in several lines where it is long."""
    if isinstance(value, dict):
        return Call("", tuple((literal(k), _plain(v), "") for k, v in value.items()), "{}")
    if isinstance(value, (tuple, list)) and value:
        items = tuple(("", _plain(item), "") for item in value)
        return Call("", items, "[]" if isinstance(value, list) else "()")
    return literal(value)


def _is_literal(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return type(value) in (tuple, list) and all(map(_is_literal, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_literal(v) for k, v in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _check_plain(module: nn.Module) -> None:
    """Refuse what a constructor call would lose."""
    name = type(module).__name__
    if "forward" in vars(module):
        raise ExportError(f"The forward of a {name} was replaced. Write an nn.Module that does it.")
    if "parametrizations" in module._modules:
        raise ExportError(
            f"A {name} has parametrizations, which cannot be exported. Remove them when training "
            "ends: torch.nn.utils.parametrize.remove_parametrizations."
        )
    if module._forward_hooks or module._forward_pre_hooks:
        raise ExportError(f"A {name} has forward hooks, which cannot be exported. Remove them.")


def _check_again(module: nn.Module, call: Call) -> None:
    """Raise ExportError where the call makes another module."""
    try:
        with torch.device("meta"):
            again = eval(text(call), {"nn": nn, "torch": torch})
    except Exception as error:
        raise _unknown(module, f"{_flat(call)} raises {error}") from error
    for what, of in _ASPECTS.items():
        if of(again) != of(module):
            raise _unknown(module, f"{_flat(call)} has other {what}")


def _unknown(module: nn.Module, why: str) -> ExportError:
    name = type(module).__name__
    return ExportError(
        f"nn.{name} cannot be exported as a constructor call: {why}. Wrap it in an nn.Module of "
        "your own that makes it in __init__ from arguments that it keeps."
    )


_ASPECTS: dict[str, Callable[[nn.Module], Any]] = {
    "parts": repr,
    "tensors": lambda m: {n: (t.shape, t.dtype) for n, t in m.state_dict().items()},
    "attributes": lambda m: {
        n: v for n, v in vars(m).items() if n[0] != "_" and n != "training" and _is_literal(v)
    },
}


def _is_torch(cls: type) -> bool:
    return cls.__module__.split(".")[:2] == ["torch", "nn"]


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def _is_long(written: Expression) -> bool:
    return isinstance(written, Call) and (
        written.long or any(_is_long(argument) for _, argument, _ in written.arguments)
    )


def _flat(written: Expression) -> str:
    if isinstance(written, str):
        return written
    inner = ", ".join(_key(written, k) + _flat(a) for k, a, _ in written.arguments)
    comma = (
        "," if not written.name and written.brackets == "()" and len(written.arguments) == 1 else ""
    )
    return f"{written.name}{written.brackets[0]}{inner}{comma}{written.brackets[1]}"


def _key(call: Call, keyword: str) -> str:
    if not keyword:
        return ""
    return f"{keyword}: " if call.brackets == "{}" else f"{keyword}="
