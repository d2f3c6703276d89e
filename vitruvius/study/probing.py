"""How fast this machine trains: measured once for a study that has seconds and no speed yet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

SECONDS = 1.5
WIDTH, DEPTH, ROWS, TOKENS, IDS = 256, 3, 16, 64, 1000


@dataclass(frozen=True)
class Probe:
    """FLOPs of training, forward and backward, and the seconds that they took."""

    flops: float
    seconds: float

    @property
    def speed(self) -> float:
        """FLOPs per second."""
        return self.flops / self.seconds


def probe(device: str, threads: int, precision: str | None = None, body: Any = None) -> Probe:
    """Steps of a body of texts, or of a small transformer, on made-up tokens for a second or two.

    The seconds are as many times the median step as there were steps: what else the machine does
    now and then is left out.
    """
    import torch

    from vitruvius.contracts import Layout, Stream
    from vitruvius.study.worker import setting_of
    from vitruvius.techniques.layers import Block, Encoder, Tokens
    from vitruvius.train.meter import forward_flops, training_flops
    from vitruvius.train.text_bodies import fill, outline_text

    setting = setting_of(0, device, threads, precision)
    where, full = setting.device, setting.precision == torch.float32
    design = Encoder(Tokens(WIDTH, IDS), (Block(),) * DEPTH)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if body is None:
            body = fill(outline_text(design, ROWS, TOKENS)[0], 0)
        body = body.to(where).train()
        updater = torch.optim.AdamW(body.parameters(), 1e-4)
        ids = torch.randint(IDS, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))
        places = torch.arange(TOKENS).expand(ROWS, TOKENS)
        ids, places = ids.to(where), places.to(where)
        stream = Stream(ids, Layout(places, torch.ones_like(ids)))
        each = training_flops(forward_flops(lambda: body(stream)), 1)

        def step() -> None:
            updater.zero_grad(set_to_none=True)
            with torch.autocast(where.type, setting.precision, not full):
                loss = body(stream).hidden.float().square().mean()
            loss.backward()
            updater.step()
            if where.type == "cuda":
                torch.cuda.synchronize(where)

        step()
        took: list[float] = []
        while len(took) < 3 or sum(took) < SECONDS:
            begun = time.perf_counter()
            step()
            took.append(time.perf_counter() - begun)
        return Probe(each * len(took), len(took) * median(took))
    finally:
        torch.set_num_threads(before)
