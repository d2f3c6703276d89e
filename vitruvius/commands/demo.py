"""``vitruvius demo``: the digits, without a question asked."""

from __future__ import annotations

from vitruvius.commands.options import Out, Quiet, Seed, Trials, Workers
from vitruvius.commands.search import run_search


def demo(
    trials: Trials = 16,
    seed: Seed = 0,
    out: Out = None,
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Search networks for real handwritten digits: about a minute on two cores.

    Example: vitruvius demo --trials 20
    """
    given = {"trials": trials, "seed": seed, "out": out, "workers": workers}
    run_search(quiet, "digits", None, None, **given)
