"""What each module of a network gives out: rows for the drawing of the best network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def layer_shapes(network: nn.Module, x: Tensor, *others: Any) -> list[dict[str, Any]]:
    """A row {"path", "shape" (without the batch), "parameters"} for each module that x passes.

    ``path`` is the module's in ``network.named_modules()``, "input" for x itself. The network runs
    once, in evaluation mode and without gradients; its mode is kept.
    """
    rows: list[dict[str, Any]] = [{"path": "input", "shape": list(x.shape[1:]), "parameters": 0}]

    def hook(path: str, module: nn.Module) -> Any:
        parameters = sum(p.numel() for p in module.parameters())

        def keep(_: nn.Module, __: Any, given: Any) -> None:
            if isinstance(given, Tensor):
                shape = list(given.shape[1:])
                rows.append({"path": path, "shape": shape, "parameters": parameters})

        return module.register_forward_hook(keep)

    hooks = [hook(path, module) for path, module in network.named_modules()]
    training = network.training
    try:
        network.eval()
        with torch.no_grad():
            network(x, *others)
    finally:
        network.train(training)
        for one in hooks:
            one.remove()
    return rows
