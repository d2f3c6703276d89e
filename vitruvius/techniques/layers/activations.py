"""Activations: functions of each number alone. No parameters; a few FLOPs per number."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, log_uniform, one_of


@dataclass(frozen=True)
class ReLU(Layer):
    """y = max(x, 0).

    Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """

    def build(self, x: Tensor) -> nn.Module:
        return nn.ReLU()


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """y = x where x > 0, else slope * x.

    Source: Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic
    models".
    """

    slope: float = hyper(0.01, log_uniform(0.003, 0.3), "factor of negative numbers")

    def check(self) -> None:
        if self.slope < 0:
            raise ValueError(f"LeakyReLU.slope must not be negative; got {self.slope}.")

    def build(self, x: Tensor) -> nn.Module:
        return nn.LeakyReLU(self.slope)


@dataclass(frozen=True)
class ELU(Layer):
    """y = x where x > 0, else alpha * (exp(x) - 1).

    Source: Clevert, Unterthiner & Hochreiter 2016, "Fast and accurate deep network learning by
    exponential linear units", arXiv:1511.07289.
    """

    alpha: float = hyper(1.0, log_uniform(0.3, 3.0), "what very negative numbers go to, negated")

    def check(self) -> None:
        if self.alpha <= 0:
            raise ValueError(f"ELU.alpha must be above 0; got {self.alpha}. For 0, use ReLU.")

    def build(self, x: Tensor) -> nn.Module:
        return nn.ELU(self.alpha)


@dataclass(frozen=True)
class GELU(Layer):
    """y = x * Phi(x), Phi the normal distribution function, or its tanh approximation.

    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units", arXiv:1606.08415.
    """

    approximate: bool = hyper(False, one_of(False, True), "by tanh, as GPT-2 and BERT do")

    def build(self, x: Tensor) -> nn.Module:
        return nn.GELU("tanh" if self.approximate else "none")


@dataclass(frozen=True)
class SiLU(Layer):
    """y = x * sigmoid(x), also called swish.

    Source: Elfwing, Uchibe & Doya 2018, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", arXiv:1702.03118.
    """

    def build(self, x: Tensor) -> nn.Module:
        return nn.SiLU()


@dataclass(frozen=True)
class Tanh(Layer):
    """y = tanh(x).

    Source: LeCun et al. 1998, "Efficient backprop", section 4.4 (without its two constants).
    """

    def build(self, x: Tensor) -> nn.Module:
        return nn.Tanh()


@dataclass(frozen=True)
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)).

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating
    errors".
    """

    def build(self, x: Tensor) -> nn.Module:
        return nn.Sigmoid()
