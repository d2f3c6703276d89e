"""Texts and code as the terms that a retriever counts."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+")
HUMP = re.compile(r"_+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[^\W\d_])")


def terms(text: str, split: bool = False) -> list[str]:
    """Runs of letters, digits and underscores, in lower case.

    With ``split`` names are cut as programmers join them: getHTTPResponse_code gives get, http,
    response, code.
    """
    words = WORD.findall(text)
    if split:
        words = [part for word in words for part in HUMP.split(word) if part]
    return [word.lower() for word in words]
