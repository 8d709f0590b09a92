"""Fences along a road."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from abet.data.synthetic.camera import NEAR, Road, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, bark, metal

_SOLID: Final = 20.0
"""Metres beyond which pickets are closer than pixels."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A line along the road: ``s`` metres right of its centre, from ``near`` to ``far`` metres ahead."""

    road: Road
    s: float
    near: float
    far: float

    def panel(self, z0: float, z1: float, low: float, high: float) -> list[World]:
        """The corners of an upright part."""
        return [self.road.place(self.s, z, y) for z, y in ((z0, low), (z1, low), (z1, high), (z0, high))]


def draw_fence(canvas: Canvas, line: Stretch, rng: np.random.Generator) -> None:
    """Pickets, boards or rails, in metal, wood or white."""
    high, material = rng.uniform(1.0, 1.7), pick(rng, (metal(rng), bark(rng), Material((0.85, 0.84, 0.8))))
    near, far = max(line.near, NEAR + 0.3), line.far
    style = pick(rng, ("pickets", "boards", "rails"))
    if near > _SOLID and style == "pickets":
        style = "boards"
    light = canvas.light.on(World(-1.0 if line.s > 0 else 1.0, 0.0, 0.0))
    for back, front in pairwise(np.linspace(far, near, max(2, round((far - near) / 2.0)) + 1).tolist()):
        middle = 0.5 * (back + front)
        ink = canvas.surface(Kind.FENCE, material, depth=middle, light=light)
        dark = canvas.surface(Kind.FENCE, material.shaded(0.72), depth=middle, light=light)
        if style == "boards":
            canvas.face(ink, line.panel(back, front, 0.05, high))
            canvas.face(dark, line.panel(back, front, high - 0.12, high))
        else:
            for share in (0.25, 0.6, 0.95) if style == "rails" else (0.25, 0.85):
                canvas.face(dark, line.panel(back, front, share * high - 0.09, share * high + 0.05))
        if style == "pickets":
            for z in np.arange(front, back, 0.42).tolist():
                canvas.face(ink, line.panel(z, z + 0.24, 0.05, high))
        canvas.face(dark, line.panel(front, front + 0.14, 0.0, high + 0.1))
        canvas.stand(line.road.place(line.s, middle), 0.08, 0.5 * (back - front), 0.8 * high)
