"""Adapters of the peft library, as baselines and as points of a search.

Source: Mangrulkar et al. 2022, "PEFT: State-of-the-art parameter-efficient fine-tuning methods",
https://github.com/huggingface/peft.
"""

from __future__ import annotations

import importlib
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from vitruvius.contracts import Adapted, ForeignAdapter, Given, Model, Structure, Tensors
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.train.attached import Attached, check_base
from vitruvius.train.sites import Located, locate

NAME = "default"  # of the one adapter that peft is given


@dataclass(frozen=True)
class Peft(ForeignAdapter):
    """An adapter that peft writes into the modules of a body, and takes out again."""

    libraries: ClassVar[tuple[str, ...]] = ("peft",)

    @abstractmethod
    def targets_in(self, model: Model) -> Sequence[Located]:
        """The places that it changes; none where there are none of its kind."""

    @abstractmethod
    def config(self, library: Any, paths: str) -> Any:
        """What peft is told; ``paths`` is the regular expression of the targets."""

    def refuse(self, path: str, module: nn.Module) -> None:
        """Raise ValueError where it does not fit a target."""

    def attach(self, model: Model, given: Given) -> Adapted:
        check_base(self, model)
        return _Injected(self, model, given)


@dataclass(frozen=True)
class LoRA(Peft):
    """Train W + (alpha / rank) B A in place of W, as peft does; W stays.

    rank (in + out) numbers for each map. B is 0 at the start, so that the model is unchanged.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
    arXiv:2106.09685, section 4.1. Differs from the paper: all four maps of an attention have one,
    not those of queries and values alone.
    """

    rank: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "rank of the update")
    alpha: float = hyper(16.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of what A reads")
    targets: str = hyper(
        "attention", one_of("attention", "layers"), "the maps of attention, or all of the layers"
    )

    def check(self) -> None:
        if self.rank < 1:
            raise ValueError(
                f"LoRA.rank must be at least 1; got {self.rank}. For no update, take LinearProbe."
            )
        if self.alpha <= 0:
            raise ValueError(
                f"LoRA.alpha must be above 0; got {self.alpha}. For no update, take LinearProbe."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA.dropout must be at least 0 and below 1; got {self.dropout}.")
        if self.targets not in ("attention", "layers"):
            raise ValueError(f"LoRA.targets must be 'attention' or 'layers'; got {self.targets!r}.")

    def targets_in(self, model: Model) -> Sequence[Located]:
        found = locate(model)
        layers = {one.site.depth for one in found if one.site.kind == "layer"}
        return [
            one
            for one in found
            if one.site.kind == "linear"
            and one.site.depth in layers
            and (self.targets == "layers" or one.site.place.startswith("attention."))
        ]

    def refuse(self, path: str, module: nn.Module) -> None:
        assert isinstance(module, nn.Linear)
        smaller = min(module.in_features, module.out_features)
        if self.rank > smaller:
            raise ValueError(
                f"LoRA.rank must be at most the smaller side of each matrix; got {self.rank} for "
                f"{path} of {module.out_features} x {module.in_features}. Take {smaller} or less."
            )

    def config(self, library: Any, paths: str) -> Any:
        return library.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=paths
        )


def library() -> Any:
    """The ``peft`` library."""
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ValueError(
            "Adapters of peft need the peft library: pip install 'vitruvius[text]'."
        ) from error


class _Injected(Attached):
    """A model whose bodies hold modules of peft."""

    def __init__(self, adapter: Peft, model: Model, given: Given) -> None:
        super().__init__(adapter, model, given.rng.get_state())
        library()
        found: dict[nn.Module, list[str]] = {body: [] for body in self._bodies}
        for one in adapter.targets_in(model):
            adapter.refuse(one.site.path, one.module)
            found[one.body].append(one.site.path.removeprefix(f"{one.site.tower}."))
        name = type(adapter).__name__
        for body, targets in found.items():
            if not targets:
                raise ValueError(
                    f"{name} found none of its targets in {type(body).__name__}. "
                    "Take other targets, or another adapter."
                )
        self._found, self._tuners = found, dict[nn.Module, Any]()
        self._layers: dict[str, Any] = {}
        self._learned: Tensors = {}
        self._seed = int(torch.randint(2**62, (1,), generator=given.rng, device=given.rng.device))
        self._install()
        self._begin()

    def _install(self) -> None:
        peft, adapter = library(), self.adapter
        assert isinstance(adapter, Peft)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)  # peft draws on the CPU, from the global generator
            for body, targets in self._found.items():
                config = adapter.config(peft, "|".join(map(re.escape, targets)))
                tuner = peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
                self._tuners[body] = tuner(body, config, NAME)
                for path in targets:
                    self._layers[f"{self._bodies[body]}.{path}"] = body.get_submodule(path)
        here = self._trained()
        with torch.no_grad():
            for name, tensor in self._learned.items():
                here[name].copy_(tensor)

    @torch.no_grad()
    def deltas(self) -> Tensors:
        self._check_ready()
        return {
            f"{path}.weight": layer.get_delta_weight(NAME) for path, layer in self._layers.items()
        }

    def restrict(self, structure: Structure, model: Model) -> Adapted:
        raise ValueError(
            f"{type(self.adapter).__name__} of peft cannot follow a pruning: its product is dense. "
            "Call merge() first and prune then, or take an adapter of techniques.adapters."
        )

    def _trained(self) -> Tensors:
        return {
            f"{stream}.{path}": parameter
            for body, stream in self._bodies.items()
            for path, parameter in body.named_parameters()
            if parameter.requires_grad
        }

    def _remove(self, merged: bool) -> None:
        self._learned = {n: t.detach().clone() for n, t in self._trained().items()}
        for tuner in self._tuners.values():
            tuner.merge_and_unload() if merged else tuner.unload()

    def _show_base(self, on: bool) -> None:
        super()._show_base(on)
        for layer in self._layers.values():
            layer.enable_adapters(not on)
