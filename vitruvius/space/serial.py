"""Trees as JSON, both ways, and digests that are the same in every process.

Reading imports classes and functions only from modules that the caller allows.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from vitruvius.space.domains import Choice, Integers, Real
from vitruvius.space.fields import field_names
from vitruvius.space.node import SCALARS, Node, importable, make
from vitruvius.space.structure import Derived, Grammar, Ref, Repeat, Restricted, Where

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def to_json(value: Any) -> Any:
    """JSON of a value, node or domain: defaults written out, classes as ``module:qualname``."""
    if isinstance(value, Node):
        fields = {n: to_json(getattr(value, n)) for n in field_names(type(value))}
        if fields["label"] is None:
            del fields["label"]
        return {"node": importable(type(value)), **fields}
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Choice):
        written = {
            "domain": value.word,
            "options": to_json(value.options),
            "labels": list(value.labels),
            "ordered": value.kind == "ordered",
        }
    elif isinstance(value, (Integers, Real)):
        written = {"domain": value.word, "low": value.low, "high": value.high, "log": value.log}
    elif isinstance(value, Repeat):
        body, times = to_json(value.body), to_json(value.times)
        written = {"domain": "repeat", "body": body, "times": times, "tied": value.tied}
    elif isinstance(value, Derived):
        written = {"domain": value.word, "f": importable(value.f), "reads": list(value.reads)}
    elif isinstance(value, Ref):
        written = {"domain": "ref", "rule": value.rule}
    elif isinstance(value, Grammar):
        rules = {name: to_json(body) for name, body in value.rules.items()}
        written = {"domain": "grammar", "start": value.start, "depth": value.depth, "rules": rules}
    elif isinstance(value, Restricted):
        limits = {address: list(allowed) for address, allowed in value.limits.items()}
        written = {"domain": "restricted", "space": to_json(value.space), "limits": limits}
    else:
        raise TypeError(f"A tree holds no {type(value).__name__}: {value!r:.60}.")
    for word in ("name", "label"):
        if getattr(value, word, None) is not None:
            written[word] = getattr(value, word)
    return written


def from_json(written: Any, allow: tuple[str, ...] = ("vitruvius",)) -> Any:
    """The tree that ``to_json`` wrote. Names are imported from the allowed packages only."""
    if isinstance(written, list):
        return tuple(from_json(item, allow) for item in written)
    if not isinstance(written, Mapping):
        return written
    if "node" in written:
        cls = resolve(written["node"], allow)
        if not (isinstance(cls, type) and issubclass(cls, Node)):
            raise ValueError(f"{written['node']} is no node.")
        fields = {k: from_json(v, allow) for k, v in written.items() if k != "node"}
        known = set(field_names(cls))
        if unknown := sorted(fields.keys() - known):
            raise ValueError(f"{cls.__name__} has no field {unknown[0]!r}; it has {sorted(known)}.")
        if missing := sorted(known - fields.keys() - {"label"}):
            raise ValueError(f"{cls.__name__}: the field {missing[0]!r} is missing in the JSON.")
        return make(cls, {"label": None, **fields})
    try:
        return _domain(written, allow)
    except KeyError as error:
        raise ValueError(
            f"{error} is missing in the JSON of a domain: {json.dumps(written)[:80]}"
        ) from None


def _domain(written: Mapping[str, Any], allow: tuple[str, ...]) -> Any:
    read = functools.partial(from_json, allow=allow)
    word, name, label = written.get("domain"), written.get("name"), written.get("label")
    if word in ("one_of", "ordered", "optional", "either_order"):
        choice = Choice(
            [read(option) for option in written["options"]],
            word=word,
            name=name,
            label=label,
            labels=written["labels"],
        )
        choice.kind = "ordered" if written["ordered"] else "categorical"
        return choice
    if word == "integers":
        low, high, log = written["low"], written["high"], written["log"]
        return Integers(low, high, log=log, name=name, label=label)
    if word in ("uniform", "log_uniform"):
        low, high, log = written["low"], written["high"], written["log"]
        return Real(low, high, log=log, name=name, label=label)
    if word == "repeat":
        body, times = read(written["body"]), read(written["times"])
        return Repeat(body, times, tied=written["tied"], label=label)
    if word in ("derived", "where"):
        f: Callable[..., Any] = resolve(written["f"], allow)
        return (Derived if word == "derived" else Where)(f, written["reads"])
    if word == "ref":
        return Ref(written["rule"], label=label)
    if word == "grammar":
        rules = {rule: read(body) for rule, body in written["rules"].items()}
        return Grammar(written["start"], written["depth"], rules)
    if word == "restricted":
        limits = {address: tuple(allowed) for address, allowed in written["limits"].items()}
        return Restricted(read(written["space"]), limits)
    raise ValueError(f"Neither a node nor a domain: {json.dumps(written)[:80]}")


def resolve(name: str, allow: tuple[str, ...]) -> Any:
    """The class or function named ``module:qualname``, if its module is allowed."""
    module, _, path = name.partition(":")
    if not any(module == root or module.startswith(root + ".") for root in allow):
        raise ValueError(
            f"{name} lies outside of {', '.join(allow)}. Nothing else is imported on reading: "
            "pass allow=(..., 'your_package') if you trust it."
        )
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{name} cannot be read: {error}. Put the folder of that file on PYTHONPATH."
        ) from None
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ValueError(f"{module} has no {path!r} (any more).") from None
    return found


def canonical(value: Any) -> str:
    """JSON text of a point, tree or plain value that depends on nothing but its content."""
    plain = value if isinstance(value, Mapping) else to_json(value)
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def digest(value: Any) -> str:
    """sha256 of the canonical JSON: a stable name of a point or tree (64 hexadecimal digits)."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
