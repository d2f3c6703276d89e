"""Sources of classes and functions, with all that they need, as one program that needs torch alone.

A name that a source uses must be a builtin, come from torch or the standard library, or be a class,
function or plain constant of ours, which is then copied as well.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from vitruvius.pipeline.expressions import ExportError, literal

ALLOWED = {"torch", "__future__", *sys.stdlib_module_names}


@dataclass
class Sources:
    """Definitions in an order in which each finds those it needs, and the imports of all."""

    imports: set[tuple[str, str, str]] = field(default_factory=set)
    """(module, name or "", alias or "")."""
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Any] = field(default_factory=dict)

    def add(self, item: type | FunctionType, without: Iterable[str] = ()) -> None:
        """A class or function and what it needs; ``without`` names methods that are left out."""
        name = item.__name__
        if name in self.origins:
            if self.origins[name] is not item:
                other = getattr(self.origins[name], "__module__", "the program itself")
                raise ExportError(
                    f"Two definitions are called {name}: in {other} and in {item.__module__}. "
                    "Rename one."
                )
            return
        self.origins[name] = item
        try:
            source = textwrap.dedent(inspect.getsource(item))
        except (OSError, TypeError) as error:
            raise ExportError(
                f"The source of {name} is not to be found, so it cannot be exported. "
                "Define it in a file, not in a prompt or by exec."
            ) from error
        source = _plain_annotations(_without(source, set(without)), sys.modules[item.__module__])
        for used in _names(source):
            self._need(used, item)
        self.definitions[name] = source.strip()

    def _need(self, name: str, by: type | FunctionType) -> None:
        module = sys.modules[by.__module__]
        if name == by.__name__:
            return
        imported = _imports(module).get(name)
        if imported and imported[0].split(".")[0] in ALLOWED:
            self.imports.add(imported)
            return
        if not hasattr(module, name):
            if hasattr(builtins, name) or imported is None:
                return
            raise _foreign(by, name, imported[0])
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            raise _foreign(by, name, value.__name__.rpartition(".")[0] or value.__name__)
        if isinstance(value, (type, FunctionType)):
            if _is_foreign(value.__module__):
                raise _foreign(by, name, value.__module__)
            if name != value.__name__:
                raise ExportError(
                    f"{by.__name__} uses {value.__name__} under the name {name}. Use its own."
                )
            self.add(value)
        else:
            self._add_constant(name, by, module)

    def _add_constant(self, name: str, by: type | FunctionType, module: Any) -> None:
        imported = _imports(module).get(name)
        owner = sys.modules[imported[0]] if imported else module
        written = _assignment(owner, name)
        if written is None:
            raise ExportError(
                f"{by.__name__} uses {name}, which is no class, function or constant. "
                "Keep it as an attribute that is an argument of __init__."
            )
        if self.origins.setdefault(name, owner.__name__) != owner.__name__:
            raise ExportError(
                f"Two constants are called {name}: in {self.origins[name] or 'the program itself'} "
                f"and in {owner.__name__}. Rename one."
            )
        if name not in self.constants:
            for used in _names(written):
                if used != name and (found := _imports(owner).get(used)):
                    self.imports.add(found)
            self.constants[name] = written.strip()

    def written_imports(self, extra: Iterable[tuple[str, str, str]] = ()) -> str:
        """Import lines: standard library, then torch; modules, then names out of them."""
        wanted = {i for i in {*self.imports, *extra} if i[0] != "__future__"}
        blocks = []
        for of_torch in (False, True):
            block = {i for i in wanted if (i[0].split(".")[0] == "torch") == of_torch}
            lines = [
                f"import {module}{f' as {alias}' if alias else ''}"
                for module, name, alias in sorted(block)
                if not name
            ]
            for module in sorted({module for module, name, _ in block if name}):
                names = [(n, a) for m, n, a in block if m == module and n]
                names.sort(key=lambda pair: (_rank(pair[0]), pair[0]))
                inner = ", ".join(f"{n} as {a}" if a else n for n, a in names)
                lines.append(f"from {module} import {inner}")
            if lines:
                blocks.append("\n".join(lines))
        return "\n\n".join(["from __future__ import annotations", *blocks])


def _rank(name: str) -> int:
    """Constants, then classes, then the others: the order of isort."""
    if name.isupper() and len(name) > 1:
        return 0
    return 1 if name[:1].isupper() else 2


def _foreign(by: type | FunctionType, name: str, module: str) -> ExportError:
    return ExportError(
        f"{by.__name__} uses {name} from {module}, so it cannot be exported: its source may need "
        "torch and the standard library alone. Use these instead, or pass a value to __init__."
    )


def _is_foreign(module: str) -> bool:
    """Whether a module is of an installed package other than ours and the user's own files."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _without(source: str, methods: set[str]) -> str:
    """The source of a class without some of its methods."""
    if not methods:
        return source
    lines = source.splitlines()
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    for node in reversed(body.body):
        if isinstance(node, ast.FunctionDef) and node.name in methods:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            del lines[first - 1 : node.end_lineno]
            while first - 2 >= 0 and first - 2 < len(lines) and not lines[first - 2].strip():
                del lines[first - 2]
                first -= 1
    return "\n".join(lines)


def _plain_annotations(source: str, module: Any) -> str:
    """``Float[Tensor, "B d"]`` as ``Tensor``: shapes are read by jaxtyping, which is left out."""
    imported = _imports(module)
    lines = source.splitlines(keepends=True)
    found = [
        (node, node.slice.elts[0])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and imported.get(node.value.id, ("",))[0] == "jaxtyping"
        and isinstance(node.slice, ast.Tuple)
    ]
    for node, kept in sorted(found, key=lambda pair: (-pair[0].lineno, -pair[0].col_offset)):
        if node.lineno == node.end_lineno and node.end_col_offset is not None:
            line = lines[node.lineno - 1].encode()
            inner = ast.unparse(kept).encode()
            changed = line[: node.col_offset] + inner + line[node.end_col_offset :]
            lines[node.lineno - 1] = changed.decode()
    return "".join(lines)


def _names(source: str) -> list[str]:
    """Names that a source reads and does not bind itself, in the order of appearance."""
    tree = ast.parse(source)
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found[node.id] = None
    bound = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler) and n.name}
    inner = (n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)))
    bound |= {(alias.asname or alias.name).split(".")[0] for n in inner for alias in n.names}
    return [name for name in found if name not in bound]


def _imports(module: Any) -> dict[str, tuple[str, str, str]]:
    """What the top of a file imports: local name to (module, name, alias)."""
    found: dict[str, tuple[str, str, str]] = {}
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                found[local] = (alias.name if alias.asname else local, "", alias.asname or "")
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name, alias.asname or "")
    return found


def _assignment(module: Any, name: str) -> str | None:
    """The line of a file that gives a constant its value, comment of ruff included."""
    source = inspect.getsource(module)
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
                return "\n".join(lines)
    value = getattr(module, name, None)
    return f"{name} = {literal(value)}" if isinstance(value, (int, float, str)) else None
