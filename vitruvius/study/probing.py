"""How fast this machine trains: measured once for a study that has seconds and no speed yet."""

from __future__ import annotations

import time
from dataclasses import dataclass

SECONDS = 1.5
WIDTH, DEPTH, ROWS, TOKENS, IDS = 256, 3, 16, 128, 4096


@dataclass(frozen=True)
class Probe:
    """FLOPs of training, forward and backward, and the seconds that they took."""

    flops: float
    seconds: float

    @property
    def speed(self) -> float:
        """FLOPs per second."""
        return self.flops / self.seconds


def probe(device: str, threads: int, precision: str | None = None) -> Probe:
    """Steps of a small transformer on made-up tokens, on the device, for a second or two."""
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
        body = fill(outline_text(design, ROWS, TOKENS)[0], 0).to(where).train()
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
        begun, steps = time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - begun < SECONDS:
            step()
            steps += 1
        return Probe(each * steps, time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)
