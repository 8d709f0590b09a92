"""What a street is made of until it is drawn: things with a distance, drawn from far to near."""

from collections.abc import Callable

import numpy as np

from abet.data.synthetic.camera import World
from abet.data.synthetic.canvas import Canvas

Item = tuple[float, Callable[[Canvas, np.random.Generator], object]]
"""Distance that decides what is drawn first, and what draws it."""


def standing(place: World, draw: Callable[[Canvas, World, np.random.Generator], object]) -> Item:
    """Something that stands at a place."""
    return place.z, lambda canvas, rng: draw(canvas, place, rng)
