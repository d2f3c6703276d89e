"""The command line, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from vitruvius import cli
from vitruvius.study.executor import Inline
from vitruvius.study.settings import Surroundings

Run = Callable[..., tuple[int, str, str]]


def calling(patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What runs a command, its trials too, and gives status, output and errors."""
    patch.setattr(Surroundings, "executor", lambda self: Inline())

    def run(*argv: object) -> tuple[int, str, str]:
        patch.setattr(sys, "argv", ["vitruvius", *map(str, argv)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run
