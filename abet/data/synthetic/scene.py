"""A street scene from a seed: camera, road, what stands along it, and the finished picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from abet.data.synthetic.buildings import draw_backdrop
from abet.data.synthetic.camera import Camera, Road, Side
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.ground import draw_ground, ground_map, sample_style
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.light import sample_light
from abet.data.synthetic.placement import Places
from abet.data.synthetic.roadside import DISTRICTS, District, roadside_items
from abet.data.synthetic.sensor import develop
from abet.data.synthetic.shading import shade
from abet.data.synthetic.traffic import Theme, traffic_items

SUPERSAMPLING: Final = 2
SEEN_SHARE: Final = 0.003
"""Of a picture's pixels at least so many are of unseen objects, where any are asked for."""
_ATTEMPTS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A finished scene of (H, W) pixels."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""
    kinds: npt.NDArray[np.uint8]
    """(H, W) of `Kind`."""


def render(seed: Sequence[int], *, height: int, width: int, theme: Theme) -> Picture:
    """The picture of a seed; a scene whose unseen objects are all but hidden is drawn anew.

    Equal arguments give equal bytes on one machine.
    """
    for attempt in range(_ATTEMPTS):
        picture = _picture(np.random.default_rng([*seed, attempt]), height, width, theme)
        seen = int(np.count_nonzero(picture.kinds == Kind.UNSEEN))
        if not theme.unseen or seen >= SEEN_SHARE * height * width:
            return picture
    raise AssertionError(f"none of {_ATTEMPTS} scenes shows an unseen object")


def _picture(rng: np.random.Generator, height: int, width: int, theme: Theme) -> Picture:
    factor = SUPERSAMPLING
    district = DISTRICTS[pick(rng, list(DISTRICTS), (0.5, 0.3, 0.2))]
    lanes = pick(rng, (1, 2), (0.75, 0.25))
    road = _sample_road(rng, district, lanes)
    canvas = Canvas(
        camera=_sample_camera(rng, height * factor, width * factor), light=sample_light(rng, calm=theme.calm)
    )
    where = ground_map(canvas.camera, road)
    draw_ground(canvas, road, sample_style(rng, lanes=lanes, green=district.green, calm=theme.calm), where, rng)
    draw_backdrop(canvas, rng, tall=district.tall)
    items = traffic_items(rng, Places(road), theme) + roadside_items(rng, road, district, calm=theme.calm)
    for _, draw in sorted(items, key=lambda item: -item[0]):
        draw(canvas, rng)
    index = np.asarray(canvas.index, np.intp)
    image = develop(shade(canvas, where, index, rng), factor, rng)
    kinds = np.array([surface.kind for surface in canvas.surfaces], np.uint8)
    # one sample per pixel, so that labels never mix
    return Picture(image=image, kinds=kinds[index[factor // 2 :: factor, factor // 2 :: factor]])


def _sample_camera(rng: np.random.Generator, height: int, width: int) -> Camera:
    return Camera(
        width=width,
        height=height,
        focal=rng.uniform(1.45, 2.0) * height,
        eye=rng.uniform(1.25, 1.95),
        column=width * rng.uniform(0.42, 0.58),
        horizon=height * rng.uniform(0.3, 0.52),
        roll=rng.normal(0, 0.012),
    )


def _sample_road(rng: np.random.Generator, district: District, lanes: int) -> Road:
    lane = rng.uniform(2.9, 3.6)
    start = rng.uniform(12, 40)
    return Road(
        offset=-(lanes - 0.5) * lane + rng.normal(0, 0.25),
        heading=rng.normal(0, 0.035),
        curvature=0.0 if rng.random() < 0.45 else rng.normal(0, 0.0028),
        lane=lane,
        left=_sample_side(rng, district, lanes * lane),
        right=_sample_side(rng, district, lanes * lane),
        crossing=(start, start + rng.uniform(7, 10)) if rng.random() < 0.4 else None,
    )


def _sample_side(rng: np.random.Generator, district: District, carriageway: float) -> Side:
    parking = 2.1 if rng.random() < 0.4 else 0.0
    road = carriageway + parking
    strip = road + (rng.uniform(0.9, 2.0) if rng.random() < 0.35 * (0.4 + district.green) else 0.0)
    sidewalk = strip + (rng.uniform(1.6, 3.6) if rng.random() < 0.9 else 0.0)
    verge = rng.uniform(0.0, 0.5) if rng.random() > district.green else rng.uniform(2.0, 9.0)
    return Side(road=road, strip=strip, sidewalk=sidewalk, front=sidewalk + verge, parking=parking)
