"""Train the biases alone.

Source: Ben Zaken, Ravfogel & Goldberg 2022, "BitFit: Simple parameter-efficient fine-tuning for
transformer-based masked language-models", arXiv:2106.10199, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Choose, Given, Model, Tensors, base_parameters, whole
from vitruvius.techniques.adapters.structure import trains


@dataclass(frozen=True)
class BitFit(Choose):
    """b trains in every W x + b and in every norm; W does not.

    About 0.1 % of the numbers of BERT. Models without biases (Llama) have nothing to train.
    """

    def choose(self, model: Model, given: Given) -> Tensors:
        parameters = base_parameters(model)
        biases = {
            id(parameter)
            for body in model.bodies.values()
            for part in body.modules()
            for name, parameter in part.named_parameters(recurse=False)
            if name == "bias" or getattr(part, "parameter_kinds", {}).get(name) == "bias"
        }
        found = {
            name: whole(parameter)
            for name, parameter in parameters.items()
            if id(parameter) in biases and trains(parameter)
        }
        if not found:
            raise ValueError(
                "BitFit trains biases, and this model has none. "
                "Take LastLayers, LoRA or FullTuning."
            )
        return found
