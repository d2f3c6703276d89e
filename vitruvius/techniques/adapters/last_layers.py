"""Train the last layers alone.

Source: Houlsby et al. 2019, "Parameter-efficient transfer learning for NLP", arXiv:1902.00751,
sections 3.3 and 3.4 ("variable fine-tuning" of the top layers, the baseline there); for images
Yosinski et al. 2014, "How transferable are features in deep neural networks?", arXiv:1411.1792.
Differs from the papers: a norm after the last layer trains with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vitruvius.contracts import Choose, Given, Model, Tensors, base_parameters, whole
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.structure import layers_of, trains


@dataclass(frozen=True)
class LastLayers(Choose):
    """W itself trains in the last ``count`` layers, and in what follows them; the rest stays.

    The backward pass ends where the first of them begins, so that it costs their share.
    """

    count: int = hyper(1, one_of(1, 2, 3, 5, 7, 9, 11), "layers that train, counted from the last")

    def check(self) -> None:
        if self.count < 1:
            raise ValueError(
                f"LastLayers.count must be at least 1; got {self.count}. "
                "To train the head alone, take LinearProbe."
            )

    def choose(self, model: Model, given: Given) -> Tensors:
        chosen: set[int] = set()
        for body in model.bodies.values():
            chosen |= self._last(body)
        return {
            name: whole(parameter)
            for name, parameter in base_parameters(model).items()
            if id(parameter) in chosen and trains(parameter)
        }

    def _last(self, body: nn.Module) -> set[int]:
        """The parameters of a body's last layers and of what is registered after all layers."""
        layers = list(layers_of(body).values())
        if not layers:
            raise ValueError(
                "LastLayers needs layers in a ModuleList or Sequential; "
                f"{type(body).__name__} has none. Take FullTuning."
            )
        if self.count > len(layers):
            raise ValueError(
                f"LastLayers.count must be at most the number of layers, {len(layers)}; "
                f"got {self.count}. To train all of them, take FullTuning."
            )
        of_layers = [{id(p) for p in layer.parameters()} for layer in layers]
        order = [id(p) for p in body.parameters()]
        last = max(i for i, one in enumerate(order) if one in set().union(*of_layers))
        return set().union(*of_layers[-self.count :], order[last + 1 :])
