"""A street: its course, its style, and everything in it from far to near."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from abet.data.synthetic import buildings, furniture, people, plants, vehicles
from abet.data.synthetic.camera import FAR, Camera, Road, Side, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.ground import draw_ground, ground_map, sample_style
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.light import sample_light
from abet.data.synthetic.placement import Places, Zone, sample_depth
from abet.data.synthetic.sensor import develop
from abet.data.synthetic.shading import shade
from abet.data.synthetic.solids import Pose
from abet.data.synthetic.unseen import UNSEEN, draw_unseen

SUPERSAMPLING: Final = 2
Item = tuple[float, Callable[[Canvas, np.random.Generator], object]]
"""Distance that decides what is drawn first, and what draws it."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """What a scene is to hold beyond a plain street."""

    unseen: tuple[Zone, ...] = ()
    """Zones that unseen objects may stand in; none for training."""
    traffic: float = 1.0
    """How many vehicles, relative to training scenes."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A finished scene of (H, W) pixels."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""
    kinds: npt.NDArray[np.uint8]
    """(H, W) of `Kind`."""


@dataclass(frozen=True, kw_only=True)
class _Style:
    tall: float
    green: float
    trees: float
    fences: float


_STYLES: Final = {
    "city": _Style(tall=0.85, green=0.1, trees=0.35, fences=0.2),
    "suburb": _Style(tall=0.1, green=0.75, trees=0.5, fences=0.7),
    "park": _Style(tall=0.15, green=1.0, trees=0.9, fences=0.4),
}


def render(seed: list[int], *, height: int, width: int, theme: Theme) -> Picture:
    """The picture of a seed; a scene whose unseen objects are all but hidden is drawn anew.

    Equal arguments give equal bytes on one machine.
    """
    for attempt in range(100):
        rng = np.random.default_rng([*seed, attempt])
        picture = _picture(rng, height, width, theme)
        seen = int(np.count_nonzero(picture.kinds == Kind.UNSEEN))
        if not theme.unseen or seen >= 0.003 * height * width:
            return picture
    raise AssertionError("no scene shows an unseen object")


def _picture(rng: np.random.Generator, height: int, width: int, theme: Theme) -> Picture:
    factor = SUPERSAMPLING
    style_name = str(rng.choice(list(_STYLES), p=[0.5, 0.3, 0.2]))
    style = _STYLES[style_name]
    lanes = int(rng.choice([1, 2], p=[0.75, 0.25]))
    road = _sample_road(rng, style, lanes)
    camera = _sample_camera(rng, height * factor, width * factor)
    canvas = Canvas(camera=camera, light=sample_light(rng))
    where = ground_map(camera, road)
    draw_ground(canvas, road, sample_style(rng, lanes=lanes, green=style.green), where, rng)
    buildings.draw_backdrop(canvas, road, rng, tall=style.tall)
    for _, draw in sorted(_Street(rng, road, style, theme).items(), key=lambda item: -item[0]):
        draw(canvas, rng)
    index = np.asarray(canvas.index, np.int32)
    image = develop(shade(canvas, where, index, rng), factor, rng)
    kinds = np.array([surface.kind for surface in canvas.surfaces], np.uint8)
    return Picture(image=image, kinds=kinds[index[factor // 2 :: factor, factor // 2 :: factor]])


def _sample_camera(rng: np.random.Generator, height: int, width: int) -> Camera:
    return Camera(
        width=width,
        height=height,
        focal=rng.uniform(1.45, 2.0) * height,
        eye=rng.uniform(1.25, 1.95),
        column=width * rng.uniform(0.42, 0.58),
        horizon=height * rng.uniform(0.34, 0.5),
        roll=rng.normal(0, 0.012),
    )


def _sample_road(rng: np.random.Generator, style: _Style, lanes: int) -> Road:
    lane = rng.uniform(2.9, 3.6)
    curvature = 0.0 if rng.random() < 0.45 else rng.normal(0, 0.0028)
    heading = rng.normal(0, 0.035)
    own = (lanes - 0.5) * lane + rng.normal(0, 0.25)
    start = rng.uniform(12, 40)
    return Road(
        offset=-own,
        heading=heading,
        curvature=curvature,
        lane=lane,
        left=_sample_side(rng, style, lanes * lane),
        right=_sample_side(rng, style, lanes * lane),
        crossing=(start, start + rng.uniform(7, 10)) if rng.random() < 0.4 else None,
    )


def _sample_side(rng: np.random.Generator, style: _Style, carriageway: float) -> Side:
    parking = 2.1 if rng.random() < 0.4 else 0.0
    road = carriageway + parking
    strip = road + (rng.uniform(0.9, 2.0) if rng.random() < 0.35 * (0.4 + style.green) else 0.0)
    sidewalk = strip + (rng.uniform(1.6, 3.6) if rng.random() < 0.9 else 0.0)
    verge = rng.uniform(0.0, 0.5) if rng.random() > style.green else rng.uniform(2.0, 9.0)
    return Side(road=road, strip=strip, sidewalk=sidewalk, front=sidewalk + verge, parking=parking)


@dataclass
class _Street:
    """Collects what stands in one street."""

    rng: np.random.Generator
    road: Road
    style: _Style
    theme: Theme
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.road)

    def items(self) -> list[Item]:
        """Everything above the ground, in no order. Unseen objects choose their places first, like any other."""
        found = self._unseen() + self._traffic() + self._walkers()
        for sign in (-1, 1):
            found += self._houses(sign) + self._greenery(sign) + self._furniture(sign)
        return found

    def _unseen(self) -> list[Item]:
        found: list[Item] = []
        wanted = int(self.rng.integers(1, 4)) if self.theme.unseen else 0
        while len(found) < wanted:
            size = float(self.rng.uniform(0.6, 1.7))
            zone = self.theme.unseen[self.rng.integers(len(self.theme.unseen))]
            spot = self.places.find(self.rng, zone, half_width=0.6 * size, half_length=0.4 * size)
            if spot is None:
                wanted -= 1
                continue
            name = str(self.rng.choice(list(UNSEEN)))
            place = self.road.place(spot.s, spot.z)
            found.append((spot.z, lambda canvas, rng, n=name, p=place, k=size: draw_unseen(canvas, n, p, k, rng)))
        return found

    def _traffic(self) -> list[Item]:
        found: list[Item] = []
        rng, traffic = self.rng, self.theme.traffic
        big = [("bus", vehicles.sample_bus, 5.5)] * int(rng.random() < 0.4 * traffic)
        big += [("truck", vehicles.sample_truck, 4.2)] * int(rng.random() < 0.45 * traffic)
        cars = [("car", vehicles.sample_car, 2.2)] * int(rng.poisson(2.2 * traffic))
        for _, sample, half_length in [*big, *cars]:
            sign = int(rng.choice([-1, 1]))
            zone: Zone = "parking" if rng.random() < 0.3 and self.road.side(sign).parking > 0 else "lane"
            found += self._vehicle(sample, half_length, zone, sign)
        for sign in (-1, 1):
            if self.road.side(sign).parking > 0:
                for _ in range(rng.poisson(2.0 * traffic)):
                    found += self._vehicle(vehicles.sample_car, 2.2, "parking", sign)
        if self.road.crossing is not None and rng.random() < 0.4 * traffic:
            found += self._crossing_car()
        return found

    def _vehicle(self, sample: Callable[..., vehicles.Vehicle], half_length: float, zone: Zone, sign: int) -> list[Item]:
        spot = self.places.find(self.rng, zone, half_width=1.0, half_length=half_length, sign=sign)
        if spot is None:
            return []
        z = max(spot.z, 7.0)
        s = spot.s if zone == "parking" else sign * self._lane_centre(abs(spot.s))
        yaw = buildings.heading_of(self.road, z) + self.rng.normal(0, 0.02)
        vehicle = sample(self.rng, Pose(self.road.place(s, z), yaw), towards=sign < 0)
        return [(z + 0.5, partial(_draw_vehicle, vehicle))]

    def _lane_centre(self, s: float) -> float:
        lane = self.road.lane
        return (int(s / lane) + 0.5) * lane + float(self.rng.normal(0, 0.15))

    def _crossing_car(self) -> list[Item]:
        assert self.road.crossing is not None
        near, far = self.road.crossing
        z, side = 0.5 * (near + far) + self.rng.choice([-1.8, 1.8]), self.rng.choice([-1, 1])
        place = self.road.place(float(self.rng.uniform(-9, 9)) - 2.2 * side, z)
        vehicle = vehicles.sample_car(self.rng, Pose(place, float(np.pi / 2 * side)), towards=False)
        return [(z, partial(_draw_vehicle, vehicle))]

    def _walkers(self) -> list[Item]:
        found: list[Item] = []
        rng = self.rng
        for _ in range(rng.poisson(4.0)):
            zone: Zone = "sidewalk" if rng.random() < 0.8 else "lane"
            spot = self.places.find(rng, zone, half_width=0.3, half_length=0.25)
            if spot is not None:
                place = self.road.place(spot.s, spot.z)
                found.append((spot.z, lambda canvas, rng, p=place: people.draw_person(canvas, p, rng)))
        for _ in range(rng.poisson(1.1)):
            zone = "lane" if rng.random() < 0.75 else "sidewalk"
            spot = self.places.find(rng, zone, half_width=0.5, half_length=0.9)
            if spot is not None:
                place, side_on = self.road.place(spot.s, spot.z), bool(rng.random() < 0.5)
                found.append((spot.z, lambda canvas, rng, p=place, o=side_on: people.draw_cyclist(canvas, p, rng, side_on=o)))
        for _ in range(rng.poisson(0.5)):
            spot = self.places.find(rng, "sidewalk", half_width=0.7, half_length=0.3)
            if spot is not None:
                place = self.road.place(spot.s, spot.z)
                found.append((spot.z, lambda canvas, rng, p=place: people.draw_parked_bicycle(canvas, p, rng)))
        return found

    def _houses(self, sign: int) -> list[Item]:
        found: list[Item] = []
        rng, z, front = self.rng, float(self.rng.uniform(-12, 2)), self.road.side(sign).front
        gap = 0.12 if self.style.tall > 0.5 else 0.45
        while z < FAR - 5:
            house = buildings.sample_house(rng, sign=sign, z0=z, front=front, tall=self.style.tall)
            inside = self.road.in_crossing(house.z0, 2.5) or self.road.in_crossing(house.z1, 2.5)
            if self.road.crossing is not None:
                near, far = self.road.crossing
                inside = house.z1 > near - 2 and house.z0 < far + 2
                if inside and house.z0 < near - 7:
                    house, inside = buildings.replace(house, z1=near - 2), False
                elif inside:
                    z = far + 2.2
                    continue
            if house.z1 > 2 and not (self.style.green > 0.9 and rng.random() < 0.6):
                found.append((house.z1, lambda canvas, rng, h=house: buildings.draw_house(canvas, self.road, h, rng)))
            z = house.z1 + (float(rng.uniform(2, 9)) if rng.random() < gap else 0.0)
        return found

    def _greenery(self, sign: int) -> list[Item]:
        found: list[Item] = []
        rng, side = self.rng, self.road.side(sign)
        planted = side.strip - side.road > 0.5
        verge = side.front - side.sidewalk
        if planted or rng.random() < self.style.trees:
            z, step = float(rng.uniform(4, 14)), float(rng.uniform(6, 16))
            s = 0.5 * (side.road + side.strip) if planted else side.sidewalk - 0.4 if verge < 1 else side.sidewalk + 0.4 * verge
            while z < 95:
                if not self.road.in_crossing(z, 2):
                    place = self.road.place(sign * s, z)
                    found.append((z, lambda canvas, rng, p=place: plants.draw_tree(canvas, p, rng)))
                z += step * float(rng.uniform(0.7, 1.4))
        if verge > 1.5:
            for _ in range(rng.poisson(4 * self.style.green)):
                z = float(rng.uniform(5, 70))
                place = self.road.place(sign * float(rng.uniform(side.sidewalk + 0.6, side.front + 6)), z)
                draw = plants.draw_bush if rng.random() < 0.5 else plants.draw_tree
                if not self.road.in_crossing(z, 2):
                    found.append((z, lambda canvas, rng, p=place, d=draw: d(canvas, p, rng)))
        return found + self._boundary(sign)

    def _boundary(self, sign: int) -> list[Item]:
        """Fences and hedges along the sidewalk's outer edge."""
        found: list[Item] = []
        rng, side = self.rng, self.road.side(sign)
        s = sign * (side.sidewalk + 0.25) if side.front - side.sidewalk > 0.6 else sign * (side.strip + 0.3)
        z = float(rng.uniform(2.0, 8.0))
        while z < 60 and rng.random() < 0.35 + 0.6 * self.style.fences:
            end = z + float(rng.uniform(6, 14))
            hedge = side.front - side.sidewalk > 1.2 and rng.random() < 0.45
            draw = plants.draw_hedge if hedge else furniture.draw_fence
            clear = self.road.crossing is None or end < self.road.crossing[0] - 1 or z > self.road.crossing[1] + 1
            if clear:
                for a in np.arange(z, end, 4.0).tolist():
                    b = min(a + 4.0, end)
                    found.append((b, lambda canvas, rng, d=draw, a=a, b=b: d(canvas, self.road, s, a, b, rng)))
            z = end + float(rng.uniform(3, 10))
        return found

    def _furniture(self, sign: int) -> list[Item]:
        found: list[Item] = []
        rng, side = self.rng, self.road.side(sign)
        kerb = sign * (side.road + 0.45)
        for _ in range(rng.poisson(1.8)):
            place = self.road.place(kerb, min(sample_depth(rng) + 1, 34.0))
            found.append((place.z, lambda canvas, rng, p=place: furniture.draw_sign(canvas, p, rng)))
        if self.road.crossing is not None or rng.random() < 0.45:
            z = self.road.crossing[0] - 0.6 if self.road.crossing is not None else float(rng.uniform(8, 24))
            place = self.road.place(kerb, z)
            found.append((z, lambda canvas, rng, p=place: furniture.draw_traffic_light(canvas, p, sign, rng)))
        if rng.random() < 0.5:
            for z in np.arange(rng.uniform(5, 18), 80, rng.uniform(16, 24)).tolist():
                place = self.road.place(kerb, z)
                found.append((z, lambda canvas, rng, p=place: furniture.draw_street_light(canvas, p, sign, rng)))
        elif rng.random() < 0.35:
            found += self._utility_line(sign)
        return found

    def _utility_line(self, sign: int) -> list[Item]:
        side = self.road.side(sign)
        stops = np.arange(self.rng.uniform(5, 12), 80, 18.0).tolist()
        places = [self.road.place(sign * (side.sidewalk + 0.2), z) for z in stops]
        found: list[Item] = []
        for place in places:
            found.append((place.z, lambda canvas, rng, p=place: furniture.draw_utility_pole(canvas, p, rng)))
        before = World(places[0].x, 0.0, 1.5)
        for first, last in zip([before, *places[:-1]], places, strict=True):
            found.append((last.z - 0.1, lambda canvas, rng, a=first, b=last: furniture.draw_wires(canvas, a, b, 7.2)))
        return found


def _draw_vehicle(vehicle: vehicles.Vehicle, canvas: Canvas, rng: np.random.Generator) -> None:
    vehicles.draw_vehicle(canvas, vehicle, rng)
