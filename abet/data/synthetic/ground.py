"""The ground, pixel by pixel: carriageway, markings, curbs, sidewalks and verges from the road's cross-section."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from abet.data.synthetic.camera import Camera, Floats, Road, Side, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, around, asphalt, grass, pavement, plain_asphalt, scaled, slabs

CURB: Final = 0.2
"""Metres."""
_HORIZON: Final = 1e-4
"""Slope below which a ray never meets the ground."""
_MARKED: Final = 90.0
"""Metres up to which markings are drawn."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class GroundStyle:
    """Which lines the road has and what its parts are made of."""

    road: Material
    curb: Material
    sidewalk: Material
    verge: Material
    strip: Material
    line: Material
    verge_paved: bool
    centre: str
    """dashed, solid, double or none."""
    edge: bool
    lanes: int
    """Per direction."""
    zebra: bool


def sample_style(rng: np.random.Generator, *, lanes: int, green: float, calm: bool) -> GroundStyle:
    """``green``: how likely verges are grass; ``calm``: grey roads beside lighter slabs."""
    road = plain_asphalt(rng) if calm else asphalt(rng)
    side = slabs(rng) if calm else pavement(rng)
    paved = rng.random() > green
    white = rng.uniform(0.75, 0.95)
    return GroundStyle(
        road=road,
        curb=Material(around(rng, (0.66, 0.65, 0.63), 0.06)),
        sidewalk=side,
        verge=(side if calm else pavement(rng)) if paved else grass(rng),
        strip=grass(rng),
        line=Material((white, white, white * rng.uniform(0.85, 1.0))),
        verge_paved=paved,
        centre=pick(rng, ("dashed", "solid", "double", "none"), (0.6, 0.15, 0.1, 0.15)),
        edge=bool(rng.random() < 0.4),
        lanes=lanes,
        zebra=bool(rng.random() < 0.85),
    )


@dataclass(frozen=True, kw_only=True)
class GroundMap:
    """Per pixel, (H, W) float32: metres ahead and metres right of the centre line; z is 1e6 above the horizon."""

    z: Floats
    s: Floats


def ground_map(camera: Camera, road: Road) -> GroundMap:
    """Where each pixel's ray meets the ground."""
    across, down = camera.grids()
    z = np.where(down > _HORIZON, camera.eye / np.maximum(down, _HORIZON), 1e6).astype(np.float32)
    near = np.minimum(z, 300.0)
    s = near * across - np.float32(road.offset) - near * (road.heading + 0.5 * road.curvature * near)
    return GroundMap(z=z, s=s.astype(np.float32))


def draw_ground(canvas: Canvas, road: Road, style: GroundStyle, where: GroundMap, rng: np.random.Generator) -> None:
    """Fill everything below the horizon."""

    def flat(kind: Kind, material: Material) -> int:
        return canvas.surface(kind, material, ground=True)

    verge = flat(Kind.SIDEWALK if style.verge_paved else Kind.TERRAIN, style.verge)
    sidewalk, curb = flat(Kind.SIDEWALK, style.sidewalk), flat(Kind.CURB, style.curb)
    strip, carriageway = flat(Kind.TERRAIN, style.strip), flat(Kind.ROAD, style.road)
    line, zebra = flat(Kind.MARKING, style.line), flat(Kind.CROSSWALK, style.line)
    zones = np.array([verge, sidewalk, strip, curb, carriageway, curb, strip, sidewalk, verge], np.int32)
    numbers = zones[_zone(road, where.s)]
    inside = (where.s > -road.left.road) & (where.s < road.right.road)
    if road.crossing is not None:
        street = (where.z > road.crossing[0]) & (where.z < road.crossing[1])
        numbers[street] = carriageway
        inside &= ~street
    near = inside & (where.z < _MARKED)
    numbers[near & _lines(road, style, where)] = line
    if road.crossing is not None and style.zebra:
        numbers[near & _zebra(road, where)] = zebra
        numbers[near & _stop_line(road, where)] = line
    numbers[where.z >= 1e6] = 0
    canvas.paint_ground(numbers)
    _repairs(canvas, road, style, rng)


def _zone(road: Road, s: Floats) -> npt.NDArray[np.uint8]:
    """0..8 from the left verge over the carriageway (4) to the right verge."""
    left, right = (_edges(side) for side in (road.left, road.right))
    zone = np.zeros(s.shape, np.uint8)
    for edge in (*(-value for value in reversed(left)), *right):
        zone += s > np.float32(edge)
    return zone


def _edges(side: Side) -> tuple[float, float, float, float]:
    """Outer edges of carriageway, curb, strip and sidewalk, never decreasing."""
    curb = side.road + CURB
    strip = max(side.strip, curb)
    return side.road, curb, strip, max(side.sidewalk, strip)


def _lines(road: Road, style: GroundStyle, where: GroundMap) -> Mask:
    """Longitudinal markings."""
    s, z = where.s, where.z
    dash = _phase(z, 9.0) < 4.0 / 9.0
    found = np.zeros(s.shape, np.bool_)
    if style.centre == "double":
        found |= np.abs(np.abs(s) - 0.16) < 0.07
    elif style.centre != "none":
        middle = np.abs(s) < 0.08
        found |= middle & dash if style.centre == "dashed" else middle
    for lane in range(1, style.lanes):
        found |= (np.abs(np.abs(s) - lane * road.lane) < 0.07) & dash
    for sign in (-1, 1):
        side = road.side(sign)
        if side.parking > 0:
            bay = (s * sign > side.road - side.parking) & (_phase(z, 6.0) < 0.025)
            found |= bay | (np.abs(s * sign - (side.road - side.parking)) < 0.06)
        elif style.edge:
            found |= np.abs(s * sign - (side.road - 0.25)) < 0.07
    if road.crossing is not None:
        found &= (z < road.crossing[0] - 5.2) | (z > road.crossing[1] + 5.2)
    return found


def _phase(metres: Floats, period: float) -> Floats:
    """How far within a period, 0 to 1; several times as fast as np.mod."""
    turns = metres * np.float32(1 / period)
    return np.asarray(turns - np.floor(turns))


def _zebra(road: Road, where: GroundMap) -> Mask:
    assert road.crossing is not None
    near, far = road.crossing
    stripes = _phase(where.s, 1.0) < 0.5
    before = (where.z > near - 4.2) & (where.z < near - 1.0)
    behind = (where.z > far + 1.0) & (where.z < far + 4.2)
    return np.asarray(stripes & (before | behind))


def _stop_line(road: Road, where: GroundMap) -> Mask:
    assert road.crossing is not None
    near = road.crossing[0]
    return np.asarray((where.z > near - 5.4) & (where.z < near - 4.9) & (where.s > 0.1))


def _repairs(canvas: Canvas, road: Road, style: GroundStyle, rng: np.random.Generator) -> None:
    """Patches of newer asphalt, tar seams and manhole covers."""
    for _ in range(rng.integers(0, 4)):
        tone = scaled(style.road.colour, rng.uniform(0.72, 1.2))
        patch = canvas.surface(Kind.ROAD, style.road._replace(colour=tone), ground=True)
        s, z = rng.uniform(-road.left.road, road.right.road - 1.5), rng.uniform(5, 30)
        wide, long = rng.uniform(0.8, 2.2), rng.uniform(1.5, 7)
        wide = min(wide, road.right.road - s)
        canvas.face(patch, [road.place(s + i * wide, z + k * long) for i, k in ((0, 0), (1, 0), (1, 1), (0, 1))])
    for _ in range(rng.integers(0, 3)):
        seam = canvas.surface(Kind.ROAD, style.road.shaded(0.6), ground=True)
        s, z = rng.uniform(-road.left.road + 1, road.right.road - 1), rng.uniform(4, 12)
        points = [road.place(s + rng.normal(0, 0.25), z + 3 * step) for step in range(5)]
        canvas.line(seam, [canvas.camera.project(point) for point in points], canvas.camera.pixels(0.04, z))
    for _ in range(rng.integers(0, 3)):
        iron = rng.uniform(0.2, 0.4)
        cover = canvas.surface(Kind.MANHOLE, Material((iron, iron, iron)), ground=True)
        centre = road.place(rng.uniform(-road.left.road + 0.8, road.right.road - 0.8), rng.uniform(5, 25))
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False).tolist()
        circle = [World(centre.x + 0.4 * np.cos(a), 0.0, centre.z + 0.4 * np.sin(a)) for a in angles]
        canvas.face(cover, circle)
