"""How a score's lines look: by colour, by marker and, where a page has one run, by dash; drawn small for the filter.

A look belongs to a score for all of the page, whatever the filter hides. Eight colours are enough for what a page shows
at first; further scores take the colours again with another marker that is hollow, then ringed. Up to 24 scores no
marker comes twice, so that colour vision is not needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

INK: Final = "#1f2933"
PALE: Final = "#b8c0c8"
# Okabe and Ito's palette without its yellow, which vanishes on white, and the wine of Tol's muted one
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
DARK: Final = frozenset({"#000000", "#882255"})
"""Colours on which a rim of ink is not seen: theirs is pale."""
DASHES: Final = {
    "solid": "",
    "dash": "5 2.5",
    "dot": "1.5 2",
    "dashdot": "5 2 1.5 2",
    "longdash": "9 3",
    "longdashdot": "9 2 1.5 2",
}
"""Plotly's name -> SVG's ``stroke-dasharray`` in a swatch 26 units wide."""
SHAPES: Final = {
    "circle": "M-4,0a4,4 0 1 0 8,0a4,4 0 1 0 -8,0z",
    "square": "M-3.6,-3.6h7.2v7.2h-7.2z",
    "diamond": "M0,-5L5,0L0,5L-5,0z",
    "triangle-up": "M0,-4.6L4.6,3.6H-4.6z",
    "x": "M-4.5,-2.3L-2.3,-4.5L0,-2.2L2.3,-4.5L4.5,-2.3L2.2,0L4.5,2.3L2.3,4.5L0,2.2L-2.3,4.5L-4.5,2.3L-2.2,0z",
    "triangle-down": "M0,4.6L4.6,-3.6H-4.6z",
    "cross": "M-1.6,-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
    "star": "M0,-5.2L1.2,-1.6L4.9,-1.6L2,0.6L3.1,4.2L0,2L-3.1,4.2L-2,0.6L-4.9,-1.6L-1.2,-1.6z",
}
"""Plotly's name -> the outline about the middle of a swatch."""
_FILLS: Final = 3
_STEP: Final = 3
"""Shapes between two scores of one colour; odd, so that all eight come in turn."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours are ``#rrggbb``; ``symbol`` and ``dash`` are Plotly's names."""

    colour: str
    symbol: str
    fill: str
    rim: str
    dash: str

    def marker(self) -> dict[str, Any]:
        """Plotly's ``marker``."""
        return {"color": self.fill, "symbol": self.symbol, "line": {"color": self.rim, "width": 1.4}}


def look(number: int, *, dashed: bool) -> Look:
    """The look of the score at this place (0 the first); a dash of its own only if ``dashed``."""
    turn, place = divmod(number, len(PALETTE))
    colour = PALETTE[place]
    symbol = tuple(SHAPES)[(place + _STEP * turn) % len(SHAPES)]
    ring = PALE if colour in DARK else INK
    fill, rim = ((colour, colour), ("#ffffff", colour), (colour, ring))[turn % _FILLS]
    dash = tuple(DASHES)[turn % len(DASHES)] if dashed else "solid"
    return Look(colour=colour, symbol=symbol, fill=fill, rim=rim, dash=dash)


def looks(keys: Sequence[str], first: Sequence[str], *, dashed: bool) -> dict[str, Look]:
    """The look of each score, in the order of ``keys``; those shown at ``first`` take the first colours."""
    order = [*first, *(key for key in keys if key not in first)]
    return {key: look(order.index(key), dashed=dashed) for key in keys}


def run_dash(number: int) -> str:
    """The dash of a run's lines where a page has several; the seventh's is the first's again."""
    return tuple(DASHES)[number % len(DASHES)]


def swatch(colour: str, dash: str, mark: Look | None = None) -> Markup:
    """A line in small with a score's marker on it, as inline SVG."""
    line = Markup('<path d="M-13,0H13" stroke="{}" stroke-dasharray="{}"/>').format(colour, DASHES[dash])
    on_it = Markup("")
    if mark is not None:
        on_it = Markup('<path d="{}" fill="{}" stroke="{}"/>').format(SHAPES[mark.symbol], mark.fill, mark.rim)
    head = Markup('<svg class="look" viewBox="-13 -6 26 12" aria-hidden="true">')
    return head + line + on_it + Markup("</svg>")
