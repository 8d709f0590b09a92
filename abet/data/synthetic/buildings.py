"""Houses: boxes along the street with storeys, windows, shops, gables, and painted walls."""

from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import Final

import numpy as np

from abet.data.synthetic.camera import FAR, NEAR, Road, World
from abet.data.synthetic.canvas import Canvas, Facade
from abet.data.synthetic.chance import pick
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, foliage, glass, hsv, mixed, paint, roof, scaled, wall

DEPTH: Final = 11.0
"""Metres from the street to the back of a house."""


@dataclass(frozen=True, kw_only=True)
class House:
    """One house on one side (+1 right, -1 left) from z0 to z1."""

    sign: int
    z0: float
    z1: float
    front: float
    """Distance of its facade from the road's centre line."""
    height: float
    gable: bool
    wall: Material
    roof: Material
    facade: Facade
    mural: bool
    awning: Material | None


def sample_house(rng: np.random.Generator, *, sign: int, z0: float, front: float, tall: float) -> House:
    """``tall``: 0 for cottages, 1 for city blocks."""
    city = rng.random() < tall
    storey = rng.uniform(2.8, 3.6)
    storeys = rng.integers(3, 8) if city else rng.integers(1, 4)
    trim = rng.uniform(0.35, 0.95)
    shop = city and rng.random() < 0.55
    facade = Facade(
        x0=0.0, k=0.0, facing=0, top=storeys * storey, storey=storey, bay=rng.uniform(1.9, 3.6),
        wide=rng.uniform(0.35, 0.72), high=rng.uniform(0.4, 0.66), shop=int(shop), seed=int(rng.integers(1 << 16)),
        trim=scaled((trim, trim * 0.99, trim * 0.96), 1.0), pane=glass(rng).colour,
        sign=hsv(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.9)), accent=rng.uniform(0.85, 1.15),
    )  # fmt: skip
    return House(
        sign=sign,
        z0=z0,
        z1=z0 + (rng.uniform(9, 22) if city else rng.uniform(8, 14)),
        front=front + rng.uniform(0, 0.6),
        height=storeys * storey + rng.uniform(0.2, 0.8),
        gable=not city or rng.random() < 0.2,
        wall=wall(rng),
        roof=roof(rng),
        facade=facade,
        mural=bool(rng.random() < 0.25),
        awning=paint(rng) if shop and rng.random() < 0.6 else None,
    )


def draw_house(canvas: Canvas, road: Road, house: House, rng: np.random.Generator) -> None:
    """The wall along the street, the gable end that faces the camera, the roof and what hangs on the wall."""
    near, far = max(house.z0, NEAR), house.z1
    a = road.place(house.sign * house.front, near)
    b = road.place(house.sign * house.front, far)
    outward = house.sign * DEPTH
    if house.gable:
        _roof(canvas, house, a, b, outward)
    if house.z0 > 3:
        _end_wall(canvas, house, a, rng)
    k = (b.x - a.x) / (b.z - a.z)
    length = hypot(1.0, k)
    normal = World(-house.sign / length, 0.0, house.sign * k / length)
    plane = house.facade._replace(x0=a.x - k * a.z, k=k)
    along = _wall_surface(canvas, house.wall, plane, canvas.light.on(normal), depth=0.5 * (near + far))
    canvas.face(along, [a, b, up(b, house.height), up(a, house.height)])
    _cornice(canvas, house, a, b, canvas.light.on(normal))
    if house.awning is not None:
        _awning(canvas, house, a, b)
    _shadow(canvas, house, a, b)


def up(point: World, metres: float) -> World:
    """The point above."""
    return World(point.x, point.y + metres, point.z)


def _wall_surface(canvas: Canvas, material: Material, plane: Facade, light: float, *, depth: float) -> int:
    canvas.facades.append(plane)
    return canvas.surface(Kind.BUILDING, material, depth=depth, light=light, facade=len(canvas.facades) - 1)


def _end_wall(canvas: Canvas, house: House, a: World, rng: np.random.Generator) -> None:
    outer = World(a.x + house.sign * DEPTH, 0.0, a.z)
    light = canvas.light.on(World(0.0, 0.0, -1.0))
    blank = house.mural or rng.random() < 0.4
    wide = 0.0 if blank else house.facade.wide * 0.8
    plane = house.facade._replace(x0=a.z, k=0.0, facing=1, wide=wide, shop=0)
    surface = _wall_surface(canvas, house.wall, plane, light, depth=a.z)
    corners = [a, outer, up(outer, house.height), up(a, house.height)]
    if house.gable:
        ridge = World(0.5 * (a.x + outer.x), house.height + 0.3 * DEPTH, a.z)
        corners.insert(3, ridge)
    canvas.face(surface, corners)
    if house.mural:
        _mural(canvas, house, a, light, rng)


def _mural(canvas: Canvas, house: House, a: World, light: float, rng: np.random.Generator) -> None:
    """A painted advertisement: a panel with blots and bars in the colours of anything."""

    def point(u: float, v: float) -> World:
        return World(a.x + house.sign * u * DEPTH, v * house.height, a.z)

    def ink() -> int:
        return canvas.surface(Kind.BUILDING, paint(rng), depth=a.z, light=light)

    left, right = sorted(rng.uniform(0.05, 0.6, 2))
    right = max(right, left + 0.3)
    bottom, top = rng.uniform(0.15, 0.35), rng.uniform(0.6, 0.92)
    canvas.face(ink(), [point(left, bottom), point(right, bottom), point(right, top), point(left, top)])
    for _ in range(rng.integers(2, 6)):
        u, v = rng.uniform(left, right), rng.uniform(bottom, top)
        ru, rv = rng.uniform(0.04, 0.14), rng.uniform(0.04, 0.14)
        corners = pick(rng, (4, 12))
        turn = rng.uniform(0, pi)
        shape = [
            point(
                min(max(u + ru * cos(turn + 2 * pi * i / corners), left), right),
                min(max(v + rv * sin(turn + 2 * pi * i / corners), bottom), top),
            )
            for i in range(corners)
        ]
        canvas.face(ink(), shape)


def _roof(canvas: Canvas, house: House, a: World, b: World, outward: float) -> None:
    ridge = house.height + 0.3 * DEPTH
    slope = World(-house.sign * 0.5, 0.86, 0.0)
    middle = 0.5 * (a.z + b.z)
    surface = canvas.surface(Kind.BUILDING, house.roof, depth=middle, light=canvas.light.on(slope))
    eaves = [World(p.x - house.sign * 0.3, house.height - 0.15, p.z) for p in (a, b)]
    tops = [World(p.x + 0.5 * outward, ridge, p.z) for p in (b, a)]
    canvas.face(surface, [*eaves, *tops])
    if a.z > 3:
        chimney = canvas.surface(Kind.BUILDING, house.wall.shaded(0.7), depth=a.z + 2)
        foot = World(a.x + 0.45 * outward, ridge - 0.6, min(a.z + 2, b.z))
        wide = World(foot.x + 0.8, foot.y, foot.z)
        canvas.face(chimney, [foot, wide, up(wide, 1.4), up(foot, 1.4)])


def _cornice(canvas: Canvas, house: House, a: World, b: World, light: float) -> None:
    tone = Material(mixed(house.wall.colour, house.facade.trim, 0.7))
    surface = canvas.surface(Kind.BUILDING, tone, depth=0.5 * (a.z + b.z), light=light * 0.95)
    low, high = house.height - 0.45, house.height
    canvas.face(surface, [up(a, low), up(b, low), up(b, high), up(a, high)])


def _awning(canvas: Canvas, house: House, a: World, b: World) -> None:
    assert house.awning is not None
    surface = canvas.surface(
        Kind.BUILDING, house.awning, depth=0.5 * (a.z + b.z), light=canvas.light.on(World(0.0, 0.9, -0.4))
    )
    edge = [World(p.x - house.sign * 1.3, house.facade.storey * 0.78, p.z) for p in (b, a)]
    back = [up(p, house.facade.storey * 0.98) for p in (a, b)]
    canvas.face(surface, [*back, *edge])


def _shadow(canvas: Canvas, house: House, a: World, b: World) -> None:
    dx, dz = (shift * house.height for shift in canvas.light.shadow)
    tips = [World(p.x + dx, 0.0, max(p.z + dz, NEAR)) for p in (b, a)]
    canvas.shade([a, b, *tips])
    outer = World(a.x + house.sign * DEPTH, 0.0, a.z)
    tip = World(outer.x + dx, 0.0, max(outer.z + dz, NEAR))
    canvas.shade([a, outer, tip, tips[1]])


def draw_backdrop(canvas: Canvas, rng: np.random.Generator, *, tall: float) -> None:
    """What closes the street in the distance: a skyline of roofs or a line of trees."""
    distance = FAR
    half = 0.62 * distance * canvas.camera.width / canvas.camera.focal
    x = -half - 20.0
    light = canvas.light.on(World(0.0, 0.2, -0.98))
    while x < half:
        wide = rng.uniform(6, 22)
        if rng.random() < tall:
            surface = canvas.surface(Kind.BUILDING, wall(rng), depth=distance, light=light)
            high = rng.uniform(5, 9 + 14 * tall)
            canvas.face(
                surface,
                [
                    World(x, 0, distance),
                    World(x + wide, 0, distance),
                    World(x + wide, high, distance),
                    World(x, high, distance),
                ],
            )
        else:
            _grove(canvas, x, wide, light, rng)
        x += wide * rng.uniform(0.6, 1.0)


def _grove(canvas: Canvas, x: float, wide: float, light: float, rng: np.random.Generator) -> None:
    z = FAR
    surface = canvas.surface(Kind.VEGETATION, foliage(rng), depth=z, light=light)
    high = rng.uniform(4, 10)
    crown = [
        World(x + wide * (0.5 - 0.62 * cos(pi * i / 8)), high * (0.35 + 0.65 * sin(pi * i / 8)), z) for i in range(9)
    ]
    canvas.face(surface, [World(x - 0.12 * wide, 0, z), *crown, World(x + 1.12 * wide, 0, z)])
