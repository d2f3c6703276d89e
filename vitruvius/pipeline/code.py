"""The code behind a tree, as a digest: what it does, not how it is commented.

Counted are the files that define the classes, their bases, and what these files import of ours, and
so on. Ours is Vitruvius, the packages of the classes themselves, and any file that is neither of
the standard library nor installed. A name that a package's ``__init__`` only hands on leads to the
file that defines it, so that a new layer does not change the keys of designs without it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

STANDARD = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib")
)


def code_digest(classes: Iterable[type], modules: Iterable[str] = ()) -> str:
    """sha256 of the code that the classes, and further modules by name, stand on."""
    found = {base.__module__ for cls in classes for base in cls.__mro__}
    return _digest_of(frozenset({*found, *modules}))


def syntax_digest(source: str) -> str:
    """sha256 of a file's syntax tree without docstrings. Comments and layout are not in a tree."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [s for s in node.body if not _is_text(s)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def files_behind(modules: Iterable[str]) -> tuple[str, ...]:
    """Names of all modules of ours that these stand on, themselves included, sorted."""
    roots = frozenset({"vitruvius", *(m.partition(".")[0] for m in modules)})
    waiting, found = [m for m in modules if _file(m, roots)], set[str]()
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_imported(module, roots) - found)
    return tuple(sorted(found))


@functools.cache
def _digest_of(modules: frozenset[str]) -> str:
    made = hashlib.sha256()
    roots = frozenset({"vitruvius", *(m.partition(".")[0] for m in modules)})
    for module in files_behind(modules):
        file = _file(module, roots)
        assert file is not None
        made.update(f"{_plain(module)} {_syntax(file)}\n".encode())
    return made.hexdigest()


def _plain(module: str) -> str:
    """A script run as a program is the same code in its worker processes."""
    return "__main__" if module == "__mp_main__" else module


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def _syntax(file: Path) -> str:
    return syntax_digest(file.read_text(encoding="utf-8"))


@functools.cache
def _imported(module: str, roots: frozenset[str]) -> frozenset[str]:
    """Modules of ours that a module imports when it runs, wherever in its file."""
    file = _file(module, roots)
    if file is None:
        return frozenset()
    found = set[str]()
    for node in _running(_tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, module, file)
            found |= {_defining(source, alias.name, roots) for alias in node.names}
    return frozenset(m for m in found if _file(m, roots) is not None)


def _defining(source: str, name: str, roots: frozenset[str]) -> str:
    """The module that ``from source import name`` leads to."""
    if _file(f"{source}.{name}", roots) is not None:
        return f"{source}.{name}"
    file = _file(source, roots)
    if file is None or file.name != "__init__.py":
        return source
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defining(_absolute(node, source, file), alias.name, roots)
    return source


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    if not node.level:
        return node.module or ""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


@functools.cache
def _file(module: str, roots: frozenset[str]) -> Path | None:
    """The source file of a module of ours; None of any other. Imports nothing."""
    root, _, rest = module.partition(".")
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        found = Path(loaded)
    elif not rest:
        found = _root_file(root)
    else:
        parent = _file(module.rpartition(".")[0], roots)
        if parent is None or parent.name != "__init__.py":
            return None
        name = module.rpartition(".")[2]
        beside = (parent.with_name(f"{name}.py"), parent.with_name(name) / "__init__.py")
        found = next((path for path in beside if path.is_file()), None)
    if found is None or found.suffix != ".py" or not found.is_file():
        return None
    return found if (root in roots and not _is_standard(found)) or _is_own(found) else None


def _root_file(root: str) -> Path | None:
    if root in sys.stdlib_module_names or not root:
        return None
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _is_standard(file: Path) -> bool:
    return not _is_installed(file) and any(
        file.resolve().is_relative_to(folder) for folder in STANDARD
    )


def _is_installed(file: Path) -> bool:
    return "site-packages" in file.parts or "dist-packages" in file.parts


def _is_own(file: Path) -> bool:
    return not _is_installed(file) and not _is_standard(file)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield other
                yield from _running(other)
            continue
        yield node
        yield from _running(node)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
