"""More methods of the peft library, each as a point of a search.

All of them change the weights of linear maps, can be merged, and leave the model unchanged at the
start. What peft can set and what is not a field here stays as peft has it.

Source: Mangrulkar et al. 2022, "PEFT: State-of-the-art parameter-efficient fine-tuning methods",
https://github.com/huggingface/peft.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vitruvius.contracts import Model, Sites
from vitruvius.interop.peft import Peft
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.low_rank import ATTENTION, QUERIES_AND_VALUES
from vitruvius.train.sites import Located, chosen, locate

WHERE = one_of(QUERIES_AND_VALUES, ATTENTION)


@dataclass(frozen=True)
class PeftOfMaps(Peft):
    """A method of peft for linear maps; those in ``sites``."""

    @property
    @abstractmethod
    def where(self) -> Sites: ...

    def targets_in(self, model: Model) -> Sequence[Located]:
        found = locate(model)
        if not any(one.site.kind == "linear" for one in found):
            return ()
        return [one for one in chosen(self.where, found) if one.site.kind == "linear"]

    def check(self) -> None:
        for name in ("rank", "alpha", "block", "frequencies", "scale"):
            value = getattr(self, name, 1)
            if value <= 0:
                raise ValueError(
                    f"{type(self).__name__}.{name} must be above 0; got {value}. "
                    "For no update, take LinearProbe."
                )


@dataclass(frozen=True)
class DoRA(PeftOfMaps):
    """Train m (W + (alpha / rank) B A) / |W + (alpha / rank) B A|, norms by output, and m = |W|.

    rank (in + out) + out numbers for each map.

    Source: Liu et al. 2024, "DoRA: Weight-decomposed low-rank adaptation", arXiv:2402.09353,
    section 4.
    """

    rank: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "rank of the update")
    alpha: float = hyper(16.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def refuse(self, path: str, module: nn.Module) -> None:
        at_most(self, self.rank, path, module)

    def config(self, library: Any, paths: str) -> Any:
        return library.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, use_dora=True, target_modules=paths
        )


@dataclass(frozen=True)
class AdaLoRA(PeftOfMaps):
    """Train W + (alpha / rank) B diag(e) A with e = 0 at the start.

    rank (in + out + 1) numbers for each map. Its ranks stay as they are: peft moves them between
    maps in a call after each step, and prices B and A that are not orthogonal in a loss of its own;
    a training loop that knows neither does neither.

    Source: Zhang et al. 2023, "AdaLoRA: Adaptive budget allocation for parameter-efficient
    fine-tuning", arXiv:2303.10512, section 3.1.
    """

    rank: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "rank of the update")
    alpha: float = hyper(16.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def refuse(self, path: str, module: nn.Module) -> None:
        at_most(self, self.rank, path, module)

    def config(self, library: Any, paths: str) -> Any:
        return library.AdaLoraConfig(
            init_r=self.rank,
            target_r=self.rank,
            lora_alpha=self.alpha,
            total_step=1,
            target_modules=paths,
        )


@dataclass(frozen=True)
class IA3(PeftOfMaps):
    """Train l in l * (W x + b), elementwise, with l = 1 at the start.

    As many numbers as a map has outputs. peft has one vector for inputs of feed-forward parts, as
    the paper; here the outputs of every map that is chosen have one.

    Source: Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better and cheaper than
    in-context learning", arXiv:2205.05638, section 3.3.
    """

    sites: Sites = hyper(ATTENTION, WHERE, "whose outputs")

    @property
    def where(self) -> Sites:
        return self.sites

    def config(self, library: Any, paths: str) -> Any:
        return library.IA3Config(target_modules=paths, feedforward_modules=[])


@dataclass(frozen=True)
class LoHa(PeftOfMaps):
    """Train W + (alpha / rank) (B_1 A_1) * (B_2 A_2), elementwise; B_1 is 0 at the start.

    2 rank (in + out) numbers for each map, and updates of rank up to rank^2.

    Source: Hyeon-Woo, Ye-Bin & Oh 2022, "FedPara: Low-rank Hadamard product for
    communication-efficient federated learning", arXiv:2108.06098, section 2.2.
    """

    rank: int = hyper(4, one_of(1, 2, 4, 8, 16), "rank of either product")
    alpha: float = hyper(8.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def refuse(self, path: str, module: nn.Module) -> None:
        at_most(self, self.rank, path, module)

    def config(self, library: Any, paths: str) -> Any:
        return library.LoHaConfig(r=self.rank, alpha=self.alpha, target_modules=paths)


@dataclass(frozen=True)
class LoKr(PeftOfMaps):
    """Train W + C kron (B A), or W + C kron D where D is small.

    C has about the root of the rows and of the columns of W, D or B A the rest.

    Source: Yeh et al. 2024, "Navigating text-to-image customization: From LyCORIS fine-tuning to
    model evaluation", arXiv:2309.14859, section 3.
    """

    rank: int = hyper(4, one_of(1, 2, 4, 8, 16), "rank of B A")
    alpha: float = hyper(8.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def refuse(self, path: str, module: nn.Module) -> None:
        at_most(self, self.rank, path, module)

    def config(self, library: Any, paths: str) -> Any:
        return library.LoKrConfig(r=self.rank, alpha=self.alpha, target_modules=paths)


@dataclass(frozen=True)
class VeRA(PeftOfMaps):
    """Train W + diag(b) B diag(d) A with A and B drawn once for all maps, and b = 0 at the start.

    rank + out numbers for each map.

    Source: Kopiczko, Blankevoort & Asano 2024, "VeRA: Vector-based random matrix adaptation",
    arXiv:2310.11454, section 3.
    """

    rank: int = hyper(64, one_of(16, 64, 256), "rank of the two drawn matrices")
    seed: int = hyper(0, None, "A and B are drawn from it")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def config(self, library: Any, paths: str) -> Any:
        return library.VeraConfig(r=self.rank, projection_prng_key=self.seed, target_modules=paths)


@dataclass(frozen=True)
class OFT(PeftOfMaps):
    """Train R in W R, with R of orthogonal blocks (I + Q) (I - Q)^-1, and Q = 0 at the start.

    in (block - 1) / 2 numbers for each map. The inverse is a sum of five powers of Q, as peft has
    it, so that R is orthogonal as long as Q is small.

    Source: Qiu et al. 2023, "Controlling text-to-image diffusion by orthogonal finetuning",
    arXiv:2306.07280, section 4.
    """

    block: int = hyper(8, one_of(4, 8, 16), "side of each block; divides the inputs of a map")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def refuse(self, path: str, module: nn.Module) -> None:
        assert isinstance(module, nn.Linear)
        if module.in_features % self.block:
            raise ValueError(
                f"OFT.block must divide the inputs of each map; got {self.block} for {path} of "
                f"{module.in_features} inputs. Take another block."
            )

    def config(self, library: Any, paths: str) -> Any:
        return library.OFTConfig(oft_block_size=self.block, target_modules=paths)


@dataclass(frozen=True)
class HRA(PeftOfMaps):
    """Train W H_1 ... H_rank with H_i = I - 2 u_i u_i' / |u_i|^2: reflections.

    rank in numbers for each map. At the start each two are the same, so that their product is I;
    rounding keeps the model from being the base bit for bit.

    Source: Yuan, Liu & Xu 2024, "Bridging the gap between low-rank and orthogonal adaptation via
    Householder reflection adaptation", arXiv:2405.17484, section 3.
    """

    rank: int = hyper(8, one_of(2, 4, 8), "reflections, an even number")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def identity(self) -> bool:
        return False

    @property
    def where(self) -> Sites:
        return self.sites

    def check(self) -> None:
        super().check()
        if self.rank % 2:
            raise ValueError(f"HRA.rank must be even; got {self.rank}. Take {self.rank + 1}.")

    def refuse(self, path: str, module: nn.Module) -> None:
        at_most(self, self.rank, path, module)

    def config(self, library: Any, paths: str) -> Any:
        return library.HRAConfig(r=self.rank, target_modules=paths)


@dataclass(frozen=True)
class FourierFT(PeftOfMaps):
    """Train W + scale * the inverse Fourier transform of a few frequencies, 0 at the start.

    As many numbers as frequencies for each map, at places drawn from the seed.

    Source: Gao et al. 2024, "Parameter-efficient fine-tuning with discrete Fourier transform",
    arXiv:2405.03003, section 3.
    """

    frequencies: int = hyper(250, one_of(50, 250, 1000), "frequencies that train in each map")
    scale: float = hyper(150.0, log_uniform(1.0, 300.0), "strength of the update")
    seed: int = hyper(0, None, "the frequencies are drawn from it")
    sites: Sites = hyper(QUERIES_AND_VALUES, WHERE, "whose weights")

    @property
    def where(self) -> Sites:
        return self.sites

    def refuse(self, path: str, module: nn.Module) -> None:
        assert isinstance(module, nn.Linear)
        most = module.weight.numel()
        if self.frequencies > most:
            raise ValueError(
                f"FourierFT.frequencies must be at most {most} for {path}; got {self.frequencies}."
            )

    def config(self, library: Any, paths: str) -> Any:
        return library.FourierFTConfig(
            n_frequency=self.frequencies,
            scaling=self.scale,
            random_loc_seed=self.seed,
            init_weights=True,
            target_modules=paths,
        )


METHODS = (DoRA, AdaLoRA, IA3, LoHa, LoKr, VeRA, OFT, HRA, FourierFT)


def at_most(adapter: Peft, rank: int, path: str, module: nn.Module) -> None:
    """Raise ValueError where a rank exceeds a side of a map."""
    assert isinstance(module, nn.Linear)
    smaller = min(module.in_features, module.out_features)
    if rank > smaller:
        raise ValueError(
            f"{type(adapter).__name__}.rank must be at most the smaller side of each matrix; got "
            f"{rank} for {path} of {module.out_features} x {module.in_features}. "
            f"Take {smaller} or less."
        )
