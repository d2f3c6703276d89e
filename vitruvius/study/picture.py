"""SVG written by hand: elements, scales, axes. Colours are CSS classes, which the page sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CHARACTER = 6.5
"""Width of one character of 12 px sans-serif text, on average and rounded up."""


class Svg:
    """An inline picture that scales with its column; ``title`` is read out in its place."""

    def __init__(self, width: float, height: float, title: str, kind: str = "chart") -> None:
        self.width, self.height, self.title, self.kind = width, height, title, kind
        self.parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.parts.append(
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{css}"/>'
        )

    def path(self, commands: str, css: str, title: str = "") -> None:
        if commands:
            self._shape("path", f'd="{commands}" class="{css}"', title)

    def polyline(self, points: Sequence[tuple[float, float]], css: str, title: str = "") -> None:
        self.path(trace(points), css, title)

    def dots(self, points: Iterable[tuple[float, float]], css: str) -> None:
        """Dots as one path of strokes without length: 12 bytes each, drawn with round caps."""
        self.path("".join(f"M{_n(x)} {_n(y)}h0" for x, y in points), css)

    def circle(self, x: float, y: float, radius: float, css: str, title: str = "") -> None:
        self._shape("circle", f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="{css}"', title)

    def rect(
        self, x: float, y: float, w: float, h: float, css: str, title: str = "", round_: float = 0
    ) -> None:
        rx = f' rx="{_n(round_)}"' if round_ else ""
        box = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(w, 0))}" height="{_n(max(h, 0))}"'
        self._shape("rect", f'{box}{rx} class="{css}"', title)

    def text(
        self, x: float, y: float, text: str, css: str = "t", anchor: str = "start", turn: int = 0
    ) -> None:
        turned = f' transform="rotate({turn} {_n(x)} {_n(y)})"' if turn else ""
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" class="{css}"{at}{turned}>{escape(text)}</text>'
        )

    def _shape(self, tag: str, attributes: str, title: str) -> None:
        inner = f"><title>{escape(title)}</title></{tag}>" if title else "/>"
        self.parts.append(f"<{tag} {attributes}{inner}")

    def markup(self) -> Markup:
        """The element; markup that is safe, since all text went through ``escape``."""
        head = (
            f'<svg viewBox="0 0 {_n(self.width)} {_n(self.height)}" class="{self.kind}" '
            f'role="img" aria-label="{escape(self.title)}">'
        )
        return Markup(head + "".join(self.parts) + "</svg>")


@dataclass(frozen=True)
class Scale:
    """Values from low to high laid between two pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.high <= self.low:
            return (self.start + self.end) / 2
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = (math.log(value) if self.log else value) - low
        return self.start + (self.end - self.start) * min(max(at / (high - low), 0.0), 1.0)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values inside the range."""
        if self.high <= self.low:
            return [self.low]
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1,) if len(powers) > 2 else (1, 2, 5)
            inside = [k * 10.0**p for p in powers for k in steps]
            inside = [v for v in inside if self.low * 0.999 <= v <= self.high * 1.001]
            while len(inside) > most:
                inside = inside[::2]
            return inside or [self.low, self.high]
        raw = (self.high - self.low) / max(most - 1, 1)
        power = 10.0 ** math.floor(math.log10(raw))
        steps = [k * power for k in (0.5, 1, 2, 2.5, 5, 10)]
        steps.sort(key=lambda s: (s < raw * 0.999, abs(s - raw)))
        found: list[float] = []
        for step in steps:  # the first that gives two ticks
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            found = [round(i * step, 12) for i in range(first, last + 1)]
            if len(found) > 1:
                break
        return found


def trace(points: Sequence[tuple[float, float]]) -> str:
    """Path commands through the points, in order."""
    return "".join(f"{'L' if i else 'M'}{_n(x)} {_n(y)}" for i, (x, y) in enumerate(points))


def frame(
    svg: Svg, x: Scale, y: Scale, x_ticks: Sequence[tuple[float, str]], x_label: str, y_label: str
) -> None:
    """Grid lines and tick labels of y at the left, ticks and a label of x below."""
    ticks = y.ticks(max(3, round(abs(y.start - y.end) / 45)))
    words = tick_words(ticks)
    for value, word in zip(ticks, words, strict=True):
        svg.line(x.start, y(value), x.end, y(value), "grid")
        svg.text(x.start - 7, y(value) + 4, word, "t", "end")
    bottom = max(y.start, y.end)
    svg.line(x.start, bottom, x.end, bottom, "axis")
    for value, word in x_ticks:
        svg.line(x(value), bottom, x(value), bottom + 4, "axis")
        svg.text(x(value), bottom + 17, word, "t", "middle")
    svg.text((x.start + x.end) / 2, bottom + 35, x_label, "t label", "middle")
    if y_label:
        svg.text(2, min(y.start, y.end) - 10, y_label, "t label")


def tick_words(ticks: Sequence[float]) -> list[str]:
    """Tick values with as many digits as tell them apart."""
    if not ticks:
        return []
    if max(map(abs, ticks)) >= 1e5 or 0 < max(map(abs, ticks)) < 1e-3:
        return [f"{value:.3g}" for value in ticks]
    gaps = [abs(b - a) for a, b in itertools.pairwise(ticks) if a != b]
    digits = max(0, -math.floor(math.log10(min(gaps)) + 1e-9)) if gaps else 3
    if gaps and round(min(gaps), digits) != round(min(gaps), digits + 2):
        digits += 1
    return [f"{value:.{digits}f}" for value in ticks]


def fit(text: str, width: float) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    room = int(width / CHARACTER)
    return text if len(text) <= room else text[: max(room - 1, 1)] + "…"


def _n(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
