"""Where successive halving stands still, and how many designs go on: placed by rank fidelity.

Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", arXiv:1502.07943, where rungs and survivors are powers of eta. Differs: at each
checkpoint as many designs go on as the later best one needed to be among them, in curves that are
known; how surely is what the cost allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitruvius.search.rank_fidelity import RankFidelity

GROUPS = 400
RISKS = 60
FEWER = 0.8  # a rung stands where at most this part of its designs goes on
GOOD = 0.8  # of Spearman's correlation


@dataclass(frozen=True)
class RungPlan:
    """Shares of the horizon at which designs stand still, and how many reach each; 1 last."""

    shares: tuple[float, ...]
    reach: tuple[int, ...]
    """Designs that run to each share; the first number is all of them."""
    risk: float
    """How probably the best was below the line at one rung, in the curves that placed it."""
    held: float
    """Of drawn groups that did not place the rungs: how many kept their best to the end."""
    loss: float
    """Gain lost against the best of the group, on average, in the same groups."""
    blind: float
    """The same where as many trainings as cost as much are drawn and run whole."""

    @property
    def cost(self) -> float:
        """Of training all to the end: what the plan takes, where promotions continue."""
        return _cost(self.shares, self.reach)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of the designs at each share but the last, the part that goes on."""
        return tuple(b / a for a, b in zip(self.reach, self.reach[1:], strict=False))

    @property
    def trusted(self) -> bool:
        """Whether early scores choose better than training a part of the designs whole."""
        return self.loss < self.blind


def plan_rungs(fidelity: RankFidelity, designs: int, cost: float = 0.4, seed: int = 0) -> RungPlan:
    """Rungs for so many designs at a part ``cost`` of training them all whole.

    In groups drawn from the known curves the place of the later best is looked up at each
    checkpoint. With a risk r, as many go on as hold it in 1 - r of the groups; the smallest risk is
    taken that the cost allows. What it loses is measured on designs that did not place the rungs:
    half of the curves place them for the other half, and the other way round.
    """
    if designs < 1 or not 0 < cost <= 1:
        raise ValueError(
            "A plan of rungs needs at least one design and a cost above 0 and at most 1; "
            f"got {designs} and {cost}."
        )
    if not fidelity.enough:
        raise ValueError(
            "A plan of rungs needs at least 8 designs trained to their end, with scores on the "
            f"way; got {len(fidelity.gains)} and {len(fidelity.shares) - 1} checkpoints on the way."
        )
    shares, reach, risk = place(fidelity, designs, cost, seed)
    order = np.random.default_rng(seed).permutation(len(fidelity.gains))
    halves = [fidelity.gains[order[i::2]] for i in (0, 1)]
    found = []
    for placing, judged in (halves, halves[::-1]):
        known = RankFidelity(fidelity.shares, placing)
        group = max(4, len(judged) // 2)
        there = place(known, group, cost, seed)
        found.append(_judged(known, judged, group, there[0], there[1], seed))
    held, loss, blind = np.mean(found, 0)
    return RungPlan(shares, reach, risk, float(held), float(loss), float(blind))


def survivors(
    fidelity: RankFidelity,
    gains: NDArray[np.float64],
    shares: tuple[float, ...],
    reach: tuple[int, ...],
) -> NDArray[np.int64]:
    """Numbers of the designs [reach[-1]] that are trained to the end, of gains [design, K]."""
    left = np.arange(len(gains))
    for share, going in zip(shares[:-1], reach[1:], strict=True):
        k = int(np.abs(fidelity.shares - share).argmin())
        seen = fidelity.foreseen(k, gains[left])
        left = left[np.argsort(-np.nan_to_num(seen, nan=-np.inf), kind="stable")[:going]]
    return left


def place(
    fidelity: RankFidelity, designs: int, cost: float = 0.4, seed: int = 0
) -> tuple[tuple[float, ...], tuple[int, ...], float]:
    """Shares, designs that reach each, and the risk: a plan that is not judged yet."""
    places = _places(fidelity, seed)
    for risk in np.geomspace(0.005, 0.95, RISKS):
        depth = np.quantile(places, 1 - risk, axis=0)
        going = np.clip(np.ceil(depth * designs + 0.5 - 1e-9), 1, designs).astype(int)
        going = np.maximum.accumulate(going[::-1])[::-1]
        shares, reach = _thinned(fidelity.shares, going, designs)
        if _cost(shares, reach) <= cost:
            return shares, reach, float(risk)
    first = float(fidelity.shares[0])  # however little the order says: as many as can be paid
    going = max(1, int((cost - first) * designs / (1 - first))) if cost > first else 1
    return (first, 1.0), (designs, going), 1.0


def _places(fidelity: RankFidelity, seed: int) -> NDArray[np.float64]:
    """Of drawn groups the place of the later best at each checkpoint, in (0, 1): [group, K - 1]."""
    gains, draw = fidelity.gains, np.random.default_rng(seed)
    seen = np.stack([fidelity.foreseen(k, gains) for k in range(gains.shape[1] - 1)], 1)
    seen = np.nan_to_num(seen, nan=-np.inf)
    size = max(2, len(gains) // 2)
    places = np.empty((GROUPS, seen.shape[1]))
    for g in range(GROUPS):
        group = draw.permutation(len(gains))[:size]
        there, last = seen[group], gains[group, -1]
        winners = np.flatnonzero(last == last.max())
        better = (there[None] > there[winners, None]).sum(1)
        equal = (there[None] == there[winners, None]).sum(1) - 1
        places[g] = ((better + equal / 2 + 0.5) / size).min(0)
    return places


def _thinned(
    shares: NDArray[np.float64], going: NDArray[np.int64], designs: int
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Rungs at those checkpoints where enough designs stay behind."""
    stands: list[float] = []
    reach = [designs]
    for share, count in zip(shares[:-1], going, strict=True):
        if count <= FEWER * reach[-1]:
            stands.append(float(share))
            reach.append(int(count))
    return (*stands, 1.0), tuple(reach)


def _cost(shares: tuple[float, ...], reach: tuple[int, ...]) -> float:
    parts = zip((0.0, *shares), shares, reach, strict=False)
    return sum((b - a) * count for a, b, count in parts) / reach[0]


def _judged(
    known: RankFidelity,
    gains: NDArray[np.float64],
    size: int,
    shares: tuple[float, ...],
    reach: tuple[int, ...],
    seed: int,
) -> tuple[float, float, float]:
    """Groups of so many that kept their best; loss of the plan; loss of whole trainings."""
    draw = np.random.default_rng(seed + 1)
    whole = max(1, int(_cost(shares, reach) * size))
    floor = gains[np.isfinite(gains[:, -1]), -1].min(initial=0.0)
    last = np.maximum(gains[:, -1], floor)  # a failure costs as much as the worst that did not
    held, loss, blind = 0, 0.0, 0.0
    for _ in range(GROUPS):
        group = draw.permutation(len(gains))[:size]
        best = last[group].max()
        found = last[group][survivors(known, gains[group], shares, reach)].max()
        held += found == best
        loss += best - found
        blind += best - last[group[:whole]].max()
    return held / GROUPS, loss / GROUPS, blind / GROUPS
