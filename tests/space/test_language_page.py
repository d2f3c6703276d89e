"""The examples of docs/language.md, run as they stand, one after the other."""

import re
import sys
import types
from pathlib import Path

import pytest

from vitruvius.space import draw

PAGE = Path(__file__).parents[2] / "docs" / "language.md"


@pytest.fixture(scope="module")
def names():
    """What the page defines, in a module of its own, so that its functions can be imported."""
    module = types.ModuleType("language_page")
    sys.modules[module.__name__] = module
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(example, str(PAGE), "exec"), module.__dict__)
    yield module.__dict__
    del sys.modules[module.__name__]


def test_the_examples_run(names):
    assert {"space", "point", "hourglass", "tree", "small", "Warm"} <= names.keys()


def test_the_drawing_is_the_real_one(names):
    (drawing,) = re.findall(r"```\n(Sequential\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert draw(names["space"]) == drawing.strip()
