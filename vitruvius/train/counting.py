"""What an adapter would train in the bodies of a model, before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vitruvius.contracts import Adapter, Choose, Given, Model, Replace, Tensors, base_parameters
from vitruvius.train.edits.weight_deltas import parameters_of
from vitruvius.train.sites import Located, locate
from vitruvius.train.siting import sites_of


def numbers_of(model: Model) -> int:
    """All numbers of the bodies."""
    return sum(parameter.numel() for parameter in base_parameters(model).values())


def counter(model: Model, given: Given) -> Callable[[Adapter], int]:
    """Counts adapters for this model; its sites are found once."""
    found: list[Sequence[Located]] = []

    def count(adapter: Adapter) -> int:
        if not found:
            found.append(locate(model))
        return _count(adapter, model, found[0], given)

    return count


def _count(adapter: Adapter, model: Model, found: Sequence[Located], given: Given) -> int:
    total, masks = 0, dict[str, Tensors]()
    for part in adapter.parts():
        edit = part.edit
        if isinstance(edit, Choose):
            for name, mask in edit.choose(model, given).items():
                masks[name] = {"mask": masks[name]["mask"] | mask if name in masks else mask}
        elif isinstance(edit, Replace):
            raise ValueError(
                f"What {type(edit).__name__} trains is known once it has replaced modules. "
                "Set its size by hand."
            )
        else:
            here = sites_of(part, found, parameters_of(model))
            wants = {one.site.path: edit.wants(one.site) for one in here}
            wants = {path: wanted for path, wanted in wants.items() if wanted}
            sites = {one.site.path: one.site for one in here if one.site.path in wants}
            assert part.source is not None
            total += part.source.count(wants, sites)
    unread = tuple(
        f"{stream}.{path}"
        for stream, body in model.bodies.items()
        for path in getattr(body, "unread", ())
    )
    kept = (one["mask"] for name, one in masks.items() if not name.startswith(unread))
    return total + sum(int(mask.sum()) for mask in kept)
