"""Train every weight of the model.

Source: Howard & Ruder 2018, "Universal language model fine-tuning for text classification",
arXiv:1801.06146; as now usual, all layers from the first step, from Devlin et al. 2019, "BERT",
arXiv:1810.04805, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Choose, Given, Model, Tensors, base_parameters, whole
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.structure import embeds, trains


@dataclass(frozen=True)
class FullTuning(Choose):
    """W itself trains, for all W.

    As many numbers as the model has, and as many again to get the base back. Without
    ``embeddings`` the tables of tokens and positions stay: a step need not go through their rows.
    """

    embeddings: bool = hyper(True, one_of(True, False), "whether tables of ids train too")

    def choose(self, model: Model, given: Given) -> Tensors:
        tables = {
            id(parameter)
            for body in model.bodies.values()
            for part in body.modules()
            for name, parameter in part.named_parameters(recurse=False)
            if embeds(part, name)
        }
        return {
            name: whole(parameter)
            for name, parameter in base_parameters(model).items()
            if trains(parameter) and (self.embeddings or id(parameter) not in tables)
        }
