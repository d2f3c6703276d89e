"""The language: trees whose fields hold values or domains, and points that decide them."""

from vitruvius.space.combinators import (
    derived,
    either_order,
    grammar,
    integers,
    log_uniform,
    one_of,
    optional,
    ordered,
    uniform,
    where,
)
from vitruvius.space.counting import Count, count
from vitruvius.space.domains import Domain
from vitruvius.space.drawing import draw
from vitruvius.space.fields import hyper, hyperparameters
from vitruvius.space.node import Infeasible, Node, Scalar, same
from vitruvius.space.operations import Choose, Decision, Point
from vitruvius.space.points import (
    Change,
    carry,
    decide,
    decisions_of,
    diff,
    enumerate_points,
    neighbours,
    replay,
    restrict,
    sample,
)
from vitruvius.space.program import Program, compile
from vitruvius.space.serial import canonical, digest, from_json, to_json
from vitruvius.space.structure import Ref, Repeat

__all__ = [
    "Change",
    "Choose",
    "Count",
    "Decision",
    "Domain",
    "Infeasible",
    "Node",
    "Point",
    "Program",
    "Ref",
    "Repeat",
    "Scalar",
    "canonical",
    "carry",
    "compile",
    "count",
    "decide",
    "decisions_of",
    "derived",
    "diff",
    "digest",
    "draw",
    "either_order",
    "enumerate_points",
    "from_json",
    "grammar",
    "hyper",
    "hyperparameters",
    "integers",
    "log_uniform",
    "neighbours",
    "one_of",
    "optional",
    "ordered",
    "replay",
    "restrict",
    "same",
    "sample",
    "to_json",
    "uniform",
    "where",
]
