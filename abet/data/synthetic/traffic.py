"""What moves in a street: vehicles, people, cyclists; and, in OOD sets, what should not be there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import atan2, pi

import numpy as np

from abet.data.synthetic.camera import World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.items import Item, standing
from abet.data.synthetic.people import draw_cyclist, draw_parked_bicycle, draw_person
from abet.data.synthetic.placement import Places, Zone
from abet.data.synthetic.solids import Pose
from abet.data.synthetic.unseen import UNSEEN, draw_unseen
from abet.data.synthetic.vehicles import Vehicle, draw_vehicle, sample_bus, sample_car, sample_truck


@dataclass(frozen=True, kw_only=True)
class Theme:
    """What a scene is to hold beyond a plain street."""

    unseen: tuple[Zone, ...] = ()
    """Zones that unseen objects may stand in, each as likely as often as it is named; none for training."""
    traffic: float = 1.0
    """How many vehicles, relative to training scenes."""
    people: bool = True
    """Whether anybody walks or rides."""
    calm: bool = False
    """Fair weather, plain surfaces, and neither trucks, buses, cyclists, fences nor traffic lights: quickly learned."""


def traffic_items(rng: np.random.Generator, places: Places, theme: Theme) -> list[Item]:
    """Everything on the carriageway and the sidewalks, in no order.

    Unseen objects choose their places first, by the rule that cars and people follow.
    """
    return _unseen(rng, places, theme) + _vehicles(rng, places, theme) + _walkers(rng, places, theme)


def _unseen(rng: np.random.Generator, places: Places, theme: Theme) -> list[Item]:
    found: list[Item] = []
    for _ in range(int(rng.integers(1, 4)) if theme.unseen else 0):
        size = float(rng.uniform(0.6, 1.7))
        spot = places.find(rng, pick(rng, theme.unseen), half_width=0.6 * size, half_length=0.4 * size)
        if spot is not None:
            draw = partial(_draw_unseen, pick(rng, list(UNSEEN)), size)
            found.append(standing(places.road.place(spot.s, spot.z), draw))
    return found


def _draw_unseen(name: str, size: float, canvas: Canvas, place: World, rng: np.random.Generator) -> None:
    draw_unseen(canvas, name, place, size, rng)


def _vehicles(rng: np.random.Generator, places: Places, theme: Theme) -> list[Item]:
    found: list[Item] = []
    traffic, large = theme.traffic, 0.0 if theme.calm else theme.traffic
    wanted = [(sample_bus, 5.5)] * int(rng.random() < 0.4 * large)
    wanted += [(sample_truck, 4.2)] * int(rng.random() < 0.45 * large)
    wanted += [(sample_car, 2.2)] * int(rng.poisson(2.2 * traffic))
    for sample, half_length in wanted:
        sign = pick(rng, (-1, 1))
        zone: Zone = "parking" if rng.random() < 0.3 and places.road.side(sign).parking > 0 else "lane"
        found += _vehicle(rng, places, sample, half_length, zone=zone, sign=sign)
    for sign in (-1, 1):
        if places.road.side(sign).parking > 0:
            for _ in range(rng.poisson(2.0 * traffic)):
                found += _vehicle(rng, places, sample_car, 2.2, zone="parking", sign=sign)
    if places.road.crossing is not None and rng.random() < 0.4 * traffic:
        found.append(_crossing_car(rng, places, places.road.crossing))
    return found


def _vehicle(
    rng: np.random.Generator, places: Places, sample: Callable[..., Vehicle], half_length: float, *,
    zone: Zone, sign: int,
) -> list[Item]:  # fmt: skip
    """One vehicle along the road; those on the left come towards the camera."""
    spot = places.find(rng, zone, half_width=1.0, half_length=half_length, sign=sign)
    if spot is None:
        return []
    road, z = places.road, max(spot.z, 7.0)
    lane = (int(abs(spot.s) / road.lane) + 0.5) * road.lane + float(rng.normal(0, 0.15))
    s = spot.s if zone == "parking" else sign * lane
    yaw = atan2(road.slope(z), 1.0) + rng.normal(0, 0.02)
    vehicle = sample(rng, Pose(road.place(s, z), yaw), towards=sign < 0)
    return [(z + 0.5, partial(_draw_vehicle, vehicle))]


def _crossing_car(rng: np.random.Generator, places: Places, crossing: tuple[float, float]) -> Item:
    z, side = 0.5 * sum(crossing) + pick(rng, (-1.8, 1.8)), pick(rng, (-1, 1))
    place = places.road.place(float(rng.uniform(-9, 9)) - 2.2 * side, z)
    vehicle = sample_car(rng, Pose(place, 0.5 * pi * side), towards=False)
    return z, partial(_draw_vehicle, vehicle)


def _draw_vehicle(vehicle: Vehicle, canvas: Canvas, rng: np.random.Generator) -> None:
    draw_vehicle(canvas, vehicle, rng)


def _walkers(rng: np.random.Generator, places: Places, theme: Theme) -> list[Item]:
    """People on foot, cyclists, and bicycles that somebody left."""
    found: list[Item] = []

    def add(zone: Zone, half_width: float, half_length: float, draw: Callable[..., object]) -> None:
        spot = places.find(rng, zone, half_width=half_width, half_length=half_length)
        if spot is not None:
            found.append(standing(places.road.place(spot.s, spot.z), draw))

    if not theme.people:
        return found
    for _ in range(rng.poisson(4.0)):
        add("sidewalk" if rng.random() < 0.8 else "lane", 0.3, 0.25, draw_person)
    if theme.calm:
        return found
    for _ in range(rng.poisson(1.2)):
        side_on = bool(rng.random() < 0.5)
        add("lane" if rng.random() < 0.75 else "sidewalk", 0.5, 0.9, partial(draw_cyclist, side_on=side_on))
    for _ in range(rng.poisson(0.5)):
        add("sidewalk", 0.7, 0.3, draw_parked_bicycle)
    return found
