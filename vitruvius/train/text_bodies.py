"""A network of tokens as the body of a text stream."""

from __future__ import annotations

from torch import Tensor, nn

from vitruvius.contracts import Outputs, Stream


class TextBody(nn.Module):
    """What ``Encoder.build`` or ``Decoder.build`` gives, called as a body: stream to Outputs.

    Taps: "stem", and "layer.0" to the last, each before the network's own norm.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        if not taps:
            return Outputs(self.network(stream.values, stream.layout))
        found: dict[str, Tensor] = dict.fromkeys(sorted(taps))  # type: ignore[assignment]
        hidden = self.network(stream.values, stream.layout, found)
        return Outputs(hidden, taps=found)
