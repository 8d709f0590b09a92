"""Street furniture: lamps, traffic lights, signs, and wires overhead."""

from math import cos, pi, sin
from typing import Final

import numpy as np

from abet.data.synthetic.camera import NEAR, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Colour, Material, bark, metal
from abet.data.synthetic.solids import Figure

RED: Final[Colour] = (0.80, 0.10, 0.10)
WHITE: Final[Colour] = (0.93, 0.93, 0.92)
YELLOW: Final[Colour] = (0.95, 0.78, 0.12)
BLUE: Final[Colour] = (0.10, 0.28, 0.68)
BLACK: Final[Colour] = (0.06, 0.06, 0.07)


def _mast(canvas: Canvas, place: World, height: float, radius: float, material: Material) -> Figure:
    figure = Figure(canvas=canvas, place=place, kind=Kind.POLE)
    ink = figure.ink(material, round_=radius)
    figure.polygon(ink, [(-1.2 * radius, 0), (1.2 * radius, 0), (0.8 * radius, height), (-0.8 * radius, height)])
    canvas.stand(place, max(radius, 0.09), max(radius, 0.09), height)
    return figure


def draw_street_light(canvas: Canvas, place: World, rng: np.random.Generator, *, sign: int) -> None:
    """A tall mast with an arm over the road; ``sign`` says on which side it stands."""
    height, material = rng.uniform(5.5, 8.5), metal(rng)
    figure = _mast(canvas, place, height, 0.11, material)
    arm = figure.ink(material)
    reach = -sign * rng.uniform(1.2, 2.4)
    figure.line(arm, [(0, height - 0.3), (0.45 * reach, height + 0.12), (reach, height + 0.15)], 0.12)
    head = figure.ink(Material((0.62, 0.62, 0.6)), kind=Kind.STREET_LIGHT)
    end = 0.35 if reach > 0 else -0.35
    low, high = height + 0.02, height + 0.3
    figure.polygon(head, [(reach - end, low), (reach + end, low), (reach + end, high - 0.08), (reach - end, high)])


def draw_utility_pole(canvas: Canvas, place: World, rng: np.random.Generator) -> None:
    """A wooden pole with a crossbar."""
    height, wood = rng.uniform(6.5, 8.0), bark(rng)
    figure = _mast(canvas, place, height, 0.13, wood)
    bar = figure.ink(wood.shaded(0.8))
    figure.rectangle(bar, -0.9, height - 0.75, 0.9, height - 0.58)


def draw_wires(canvas: Canvas, first: World, last: World, height: float) -> None:
    """Two sagging wires between two poles."""
    ink = canvas.surface(Kind.WIRE, Material((0.1, 0.1, 0.11)), depth=min(first.z, last.z))
    for side in (-0.7, 0.7):
        points = []
        for step in range(9):
            t = step / 8
            sag = 0.7 * (1 - (2 * t - 1) ** 2)
            x, z = first.x + t * (last.x - first.x) + side, first.z + t * (last.z - first.z)
            points.append(canvas.camera.project(World(x, height - 0.6 - sag, max(z, NEAR))))
        canvas.line(ink, points, canvas.camera.pixels(0.03, min(first.z, last.z)))


def draw_traffic_light(canvas: Canvas, place: World, rng: np.random.Generator, *, sign: int) -> None:
    """A signal on its mast, sometimes with a second one on an arm over the road."""
    height = rng.uniform(2.9, 3.6)
    over = rng.random() < 0.45
    material = metal(rng)
    figure = _mast(canvas, place, 5.6 if over else height, 0.09, material)
    lit = int(rng.integers(3))
    _signal(figure, 0.0, height - 0.55, lit, rng)
    if over:
        reach = -sign * rng.uniform(2.2, 3.4)
        figure.line(figure.ink(material), [(0, 5.45), (reach, 5.55)], 0.14)
        _signal(figure, reach, 4.95, lit, rng)


def _signal(figure: Figure, x: float, y: float, lit: int, rng: np.random.Generator) -> None:
    """Three lamps in a dark housing around (x, y); ``lit``: 0 red, 1 amber, 2 green."""
    grey = rng.uniform(0.03, 0.12)
    board = figure.ink(Material((grey, grey, grey)), kind=Kind.TRAFFIC_LIGHT)
    figure.rectangle(board, x - 0.27, y - 0.66, x + 0.27, y + 0.66)
    colours: tuple[Colour, ...] = ((1.0, 0.16, 0.1), (1.0, 0.72, 0.1), (0.15, 1.0, 0.5))
    for lamp, colour in enumerate(colours):
        on = lamp == lit
        dim: Colour = (colour[0] * 0.25, colour[1] * 0.25, colour[2] * 0.25)
        ink = figure.ink(Material(colour if on else dim), kind=Kind.TRAFFIC_LIGHT, lamp=on)
        figure.ellipse(ink, x, y + 0.42 - 0.42 * lamp, 0.17, 0.17)


def draw_sign(canvas: Canvas, place: World, rng: np.random.Generator) -> None:
    """A traffic sign of one of the usual shapes, seen from the front or, seldom, from behind."""
    height = rng.uniform(2.2, 2.9)
    figure = _mast(canvas, place, height, 0.05, metal(rng))
    size, y = rng.uniform(0.42, 0.62), height + 0.1
    if rng.random() < 0.1:
        back = figure.ink(Material((0.5, 0.5, 0.51)), kind=Kind.SIGN_BACK)
        figure.ellipse(back, 0, y, size, size)
        return
    shape = pick(rng, ("ban", "warning", "order", "board", "yield", "priority", "stop"))
    draw = {"ban": _ban, "warning": _warning, "order": _order, "board": _board, "yield": _yield}
    draw.get(shape, _priority if shape == "priority" else _stop)(figure, y, size, rng)
    if rng.random() < 0.3:
        plate = figure.ink(Material(WHITE), kind=Kind.SIGN)
        figure.rectangle(plate, -0.9 * size, y - 1.75 * size, 0.9 * size, y - 1.15 * size)


def _paint(figure: Figure, colour: Colour) -> int:
    return figure.ink(Material(colour), kind=Kind.SIGN)


def _ban(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    figure.ellipse(_paint(figure, RED), 0, y, size, size)
    figure.ellipse(_paint(figure, WHITE), 0, y, 0.72 * size, 0.72 * size)
    if rng.random() < 0.7:
        ink = _paint(figure, BLACK)
        for x in (-0.24, 0.24):
            figure.ellipse(ink, x * size, y, 0.17 * size, 0.34 * size)


def _triangle(y: float, size: float, upwards: int) -> list[tuple[float, float]]:
    return [(-size, y - 0.7 * size * upwards), (size, y - 0.7 * size * upwards), (0, y + 1.0 * size * upwards)]


def _warning(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    figure.polygon(_paint(figure, RED), _triangle(y, size * 1.1, 1))
    figure.polygon(_paint(figure, WHITE if rng.random() < 0.7 else YELLOW), _triangle(y, size * 0.72, 1))
    figure.ellipse(_paint(figure, BLACK), 0, y - 0.15 * size, 0.14 * size, 0.3 * size)


def _yield(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    figure.polygon(_paint(figure, RED), _triangle(y, size * 1.1, -1))
    figure.polygon(_paint(figure, WHITE), _triangle(y, size * 0.66, -1))


def _order(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    figure.ellipse(_paint(figure, BLUE), 0, y, size, size)
    turn = pick(rng, (-1, 0, 1))
    figure.line(_paint(figure, WHITE), [(0, y - 0.6 * size), (0, y), (0.5 * size * turn, y + 0.5 * size)], 0.26 * size)


def _board(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    ground: Colour = pick(rng, (BLUE, WHITE, YELLOW, (0.05, 0.42, 0.22)))
    half = size * rng.uniform(1.0, 1.7)
    figure.rectangle(_paint(figure, ground), -half, y - 0.7 * size, half, y + 0.7 * size)
    ink = _paint(figure, BLACK if ground in (WHITE, YELLOW) else WHITE)
    for row in (-0.28, 0.24):
        figure.rectangle(
            ink, -0.8 * half, y + (row - 0.1) * size, half * rng.uniform(0.1, 0.8), y + (row + 0.12) * size
        )


def _priority(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    for ink, reach in ((_paint(figure, WHITE), 1.15 * size), (_paint(figure, YELLOW), 0.82 * size)):
        figure.polygon(ink, [(-reach, y), (0, y - reach), (reach, y), (0, y + reach)])


def _stop(figure: Figure, y: float, size: float, rng: np.random.Generator) -> None:
    corners = [(size * cos(pi * (i + 0.5) / 4), y + size * sin(pi * (i + 0.5) / 4)) for i in range(8)]
    figure.polygon(_paint(figure, RED), corners)
    figure.rectangle(_paint(figure, WHITE), -0.72 * size, y - 0.2 * size, 0.72 * size, y + 0.2 * size)
