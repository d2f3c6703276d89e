"""The nets of BOSHNAS and the optimisation of their input. The one module of searchers with torch.

Source: Tuli, Dedhia, Tuli and Jha 2023, "FlexiBERT: Are Current Transformer Architectures too
Homogeneous and Rigid?", arXiv:2205.11656, sections 3.5 and 3.6; natural-parameter networks: Wang,
Shi and Yeung 2016, "Natural-Parameter Networks: A Class of Probabilistic Neural Networks",
arXiv:1611.00448, section 3; steps by curvature: Yao et al. 2021, "ADAHESSIAN: An Adaptive Second
Order Optimizer for Machine Learning", arXiv:2006.00719, algorithm 1.
Differs from the paper: every net is ``members`` nets that are trained at once, each from its own
start, on all points in one batch; the student learns at many unseen points too; a Gaussian process
of what the nets miss makes certain what was told; the input climbs from all starts at once.

Nothing here touches torch's own generator. All is float64 and runs on one thread, so that a fit is
a function of its data and its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Layers = list[tuple[Tensor, Tensor]]  # weights [members, in, out], shifts [members, 1, out]
Value = Callable[[Tensor], Tensor]  # [points, dimensions] -> [points]

FLOAT = torch.float64
HIDDEN = {"mean": (32, 32), "teacher": (64, 32)}  # the paper's widths
FLOOR = 1e-6  # of the variance of a gain, and of what its square root is taken
TINY = 1e-12  # added to a variance: at zero its square root has no gradient
SURE = 10.0  # weight of the squared error in the likelihood; variances come out as many times it
RATE, DECAY = 3e-2, 1.0  # of AdamW
NOISE = 0.1  # of what the nets miss: its variance over that of the Gaussian process
STALE, CHANGE = 5, 1e-5  # steps in a row that gain less than this end a climb


@contextmanager
def one_thread() -> Iterator[None]:
    """On one thread: sums are then added in one order, however many threads the process has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------- nets of flat parameters


def unpack(flat: Tensor, widths: tuple[int, ...]) -> Layers:
    """The layers of nets whose parameters stand in one vector each, [members, parameters]."""
    layers, at, members = [], 0, len(flat)
    for in_, out in pairwise(widths):
        weight = flat[:, at : at + in_ * out].view(members, in_, out)
        at += in_ * out
        layers.append((weight, flat[:, at : at + out].view(members, 1, out)))
        at += out
    return layers


def initial(members: int, widths: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Weights of variance 2 / in, shifts of 0: [members, parameters]. The last layer begins at a
    quarter of that, so that a sigmoid behind it is not saturated."""
    parts = []
    for in_, out in pairwise(widths):
        weight = torch.randn(members, in_ * out, generator=draw, dtype=FLOAT)
        size = math.sqrt((0.5 if out == 1 else 2.0) / in_)
        parts += [weight * size, torch.zeros(members, out, dtype=FLOAT)]
    return torch.cat(parts, 1)


def train(flat: Tensor, loss: Value, steps: int, decay: Tensor | float = DECAY) -> Tensor:
    """AdamW on one vector of parameters for each member; the rate falls to zero by a cosine."""
    flat = flat.clone().requires_grad_()
    first, second = torch.zeros_like(flat), torch.zeros_like(flat)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(loss(flat), flat)
        rate = RATE * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
        with torch.no_grad():
            first.lerp_(slope, 0.1)
            second.lerp_(slope * slope, 0.001)
            scale = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
            flat.mul_(1 - rate * decay)
            flat.addcdiv_(first, scale, value=-rate / (1 - 0.9**step))
    return flat.detach()


# --------------------------------------------------------------------- moments


def linear_moments(
    m: Tensor, s: Tensor | None, mean: tuple[Tensor, Tensor], variance: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and variance of x W + b, all independent: m W_m + b_m and s W_s + s W_m^2 + m^2 W_s +
    b_s; without ``s`` the input is certain."""
    weight, shift = mean
    spread, about = variance
    if s is None:
        out = torch.baddbmm(about, (m * m).expand(len(spread), -1, -1), spread)
        return shift + m @ weight, out
    out = torch.baddbmm(about, torch.addcmul(s, m, m), spread)
    return torch.baddbmm(shift, m, weight), torch.baddbmm(out, s, weight * weight)


def relu_moments(m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(x, 0) for x normal, exact: with z = m / sqrt(s),

    mean = m Phi(z) + sqrt(s) phi(z),   variance = s Phi(z) + mean (m - mean).
    """
    s = s + TINY
    root = s.sqrt()
    z = m / root
    below = torch.special.ndtr(z)
    density = torch.exp(z * z * -0.5) * (1 / math.sqrt(2 * math.pi))
    mean = torch.addcmul(root * density, m, below)
    return mean, torch.addcmul(s * below, mean, m - mean).clamp_min(0.0)


def sigmoid_moments(m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of 1 / (1 + exp(-x)) for x normal: with k = 1 / sqrt(1 + pi s / 8),

    mean = sigmoid(k m),   variance = mean (1 - mean) (1 - k).

    The mean is the probit approximation; the variance follows from it, for the square of a sigmoid
    is the sigmoid less its slope, and the mean slope is the slope of the mean. Both are exact where
    s = 0; the source's variance is up to 0.03 there, as if certain answers were noise.
    """
    k = torch.rsqrt(1 + math.pi / 8 * s)
    mean = torch.sigmoid(k * m)
    return mean, mean * (1 - mean) * (1 - k)


def natural(means: Layers, variances: Layers, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [members, points] of a natural-parameter network at ``x``."""
    m, s = linear_moments(x, None, means[0], variances[0])
    for mean, variance in zip(means[1:], variances[1:], strict=True):
        m, s = linear_moments(*relu_moments(m, s), mean, variance)
    m, s = sigmoid_moments(m, s)
    return m[..., 0], s[..., 0]


def halves(flat: Tensor, widths: tuple[int, ...]) -> tuple[Layers, Layers]:
    """Means and variances of weights: the latter stand behind the former, as softplus^-1."""
    mean, raw = flat.chunk(2, 1)
    return unpack(mean, widths), unpack(functional.softplus(raw), widths)


def soft(layers: Layers, x: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
    """A perceptron with softplus, [..., members, points]; masks multiply its hidden units."""
    for number, (weight, shift) in enumerate(layers[:-1]):
        x = functional.softplus(x @ weight + shift)
        if masks is not None:
            x = x * masks[number]
    weight, shift = layers[-1]
    return (x @ weight + shift)[..., 0]


# ------------------------------------------------------------------- surrogate


@dataclass(frozen=True)
class Settings:
    """How nets are trained. ``passes``: draws of dropout whose spread is epistemic."""

    members: int
    steps: int
    dropout: float
    passes: int


@dataclass(frozen=True)
class Surrogate:
    """Nets at rest: mean and noise, and the student's; and a Gaussian process of what they miss.

    ``correction``: points [told, dimensions], the factor of their kernel, weights [told].
    """

    means: Layers
    variances: Layers
    student: Layers
    scale: float
    length: float
    correction: tuple[Tensor, Tensor, Tensor] | None = None

    def mean_and_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted gain and aleatoric standard deviation, [points]."""
        mean, variance = natural(self.means, self.variances, x)
        mean = mean.mean(0)
        if self.correction is not None:
            points, _, weights = self.correction
            mean = mean + self._kernel(x, points) @ weights
        return mean, (variance.mean(0) / SURE).clamp_min(FLOOR).sqrt()

    def uncertainty(self, x: Tensor) -> Tensor:
        """Epistemic standard deviation, [points]: the student's, less what the points told of."""
        found = self.scale * functional.softplus(soft(self.student, x)[0])
        if self.correction is not None:
            points, factor, _ = self.correction
            near = torch.linalg.solve_triangular(factor, self._kernel(points, x), upper=False)
            found = found * (1 - (near * near).sum(0)).clamp_min(FLOOR).sqrt()
        return found

    def bound(self, x: Tensor, bonus: float, noise: bool) -> Tensor:
        """Upper confidence bound mu + bonus (xi + noise sigma), [points]."""
        mean, aleatoric = self.mean_and_noise(x)
        spread = self.uncertainty(x)
        return mean + bonus * (spread + aleatoric if noise else spread)

    def told(self, x: np.ndarray, gains: np.ndarray) -> Surrogate:
        """With a Gaussian process of the residuals at points ``x`` [told, dimensions]. A gain of
        NaN is still to come: it takes away uncertainty and leaves the mean.

        Dropout alone does not tell: its spread is as large at the points it was trained on as
        elsewhere (measured on tables of trained networks)."""
        points = torch.tensor(x, dtype=FLOAT)
        residual = torch.tensor(gains, dtype=FLOAT) - self.mean_and_noise(points)[0]
        kernel = self._kernel(points, points) + NOISE * torch.eye(len(x), dtype=FLOAT)
        factor = torch.linalg.cholesky(kernel)
        weights = torch.cholesky_solve(residual.nan_to_num(0.0)[:, None], factor)[:, 0]
        return replace(self, correction=(points, factor, weights))

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        square = ((a[:, None] - b[None]) ** 2).sum(-1)
        return torch.exp(-square / (2 * self.length**2))


def fit(
    x: np.ndarray, y: np.ndarray, library: np.ndarray, settings: Settings, seed: int
) -> Surrogate:
    """Train the three nets on points ``x`` [points, dimensions] with gains ``y`` in (0, 1); the
    student at the points and at the library."""
    draw = torch.Generator().manual_seed(seed)
    points, gains = torch.tensor(x, dtype=FLOAT), torch.tensor(y, dtype=FLOAT)
    everywhere = torch.cat([points, torch.tensor(library, dtype=FLOAT)])
    dimensions, members = points.shape[1], settings.members

    widths = (dimensions, *HIDDEN["mean"], 1)
    mean = initial(members, widths, draw)
    flat = torch.cat([mean, torch.full_like(mean, -5.0)], 1)
    decay = torch.cat([torch.full_like(mean[:1], DECAY), torch.zeros_like(mean[:1])], 1)

    def likelihood(flat: Tensor) -> Tensor:
        m, s = natural(*halves(flat, widths), points)
        s = s.clamp_min(FLOOR)
        return 0.5 * (SURE * (m - gains) ** 2 / s + s.log()).mean(1).sum()

    means, variances = halves(train(flat, likelihood, settings.steps, decay), widths)
    taught = teach(points, gains, everywhere, settings, draw)
    student, scale = distil(everywhere, taught, settings, draw)
    length = float(torch.cdist(everywhere, everywhere).median()) / 2
    return Surrogate(means, variances, student, scale, max(length, FLOOR))


def teach(
    points: Tensor, gains: Tensor, everywhere: Tensor, settings: Settings, draw: torch.Generator
) -> Tensor:
    """Train the teacher on the points; the standard deviation of its answers over members and
    passes of dropout, at all points. Each pass drops the same units for all of them."""
    members, keep = settings.members, 1 - settings.dropout
    hidden = HIDDEN["teacher"]
    widths = (points.shape[1], *hidden, 1)

    def masks(*shape: int) -> tuple[Tensor, ...]:
        kept = torch.rand(*shape, sum(hidden), generator=draw, dtype=FLOAT) < keep
        return kept.to(FLOAT).div_(keep).split(hidden, -1)

    def error(flat: Tensor) -> Tensor:
        found = soft(unpack(flat, widths), points, masks(members, len(points)))
        return ((torch.sigmoid(found) - gains) ** 2).mean(1).sum()

    layers = unpack(train(initial(members, widths, draw), error, settings.steps), widths)
    found = soft(layers, everywhere, masks(settings.passes, members, 1))
    return torch.sigmoid(found).flatten(0, 1).std(0, correction=0)


def distil(
    everywhere: Tensor, taught: Tensor, settings: Settings, draw: torch.Generator
) -> tuple[Layers, float]:
    """Train the student on the teacher's deviations; its layers, and the scale of its answers.
    Without the scale the deviations, of some hundredths, would leave it no gradient."""
    widths = (everywhere.shape[1], *HIDDEN["teacher"], 1)
    scale = float(taught.mean().clamp_min(FLOOR))
    goal = taught / scale

    def error(flat: Tensor) -> Tensor:
        return ((functional.softplus(soft(unpack(flat, widths), everywhere)) - goal) ** 2).mean()

    return unpack(train(initial(1, widths, draw), error, settings.steps), widths), scale


# ------------------------------------------------------------------------ GOBI


def climb(
    value: Value,
    starts: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    rate: float,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Maximise ``value`` from all starts at once by AdaHessian; best inputs seen, and their values.

    The diagonal of the Hessian is estimated by v * (H v) with v of +1 and -1 (Hutchinson): one
    product serves all starts, since they do not act on each other. The rate falls and rises by a
    cosine of period 4 steps (T_max = 2); its steps of length zero are left out. Inputs stay in
    [low, high]. Ends when no best value has grown by ``CHANGE`` in ``STALE`` steps.
    """
    x = starts.clamp(low, high)
    best, most = x.clone(), torch.full((len(x),), -math.inf, dtype=FLOAT)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    stale = 0
    for step in range(1, steps + 2):
        now, slope, bend = curvature(value, x, draw)
        stale = 0 if bool((now > most + CHANGE).any()) else stale + 1
        grown = now > most
        best[grown], most[grown] = x[grown], now[grown]
        if step > steps or stale == STALE:
            break
        first.lerp_(slope, 0.1)
        second.lerp_(bend * bend, 0.001)
        root = (second / (1 - 0.999**step)).sqrt_().add_(1e-4)
        length = rate if step % 3 == 1 else rate / 2
        x = (x + length * (first / (1 - 0.9**step)) / root).clamp(low, high)
    return best, most


def values(value: Value, x: np.ndarray) -> np.ndarray:
    """``value`` at each row."""
    with torch.no_grad():
        return value(torch.tensor(x, dtype=FLOAT)).numpy()


def climbed(
    value: Value,
    starts: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    steps: int,
    rate: float,
    seed: int,
) -> np.ndarray:
    """``climb``, from arrays to the array of best inputs."""
    draw = torch.Generator().manual_seed(seed)
    first, lowest, highest = (torch.tensor(a, dtype=FLOAT) for a in (starts, low, high))
    return climb(value, first, lowest, highest, steps, rate, draw)[0].numpy()


def curvature(value: Value, x: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """``value`` at each of the inputs, its gradient, and Hutchinson's estimate of its second
    derivatives: [points], twice [points, dimensions]."""
    x = x.detach().requires_grad_()
    sign = torch.randint(0, 2, x.shape, generator=draw).to(x.dtype) * 2 - 1
    with torch.enable_grad():
        found = value(x)
        (slope,) = torch.autograd.grad(found.sum(), x, create_graph=True)
        (product,) = torch.autograd.grad((slope * sign).sum(), x)
    return found.detach(), slope.detach(), sign * product
