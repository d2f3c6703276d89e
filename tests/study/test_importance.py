"""Importances: what matters is found, what does not is not, and few trials are called few."""

from random import Random

import pytest

from vitruvius.study.axes import axes
from vitruvius.study.importance import LEAST, importances
from vitruvius.study.trials import Trial


def trials(count: int, seed: int, noise: float = 0.05) -> list[Trial]:
    """score = big(a) + small(b) + only where a = "x" c; d and e are without influence."""
    rng = Random(seed)
    found = []
    for number in range(count):
        point = {"a": rng.choice("xyz"), "b": rng.randint(0, 9), "d": rng.random()}
        point["e"] = rng.choice(["p", "q"])
        score = {"x": 1.0, "y": 0.2, "z": 0.5}[point["a"]] + 0.02 * point["b"]  # type: ignore[index]
        if point["a"] == "x":
            point["a=x.c"] = rng.random()
            score += 0.6 * point["a=x.c"]
        score += rng.gauss(0, noise)
        found.append(Trial(number, point, "finished", score=score))
    return found


def test_order_and_share_of_decisions() -> None:
    found = importances(made := trials(300, 0), axes(t.point for t in made))
    one = {i.axis.address: i for i in found.decisions}
    assert found.tells and found.explained is not None and found.explained > 0.9
    assert [i.axis.address for i in found.decisions][:2] in (["a", "a=x.c"], ["a=x.c", "a"])
    assert one["a"].clear and one["a=x.c"].clear
    assert one["b"].value < 0.2 < min(one["a"].value, one["a=x.c"].value)
    assert abs(one["d"].value) < 0.02 and abs(one["e"].value) < 0.02
    assert one["a=x.c"].active == pytest.approx(1 / 3, abs=0.1) and one["a"].active == 1.0
    assert all(i.low <= i.high for i in found.decisions)


def test_an_order_of_labels_is_not_needed() -> None:
    """A categorical decision whose best label stands in the middle counts like any other."""
    rng = Random(1)
    made = [
        Trial(i, {"a": (a := rng.choice("uvw"))}, "finished", score=(a == "v") + rng.gauss(0, 0.1))
        for i in range(60)
    ]
    found = importances(made, axes(t.point for t in made))
    assert found.decisions[0].value > 0.6


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_not_called_important(seed: int) -> None:
    rng = Random(seed)
    made = [
        Trial(i, {k: rng.random() for k in "abcdef"}, "finished", score=rng.random())
        for i in range(40)
    ]
    assert not importances(made, axes(t.point for t in made)).tells


def test_few_trials_are_called_few() -> None:
    made = trials(LEAST - 1, 0)
    found = importances(made, axes(t.point for t in made))
    assert found.decisions == () and found.explained is None and found.trials == LEAST - 1


def test_failed_trials_and_equal_scores_say_nothing() -> None:
    made = [Trial(i, {"a": i}, "finished", score=0.5) for i in range(30)]
    made += [Trial(99, {"a": 3}, "failed"), Trial(98, {"a": 3}, "finished", score=float("nan"))]
    found = importances(made, axes(t.point for t in made))
    assert found.decisions == () and not found.tells


def test_equal_input_gives_equal_numbers() -> None:
    made = trials(60, 5)
    found = axes(t.point for t in made)
    assert importances(made, found, seed=3) == importances(made, found, seed=3)
