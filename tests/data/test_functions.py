"""From docstring to function: what is taken out of Python files, and what stays the same."""

import ast
import sysconfig
import warnings
from pathlib import Path
from typing import Any

import pytest

from vitruvius.data import DataError, description, open_code, open_functions, read_inputs
from vitruvius.data.functions import functions
from vitruvius.data.tally import Tally

SOURCE = '''"""A module."""
import functools

@functools.lru_cache(
    maxsize=None)
def one(a, b=(1,
              2)):  # trailing
    """Adds up two numbers
    and more.

    Second paragraph.
    """
    # why it does so
    return a + b[0]

class Greeter:
    """Not a function, and with words enough."""

    async def greet(self, name):
        'Says hello to someone who is "here".'; x = """
not indented"""
        if name:
            def inner():
                """What is inside of it all."""
            class Local:
                """Of no use to anyone here."""
                y = 1
            return inner, "naïve"
        return await x

    def short(self): "Gives back the number one."; return 1

    def too_few(self):
        """Only three words."""
        return 2

    def does_nothing(self):
        """Is left to those who inherit."""
        raise NotImplementedError("later")

    def bare(self):
        """Has no body but a docstring."""

    def shown(self):
        """>>> shown(1, 2, 3)"""
        return 3

def twice():
    """Adds up two numbers   and more."""
    return 7
'''


def put(root: Path, **files: str) -> Path:
    """Files by path; __ is a slash."""
    for name, content in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def test_functions_of_a_file(tmp_path: Path):
    loaded = open_functions(put(tmp_path, m=SOURCE))
    assert loaded.task.level == "set" and loaded.medium == "text"
    assert list(loaded.documents.payload["query"]) == [
        "Adds up two numbers and more.",
        'Says hello to someone who is "here".',
        "Gives back the number one.",
    ]
    one, greet, short = loaded.documents.payload["positive"]
    assert one == (
        "@functools.lru_cache(\n    maxsize=None)\n"
        "def one(a, b=(1,\n              2)):  # trailing\n"
        "    # why it does so\n    return a + b[0]"
    )
    assert greet == (
        'async def greet(self, name):\n    x = """\nnot indented"""\n    if name:\n'
        "        def inner():\n            ...\n        class Local:\n            y = 1\n"
        '        return inner, "naïve"\n    return await x'
    )
    assert short == "def short(self): return 1"
    assert loaded.documents.attributes["source"].tolist() == ["m.py"] * 3
    assert "1 functions left out whose docstring or source is there already." in loaded.notes
    assert list(open_functions(tmp_path, words=3).documents.payload["query"])[3] == (
        "Only three words."
    )


def test_groups_are_packages_and_modules(tmp_path: Path):
    def code(i: int) -> str:
        return f'def f{i}():\n    """Gives the number {i} back."""\n    return {i}\n'

    put(tmp_path / "flat", a=code(1), b__c=code(2), b__d__e=code(3), f=code(4), test__t=code(5))
    known = open_functions(tmp_path / "flat").documents.attributes
    assert known["group"].tolist() == ["a", "f", "b", "b"]
    names = ["src__p__a", "src__p__b__c", "src__p__b__d", "src__p__e__f", "setup"]
    put(tmp_path / "deep", **{name: code(i) for i, name in enumerate(names)})
    known = open_functions(tmp_path / "deep").documents.attributes
    assert known["group"].tolist() == ["setup", "src.p.a", "src.p.b", "src.p.b", "src.p.e"]
    (tmp_path / "deep" / "README.md").write_text("no Python")
    corpus = open_code(tmp_path / "deep", without={"src.p.b", "setup"})
    assert corpus.documents.attributes["source"].tolist() == ["src/p/a.py", "src/p/e/f.py"]
    assert list(corpus.documents.payload["text"]) == [code(0), code(3)]
    assert corpus.notes[1] == "3 files of 2 packages and modules left out."
    assert len(open_code(tmp_path / "deep").documents) == 5


def test_files_that_are_no_python_are_counted(tmp_path: Path):
    put(tmp_path, a=SOURCE, b="def (", c="x = '\\d' is 5\n", d="")
    (tmp_path / "e.py").write_bytes(b"# coding: latin-1\n" + SOURCE.encode("latin-1"))
    (tmp_path / "f.py").write_bytes(b"x = '\xff'")
    (tmp_path / "g.py").write_bytes(b"x = '\0'")
    loaded = open_functions(tmp_path)
    assert len(loaded.documents) == 3
    assert "3 files that are no Python skipped (first b.py)." in loaded.notes
    assert open_code(tmp_path).documents.attributes["source"].tolist() == [
        "a.py", "b.py", "c.py", "e.py", "g.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: open_functions(p), r"holds no Python function with a docstring of 4 words"),
        (lambda p: open_functions(p / "no"), r"There is no folder .*no. Give one with Python"),
        (lambda p: open_code(p, without=["b"]), "has no package or module 'b' to leave out"),
        (lambda p: open_code(p, without=["a"]), "holds no Python file that is not left out"),
    ],
)
def test_wrong_folders_are_explained(tmp_path: Path, call: Any, message: str):
    with pytest.raises(DataError, match=message):
        call(put(tmp_path, a="x = 1\n"))


def test_new_queries_are_read(tmp_path: Path):
    like = description(open_functions(put(tmp_path, m=SOURCE)))
    (tmp_path / "q.txt").write_text("add numbers\nsay hello\n")
    assert list(read_inputs(tmp_path / "q.txt", like).payload["query"]) == [
        "add numbers",
        "say hello",
    ]


class Stripped(ast.NodeTransformer):
    """Without docstrings, and what a dedent changes in strings of many lines."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            node.value = "".join(str(node.value).split()).replace("\\n", "")
        return self.generic_visit(node)


@pytest.mark.parametrize("name", ["argparse", "contextlib", "dataclasses", "textwrap", "typing"])
def test_code_of_the_standard_library_stays_the_same(name: str):
    text = Path(sysconfig.get_path("stdlib"), f"{name}.py").read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
        whole = {}
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                query = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                whole.setdefault(query, set()).add(
                    ast.dump(Stripped().visit(ast.parse(ast.unparse(node))))
                )
        found = list(functions(text, name, Tally()))
        assert len(found) > 1
        for pair in found:
            assert ast.dump(Stripped().visit(ast.parse(pair.positive))) in whole[pair.query]
