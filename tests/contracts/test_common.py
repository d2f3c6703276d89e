"""What every technique and searcher must do, whatever its role."""

from collections.abc import Callable

import pytest

from tests.contracts.common import CHECKS, name
from vitruvius.catalogue import catalogue
from vitruvius.space import Node


@pytest.mark.parametrize("check", CHECKS, ids=name)
@pytest.mark.parametrize("cls", catalogue(Node), ids=name)
def test_every_one(cls: type[Node], check: Callable[[type[Node]], None]) -> None:
    check(cls)
