"""A classifier, tagger or regressor of a domain's texts: tokenizer, from scratch or continued,
objective, optimizer and adaptation in one space.

Source: Gururangan et al. 2020, "Don't Stop Pretraining", arXiv:2004.10964 (continued on the domain,
then adapted); Gu et al. 2021, "PubMedBERT", arXiv:2007.15779 (from scratch).
"""

from __future__ import annotations

from typing import Any

from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.recipes._from_texts import FLOPS, adapting, ways
from vitruvius.recipes._from_texts import starts as first_points
from vitruvius.space import one_of
from vitruvius.techniques.adapters import FullTuning, LinearProbe
from vitruvius.techniques.heads import WithWords


def domain_classifier(
    source: str = "labels.csv",
    target: str | None = None,
    *,
    texts: str | None = None,
    base: str | None = None,
    flops: float = FLOPS,
    words: bool = False,
) -> Pipeline:
    """``source`` are labelled texts with the column ``target``, ``texts`` a corpus without labels,
    ``base`` a pretrained model; ``flops`` are those of a trial. ``words``: each text has a class,
    so that a linear model of its words may have a say."""
    adapters = one_of(FullTuning(one_of(True, False)), LinearProbe(), name="adapter")
    heads = one_of(WithWords(), None, name="head") if words else None
    adapt = adapting(flops, adapters, heads=heads)
    return Pipeline(LoadTexts(texts, source, target=target), ways(adapt, flops, base), Evaluate())


def starts(base: str | None, words: bool = False) -> tuple[dict[str, Any], ...]:
    """Points to begin with."""
    head = {"@head": "WithWords"} if words else {}
    return tuple({**point, **head} for point in first_points(base))
