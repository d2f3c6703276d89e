"""What a person reads where a command cannot be done: one line, and the exit status."""

from __future__ import annotations

import dis
from pathlib import Path
from typing import Any


class Interruption(Exception):
    """An interrupt, with one line on how to go on."""


def explained(error: BaseException) -> tuple[str | None, int]:
    """One line for a person and the exit status; None where the error is a bug of ours."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "Exit" in names:  # of typer, which brings its own click or has none
        return "", int(getattr(error, "exit_code", 0))
    if "ClickException" in names:
        return _of_click(error), 2
    said = " ".join(str(error).split())
    if names & {"AllFailed", "Interruption"}:
        return said, 1
    if names & {
        "StudyError",
        "DataError",
        "JournalError",
        "CheckpointError",
        "ExportError",
        "StoreError",
    }:
        return said, 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or said}.", 2
    if isinstance(error, (ValueError, TypeError, ImportError)) and _on_purpose(error):
        return said, 2
    return None, 1


def _of_click(error: Any) -> str:
    said = error.format_message()
    said += "" if said.endswith((".", "?")) else "."
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "vitruvius"
    return f"{said} See: {command} --help"


def _on_purpose(error: BaseException) -> bool:
    """Whether a ``raise`` in our own code raised it: then it speaks for itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    raised = code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and Path(code.co_filename).is_relative_to(Path(__file__).parent)
