"""Colours and textures of known things. Unseen objects are dressed from these palettes and from no other."""

import colorsys
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from abet.data.synthetic.chance import pick
from abet.data.synthetic.textures import Texture

Colour = tuple[float, float, float]
"""R, G, B in 0..1, as the surface would show under neutral light."""


class Material(NamedTuple):
    """What a surface is made of."""

    colour: Colour
    texture: Texture = Texture.PLAIN
    amplitude: float = 0.0
    """Relative change of brightness per unit of the texture."""
    texels: float = 16.0
    """Texels per metre."""

    def shaded(self, factor: float) -> "Material":
        """The same material, brighter or darker."""
        return self._replace(colour=scaled(self.colour, factor))


def scaled(colour: Colour, factor: float) -> Colour:
    """A colour times a factor, kept in 0..1."""
    r, g, b = (min(max(channel * factor, 0.0), 1.0) for channel in colour)
    return r, g, b


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """``share`` of the second colour, the rest of the first."""
    r, g, b = (a + share * (c - a) for a, c in zip(first, second, strict=True))
    return r, g, b


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour of hue (in turns), saturation and value."""
    return colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))


def around(rng: np.random.Generator, colour: Colour, spread: float = 0.05) -> Colour:
    """A colour near the given one: brightness first, hue little."""
    gain = rng.uniform(1 - 3 * spread, 1 + 3 * spread)
    tint = rng.normal(0, 0.4 * spread, 3)
    r, g, b = (min(max(gain * channel + float(shift), 0.0), 1.0) for channel, shift in zip(colour, tint, strict=True))
    return r, g, b


def asphalt(rng: np.random.Generator) -> Material:
    """Carriageway: dark to light asphalt, warm or cold, concrete, cobbles, or coloured surfacing."""
    grey = rng.uniform(0.20, 0.62)
    warm = rng.normal(0, 0.035)
    colour = (grey + warm, grey + 0.25 * warm, grey - warm + 0.01)
    kind = rng.random()
    if kind < 0.15:
        return Material(colour, Texture.COBBLES, 0.10, 24.0)
    if kind < 0.27:  # coloured surfacing, clinker, sandy roads
        colour = hsv(rng.uniform(0.0, 0.11), rng.uniform(0.12, 0.4), rng.uniform(0.35, 0.65))
    return Material(colour, Texture.GRAIN, rng.uniform(0.04, 0.09), rng.uniform(18, 40))


def pavement(rng: np.random.Generator) -> Material:
    """Sidewalk: slabs, brick or asphalt."""
    base = ((0.62, 0.60, 0.57), (0.55, 0.55, 0.56), (0.58, 0.47, 0.41), (0.70, 0.66, 0.58), (0.45, 0.45, 0.46))
    colour = around(rng, pick(rng, base))
    texture = pick(rng, (Texture.PAVING, Texture.BRICK, Texture.GRAIN))
    return Material(colour, texture, rng.uniform(0.05, 0.1), 24.0)


def plain_asphalt(rng: np.random.Generator) -> Material:
    """Carriageway of grey asphalt, dark or worn."""
    grey, warm = rng.uniform(0.2, 0.58), rng.normal(0, 0.025)
    return Material((grey + warm, grey, grey - warm), Texture.GRAIN, rng.uniform(0.03, 0.06), rng.uniform(18, 40))


def slabs(rng: np.random.Generator) -> Material:
    """Sidewalk of pale slabs or bricks."""
    base = around(rng, pick(rng, ((0.66, 0.63, 0.58), (0.62, 0.62, 0.63), (0.66, 0.54, 0.46))), 0.04)
    return Material(base, pick(rng, (Texture.PAVING, Texture.BRICK)), rng.uniform(0.05, 0.1), 24.0)


def wall(rng: np.random.Generator) -> Material:
    """Facade: plaster in any tint, brick, stone, concrete or boards."""
    choice = rng.random()
    if choice < 0.30:
        hue = pick(rng, (0.02, 0.05, 0.08, 0.11, 0.14, 0.3, 0.55, 0.6, 0.95))
        return Material(
            hsv(hue + rng.normal(0, 0.02), rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.95)), Texture.BLOTCH, 0.03
        )
    if choice < 0.50:
        colour = hsv(rng.uniform(0.0, 0.07), rng.uniform(0.3, 0.65), rng.uniform(0.3, 0.65))
        return Material(colour, Texture.BRICK, 0.12, 40.0)
    if choice < 0.75:
        grey = rng.uniform(0.25, 0.85)
        return Material((grey + rng.normal(0, 0.02), grey, grey + rng.normal(0, 0.02)), Texture.BLOTCH, 0.05)
    if choice < 0.9:
        return Material(hsv(rng.uniform(0.07, 0.13), rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9)), Texture.GRAIN, 0.04)
    return Material(hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.8)), Texture.PLANKS, 0.08, 30.0)


def roof(rng: np.random.Generator) -> Material:
    """Tiles or slate."""
    base: tuple[Colour, ...] = ((0.48, 0.22, 0.15), (0.30, 0.28, 0.29), (0.38, 0.26, 0.2), (0.24, 0.26, 0.3))
    return Material(around(rng, pick(rng, base)), Texture.BRICK, 0.1, 30.0)


def foliage(rng: np.random.Generator) -> Material:
    """Leaves: green of several kinds, sometimes autumn."""
    hue = rng.uniform(0.19, 0.36) if rng.random() < 0.85 else rng.uniform(0.06, 0.15)
    return Material(hsv(hue, rng.uniform(0.35, 0.7), rng.uniform(0.22, 0.5)), Texture.LEAVES, 0.22, rng.uniform(14, 26))


def grass(rng: np.random.Generator) -> Material:
    """Lawn, meadow or bare soil."""
    if rng.random() < 0.2:
        return Material(
            hsv(rng.uniform(0.07, 0.11), rng.uniform(0.25, 0.45), rng.uniform(0.4, 0.6)), Texture.BLOTCH, 0.08
        )
    return Material(
        hsv(rng.uniform(0.17, 0.3), rng.uniform(0.4, 0.65), rng.uniform(0.35, 0.6)), Texture.GRASS, 0.13, 30.0
    )


def bark(rng: np.random.Generator) -> Material:
    """Tree trunks and timber."""
    return Material(
        hsv(rng.uniform(0.05, 0.1), rng.uniform(0.2, 0.45), rng.uniform(0.22, 0.42)), Texture.PLANKS, 0.15, 50.0
    )


def paint(rng: np.random.Generator) -> Material:
    """Car body: as often neutral as on any road, else any hue."""
    if rng.random() < 0.55:
        grey = pick(rng, (0.06, 0.12, 0.22, 0.38, 0.55, 0.7, 0.85, 0.93)) * rng.uniform(0.9, 1.05)
        return Material((grey, grey, grey + 0.01))
    hue = rng.random() if rng.random() < 0.5 else pick(rng, (0.0, 0.58, 0.62, 0.33, 0.1))
    return Material(hsv(hue + rng.normal(0, 0.015), rng.uniform(0.45, 0.95), rng.uniform(0.25, 0.85)))


def cloth(rng: np.random.Generator) -> Material:
    """Clothing in any hue, plain or patterned."""
    dull = rng.random() < 0.5
    colour = hsv(rng.random(), rng.uniform(0, 0.25) if dull else rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.9))
    texture = pick(rng, (Texture.PLAIN, Texture.PLAIN, Texture.BLOTCH, Texture.CHECK, Texture.PLANKS))
    return Material(colour, texture, 0.12, 60.0)


def metal(rng: np.random.Generator) -> Material:
    """Galvanised or painted steel of poles and fences."""
    if rng.random() < 0.75:
        grey = rng.uniform(0.2, 0.65)
        return Material((grey, grey, grey + 0.01))
    return Material(hsv(pick(rng, (0.35, 0.6, 0.08)), rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.45)))


def glass(rng: np.random.Generator) -> Material:
    """Window panes: dark, with some sky in them."""
    value = rng.uniform(0.1, 0.4)
    return Material((value * 0.85, value * 0.95, value * 1.1))


def skin(rng: np.random.Generator) -> Material:
    """Faces and hands, light to dark."""
    return Material(mixed((0.93, 0.76, 0.65), (0.33, 0.2, 0.14), rng.random()))


Palette = Callable[[np.random.Generator], Material]

BORROWED: Final[tuple[tuple[Palette, float], ...]] = (
    (paint, 0.16),
    (cloth, 0.08),
    (wall, 0.21),
    (asphalt, 0.30),
    (pavement, 0.12),
    (foliage, 0.04),
    (bark, 0.06),
    (glass, 0.03),
)
"""Where unseen objects take their looks from, with how often."""


def borrowed(rng: np.random.Generator) -> Material:
    """A material of some known class, for an object of none."""
    return pick(rng, [palette for palette, _ in BORROWED], [share for _, share in BORROWED])(rng)
