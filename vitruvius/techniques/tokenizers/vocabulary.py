"""How the tokens of one vocabulary are written in another."""

from __future__ import annotations

from collections.abc import Mapping

from vitruvius.contracts import SPECIALS, Codec


def rows(new: Codec, old: Codec) -> Mapping[int, tuple[int, ...]]:
    """For each id of ``new`` the ids of ``old`` that stand for the same text.

    The same token where the old vocabulary has it, else what the old tokenizer makes of its text;
    nothing where that is unknown. Specials stand for themselves. A new row of an embedding is then
    the mean of these old ones.
    """
    known = {token: i for i, token in enumerate(old.tokens())}
    unknown = SPECIALS.index("<unk>")
    found: dict[int, tuple[int, ...]] = {i: (i,) for i in range(len(SPECIALS))}
    for i, token in enumerate(new.tokens()):
        if i in found:
            continue
        if token in known and type(new) is type(old):
            found[i] = (known[token],)
            continue
        text = new.decode([i])
        ids = old.encode(text).ids if "\N{REPLACEMENT CHARACTER}" not in text else ()
        found[i] = tuple(j for j in ids if j != unknown)
    return found
