"""What lines a street: houses, trees, hedges and fences, lamps, signals and signs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np

from abet.data.synthetic.buildings import House, draw_house, sample_house
from abet.data.synthetic.camera import FAR, Road, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.furniture import (
    draw_sign,
    draw_street_light,
    draw_traffic_light,
    draw_utility_pole,
    draw_wires,
)
from abet.data.synthetic.items import Item, standing
from abet.data.synthetic.placement import sample_depth
from abet.data.synthetic.plants import draw_bush, draw_hedge, draw_tree
from abet.data.synthetic.walls import Stretch, draw_fence


@dataclass(frozen=True, kw_only=True)
class District:
    """How likely a district has what, each from 0 to 1."""

    tall: float
    """City blocks rather than cottages."""
    green: float
    """Verges with grass."""
    trees: float
    """Rows of trees."""
    fences: float


DISTRICTS: Final[Mapping[str, District]] = MappingProxyType(
    {
        "city": District(tall=0.85, green=0.1, trees=0.35, fences=0.2),
        "suburb": District(tall=0.1, green=0.75, trees=0.5, fences=0.7),
        "park": District(tall=0.15, green=1.0, trees=0.9, fences=0.4),
    }
)


def roadside_items(rng: np.random.Generator, road: Road, district: District, *, calm: bool) -> list[Item]:
    """Everything beside the carriageway, in no order; ``calm`` without fences and traffic lights."""
    found: list[Item] = []
    for sign in (-1, 1):
        found += _houses(rng, road, district, sign) + _greenery(rng, road, district, sign)
        found += [] if calm else _boundary(rng, road, district, sign)
        found += _furniture(rng, road, sign, calm=calm)
    return found


def _houses(rng: np.random.Generator, road: Road, district: District, sign: int) -> list[Item]:
    found: list[Item] = []
    z, front = float(rng.uniform(-12, 2)), road.side(sign).front
    gaps = 0.12 if district.tall > 0.5 else 0.45
    while z < FAR - 35:
        house = sample_house(rng, sign=sign, z0=z, front=front, tall=district.tall)
        if road.crossing is not None and house.z1 > road.crossing[0] - 2 and house.z0 < road.crossing[1] + 2:
            if house.z0 >= road.crossing[0] - 7:
                z = road.crossing[1] + 2.2
                continue
            house = replace(house, z1=road.crossing[0] - 2)
        if house.z1 > 2 and not (district.green > 0.9 and rng.random() < 0.6):
            found.append((house.z1, partial(_draw_house, road, house)))
        z = house.z1 + (float(rng.uniform(2, 9)) if rng.random() < gaps else 0.0)
    return found


def _draw_house(road: Road, house: House, canvas: Canvas, rng: np.random.Generator) -> None:
    draw_house(canvas, road, house, rng)


def _greenery(rng: np.random.Generator, road: Road, district: District, sign: int) -> list[Item]:
    """A row of trees, on the planted strip if there is one, and what grows on the verge."""
    found: list[Item] = []
    side = road.side(sign)
    planted, verge = side.strip - side.road > 0.5, side.front - side.sidewalk
    if planted or rng.random() < district.trees:
        s = side.sidewalk - 0.4 if verge < 1 else side.sidewalk + 0.4 * verge
        s = 0.5 * (side.road + side.strip) if planted else s
        z, step = float(rng.uniform(4, 14)), float(rng.uniform(6, 16))
        while z < 80:
            if not road.in_crossing(z, 2):
                found.append(standing(road.place(sign * s, z), draw_tree))
            z += step * float(rng.uniform(0.7, 1.4))
    for _ in range(rng.poisson(4 * district.green) if verge > 1.5 else 0):
        z, s = float(rng.uniform(5, 70)), float(rng.uniform(side.sidewalk + 0.6, side.front + 6))
        if not road.in_crossing(z, 2):
            found.append(standing(road.place(sign * s, z), pick(rng, (draw_bush, draw_tree))))
    return found


def _boundary(rng: np.random.Generator, road: Road, district: District, sign: int) -> list[Item]:
    """Fences and hedges along the sidewalk's outer edge, in pieces that are drawn one by one."""
    found: list[Item] = []
    side = road.side(sign)
    verge = side.front - side.sidewalk
    s = sign * (side.sidewalk + 0.25 if verge > 0.6 else side.strip + 0.3)
    z = float(rng.uniform(2.0, 8.0))
    while z < 60 and rng.random() < 0.35 + 0.6 * district.fences:
        end = z + float(rng.uniform(6, 14))
        draw = draw_hedge if verge > 1.2 and rng.random() < 0.45 else draw_fence
        look = int(rng.integers(1 << 31))
        if road.crossing is None or end < road.crossing[0] - 1 or z > road.crossing[1] + 1:
            for near in np.arange(z, end, 4.0).tolist():
                piece = Stretch(road=road, s=s, near=near, far=min(near + 4.0, end))
                found.append((piece.far, partial(_draw_piece, draw, piece, look)))
        z = end + float(rng.uniform(3, 10))
    return found


def _draw_piece(
    draw: Callable[[Canvas, Stretch, np.random.Generator], object], piece: Stretch, look: int, canvas: Canvas,
    _rng: np.random.Generator,
) -> None:  # fmt: skip
    """All pieces of a fence look alike: each is drawn with the same generator."""
    draw(canvas, piece, np.random.default_rng(look))


def _furniture(rng: np.random.Generator, road: Road, sign: int, *, calm: bool) -> list[Item]:
    side = road.side(sign)
    kerb = sign * (side.road + 0.45)
    found = [standing(road.place(kerb, min(sample_depth(rng) + 1, 34.0)), draw_sign) for _ in range(rng.poisson(1.8))]
    if not calm and (road.crossing is not None or rng.random() < 0.45):
        z = road.crossing[0] - 0.6 if road.crossing is not None else float(rng.uniform(8, 24))
        found.append(standing(road.place(kerb, z), partial(draw_traffic_light, sign=sign)))
    if rng.random() < 0.5:
        draw = partial(draw_street_light, sign=sign)
        stops = np.arange(rng.uniform(5, 18), 80, rng.uniform(16, 24)).tolist()
        found += [standing(road.place(kerb, z), draw) for z in stops]
    elif rng.random() < 0.35:
        stops = np.arange(rng.uniform(5, 12), 80, 18.0).tolist()
        found += _utility_line([road.place(sign * (side.sidewalk + 0.2), z) for z in stops])
    return found


def _utility_line(places: list[World]) -> list[Item]:
    found = [standing(place, draw_utility_pole) for place in places]
    before = World(places[0].x, 0.0, 1.5)
    for first, last in zip([before, *places[:-1]], places, strict=True):
        found.append((last.z - 0.1, partial(_draw_wires, first, last)))
    return found


def _draw_wires(first: World, last: World, canvas: Canvas, _rng: np.random.Generator) -> None:
    draw_wires(canvas, first, last, 7.2)
