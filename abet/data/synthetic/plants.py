"""Trees, bushes and hedges."""

from math import cos, pi, sin, sqrt

import numpy as np

from abet.data.synthetic.camera import World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, bark, foliage
from abet.data.synthetic.solids import Box, Figure, Pose
from abet.data.synthetic.walls import Stretch


def draw_tree(canvas: Canvas, place: World, rng: np.random.Generator, *, height: float | None = None) -> None:
    """A trunk with branches under a crown of overlapping tufts, darker below and away from the sun."""
    high = height or rng.uniform(4.5, 9.5)
    figure = Figure(canvas=canvas, place=place, kind=Kind.VEGETATION)
    trunk = rng.uniform(0.12, 0.24) * high / 6
    start = high * rng.uniform(0.25, 0.4)
    wood = figure.ink(bark(rng), round_=trunk)
    figure.polygon(wood, [(-trunk, 0), (trunk, 0), (0.6 * trunk, 0.75 * high), (-0.6 * trunk, 0.75 * high)])
    for side in (-1, 1):
        figure.line(wood, [(0, start * 0.95), (side * 0.22 * high, start + 0.25 * high)], trunk)
    leaf = foliage(rng)
    if rng.random() < 0.2:
        _conifer(figure, leaf, start * 0.5, high)
    else:
        _crown(figure, leaf, start, high, rng)
    _tree_shadow(canvas, place, start, high)


def _crown(figure: Figure, leaf: Material, start: float, high: float, rng: np.random.Generator) -> None:
    middle, ry = 0.5 * (start + high), 0.5 * (high - start) * 1.08
    rx = ry * rng.uniform(0.75, 1.15)
    inks = [figure.ink(leaf.shaded(tone), round_=rx) for tone in (0.62, 0.82, 1.0, 1.18)]
    figure.ellipse(inks[0], 0, middle - 0.1 * ry, 0.86 * rx, 0.86 * ry)
    sun = 0.5 if figure.canvas.light.sun.x > 0 else -0.5
    detail = min(1.0, figure.canvas.camera.pixels(ry, figure.place.z) / 30)
    for layer, ink in enumerate(inks):
        reach = 1.0 - 0.12 * layer
        for turn, spread, grain in rng.random((round((11 - 2 * layer) * detail), 3)).tolist():
            angle, radius = 2 * pi * turn, reach * sqrt(0.15 + 0.85 * spread) * 0.82
            size = (0.16 + 0.18 * grain) * (1 - 0.1 * layer)
            x = rx * (radius * cos(angle) + 0.12 * layer * sun)
            y = middle + ry * (radius * sin(angle) * 0.9 + 0.09 * layer - 0.08)
            figure.ellipse(ink, x, y, size * rx, size * ry)


def _conifer(figure: Figure, leaf: Material, start: float, high: float) -> None:
    dark = leaf.shaded(0.75)
    for tier in range(5):
        low = start + (high - start) * tier / 5.6
        top = min(low + 0.42 * (high - start), high)
        half = 0.24 * high * (1 - tier / 5.6)
        ink = figure.ink(dark if tier % 2 else leaf.shaded(0.88), round_=half)
        figure.polygon(ink, [(-half, low), (-0.4 * half, low - 0.12), (0.5 * half, low - 0.1), (half, low), (0, top)])


def _tree_shadow(canvas: Canvas, place: World, start: float, high: float) -> None:
    dx, dz = canvas.light.shadow
    middle, radius = 0.5 * (start + high), 0.42 * (high - start)
    centre = World(place.x + dx * middle, 0, place.z + dz * middle)
    for offset in (-0.4, 0.0, 0.4):
        shift = World(centre.x + offset * radius, 0, centre.z + offset * dz * radius)
        angles = [2 * pi * step / 8 for step in range(8)]
        canvas.shade([World(shift.x + 0.8 * radius * cos(a), 0, max(shift.z + radius * sin(a), 1.3)) for a in angles])
    foot = 0.12
    canvas.shade([World(place.x - foot, 0, place.z), World(place.x + foot, 0, place.z), centre])


def draw_bush(canvas: Canvas, place: World, rng: np.random.Generator) -> None:
    """A low round shrub."""
    high, wide = rng.uniform(0.6, 1.6), rng.uniform(0.5, 1.3)
    canvas.stand(place, wide, 0.5, high * 0.7)
    figure = Figure(canvas=canvas, place=place, kind=Kind.VEGETATION)
    leaf = foliage(rng)
    inks = [figure.ink(leaf.shaded(tone), round_=wide) for tone in (0.7, 1.0, 1.2)]
    figure.ellipse(inks[0], 0, 0.42 * high, wide, 0.5 * high)
    for step in range(9):
        x, y = rng.uniform(-0.75, 0.75) * wide, rng.uniform(0.3, 0.85) * high
        figure.ellipse(inks[step % 3], x, y, 0.33 * wide, 0.24 * high)


def draw_hedge(canvas: Canvas, line: Stretch, rng: np.random.Generator) -> None:
    """A clipped hedge along the road."""
    high, thick, leaf = rng.uniform(0.9, 1.9), 0.5, foliage(rng)
    length = line.far - line.near
    # sheared along the road: it ends where the road has its end
    yaw = (line.road.centre(line.far) - line.road.centre(line.near)) / max(length, 0.1)
    place = line.road.place(line.s, line.near)
    outline = (-thick, thick, 0.0, length)
    Box(Pose(place, yaw), outline, outline, 0.0, high).draw(canvas, Kind.VEGETATION, leaf)
    canvas.stand(World(place.x, 0, line.near + 0.5 * length), thick, 0.5 * length, high)
    figure = Figure(canvas=canvas, place=line.road.place(line.s, max(line.near, 2.0)), kind=Kind.VEGETATION)
    tuft = figure.ink(leaf.shaded(1.1))
    for _ in range(5):
        figure.ellipse(tuft, rng.uniform(-thick, thick), high * rng.uniform(0.8, 1.0), 0.2, 0.12)
