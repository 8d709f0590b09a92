"""Objects of the OOD sets. Training scenes never call this module.

They borrow every colour and texture from known classes (`materials.borrowed`), stand where cars and people stand and
throw the same shadows: what tells them apart is their shape.
"""

from collections.abc import Callable, Mapping
from math import cos, pi, sin
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from abet.data.synthetic.camera import World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, borrowed
from abet.data.synthetic.solids import Box, Figure, Pose, paint_patch


class Dress(NamedTuple):
    """The materials that one object wears."""

    main: Material
    second: Material
    third: Material


def sample_dress(rng: np.random.Generator) -> Dress:
    """Three borrowed materials, the first on most of the object."""
    main = borrowed(rng)
    related = main.shaded(rng.uniform(0.55, 0.85)) if rng.random() < 0.4 else borrowed(rng)
    return Dress(main, related, borrowed(rng))


Draw = Callable[[Canvas, World, Dress, float, np.random.Generator], None]


def _figure(canvas: Canvas, place: World, size: float, rng: np.random.Generator) -> Figure:
    return Figure(canvas=canvas, place=place, kind=Kind.UNSEEN, flip=bool(rng.random() < 0.5), scale=size)


def _animal(
    canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator, *,
    leg: float, neck: tuple[float, float], head: tuple[float, float], extra: str,
) -> None:  # fmt: skip
    """A four-legged animal seen from the side; unit: height of its back."""
    canvas.stand(place, 0.62 * size, 0.2 * size, 0.9 * size)
    figure = _figure(canvas, place, size, rng)
    coat, shade = figure.ink(dress.main), figure.ink(dress.main.shaded(0.72))
    thick, belly = rng.uniform(0.06, 0.09), leg - 0.04
    stride = rng.uniform(-0.1, 0.1)
    for ink, shift in ((shade, 0.1), (coat, 0.0)):
        for x, step in ((-0.5 + shift, stride), (0.42 - shift, -stride)):
            figure.line(ink, [(x, leg + 0.1), (x + 0.5 * step, 0.5 * leg), (x + step, 0.0)], 1.8 * thick)
    body = [(-0.62, 0.9), (-0.6, leg), (-0.3, belly - 0.03), (0.2, belly), (0.52, leg + 0.04), (0.6, 0.92)]
    figure.polygon(coat, [*body, (0.4, 1.0), (0.0, 0.96), (-0.4, 1.0)])
    nx, ny = 0.55 + neck[0], 0.9 + neck[1]
    figure.polygon(coat, [(0.36, 0.98), (0.6, 0.72), (nx + 0.1, ny - 0.08), (nx - 0.08, ny + 0.1)])
    figure.polygon(
        coat,
        [
            (nx - 0.1, ny + 0.12),
            (nx - 0.04, ny - 0.13),
            (nx + head[0], ny - head[1]),
            (nx + head[0], ny - head[1] + 0.14),
        ],
    )
    figure.line(shade, [(-0.6, 0.92), (-0.72, 0.75), (-0.7, 0.4)], 0.05)
    figure.polygon(shade, [(nx - 0.1, ny + 0.08), (nx - 0.16, ny + 0.24), (nx - 0.02, ny + 0.12)])
    patch = figure.ink(dress.second)
    if extra == "patches":
        for _ in range(4):
            figure.ellipse(patch, rng.uniform(-0.45, 0.4), rng.uniform(leg + 0.12, 0.86), rng.uniform(0.08, 0.17), 0.1)
    elif extra == "mane":
        figure.polygon(patch, [(0.32, 1.02), (nx - 0.14, ny + 0.16), (nx - 0.02, ny + 0.02), (0.42, 0.9)])
    elif extra == "antlers":
        for side in (-0.12, 0.1):
            figure.line(patch, [(nx, ny + 0.1), (nx + side, ny + 0.38), (nx + 1.8 * side, ny + 0.5)], 0.045)
            figure.line(patch, [(nx + 0.7 * side, ny + 0.28), (nx + 2.2 * side, ny + 0.32)], 0.04)


def _cow(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    _animal(canvas, place, dress, 1.35 * size, rng, leg=0.42, neck=(0.12, 0.0), head=(0.28, 0.16), extra="patches")


def _horse(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    _animal(canvas, place, dress, 1.5 * size, rng, leg=0.55, neck=(0.2, 0.42), head=(0.3, 0.22), extra="mane")


def _dog(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    _animal(canvas, place, dress, 0.85 * size, rng, leg=0.45, neck=(0.1, 0.16), head=(0.26, 0.08), extra="none")


def _deer(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    _animal(canvas, place, dress, 1.2 * size, rng, leg=0.58, neck=(0.12, 0.42), head=(0.26, 0.12), extra="antlers")


def _bird(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A big wader: an oval body on two thin legs, a long neck."""
    size *= 1.5
    canvas.stand(place, 0.3 * size, 0.2 * size, 0.8 * size)
    figure = _figure(canvas, place, size, rng)
    legs, body = figure.ink(dress.third), figure.ink(dress.main, round_=0.35)
    for x in (-0.08, 0.07):
        figure.line(legs, [(x, 0.5), (x + 0.03, 0.25), (x, 0.0)], 0.05)
    figure.line(body, [(0.24, 0.66), (0.36, 0.85), (0.28, 1.1)], 0.1)
    figure.ellipse(body, 0.0, 0.6, 0.36, 0.22)
    figure.ellipse(body, 0.31, 1.12, 0.1, 0.075)
    figure.polygon(legs, [(0.38, 1.15), (0.56, 1.08), (0.38, 1.08)])
    wing = figure.ink(dress.second)
    figure.polygon(wing, [(0.2, 0.68), (-0.15, 0.5), (-0.52, 0.52), (-0.2, 0.74)])


def _tyre(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """Standing wheels, one or a pile."""
    canvas.stand(place, 0.5 * size, 0.25 * size, 0.7 * size)
    figure = _figure(canvas, place, size, rng)
    ring, rim, inner = (
        figure.ink(material) for material in (dress.main, dress.main.shaded(0.7), dress.second.shaded(0.6))
    )
    if rng.random() < 0.5:
        for level in range(rng.integers(2, 5)):
            y = 0.14 + 0.25 * level
            figure.ellipse(rim, 0, y - 0.03, 0.5, 0.16)
            figure.ellipse(ring, 0, y + 0.05, 0.5, 0.15)
        figure.ellipse(inner, 0, y + 0.07, 0.27, 0.08)
        return
    narrow = rng.uniform(0.55, 1.0)
    figure.ellipse(rim, 0.1, 0.5, 0.5 * narrow, 0.5)
    figure.ellipse(ring, 0.0, 0.5, 0.5 * narrow, 0.5)
    figure.ellipse(inner, 0.0, 0.5, 0.27 * narrow, 0.28)


def _cone(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A cone with bands on a square foot."""
    size *= 1.1
    canvas.stand(place, 0.34 * size, 0.3 * size, 0.6 * size)
    figure = _figure(canvas, place, size, rng)
    main, band, foot = figure.ink(dress.main, round_=0.3), figure.ink(dress.second, round_=0.3), figure.ink(dress.third)
    figure.polygon(foot, [(-0.42, 0.0), (0.42, 0.0), (0.36, 0.09), (-0.36, 0.09)])
    figure.polygon(main, [(-0.29, 0.08), (0.29, 0.08), (0.06, 1.0), (-0.06, 1.0)])
    for low, high in ((0.3, 0.48), (0.66, 0.82)):
        wide = [0.29 - 0.25 * (y - 0.08) for y in (low, high)]
        figure.polygon(band, [(-wide[0], low), (wide[0], low), (wide[1], high), (-wide[1], high)])


def _crate(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """Boxes with battens, turned any way, sometimes two of them."""
    yaw, half = rng.uniform(-0.7, 0.7), 0.5 * size * rng.uniform(0.8, 1.3)
    canvas.stand(place, 1.15 * half, 1.15 * half, size)
    level = 0.0
    for _ in range(rng.integers(1, 3)):
        box = Box(Pose(place, yaw), (-half, half, -half, half), (-half, half, -half, half), level, level + 1.2 * half)
        for face in box.draw(canvas, Kind.UNSEEN, dress.main).values():
            for edge in ((0.0, 0.0, 1.0, 0.12), (0.0, 0.88, 1.0, 1.0), (0.0, 0.0, 0.1, 1.0), (0.9, 0.0, 1.0, 1.0)):
                paint_patch(canvas, Kind.UNSEEN, dress.second, face, face.patch(*edge))
        level, half, yaw = level + 1.2 * half, 0.75 * half, yaw + rng.uniform(-0.4, 0.4)


def _suitcase(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A trolley case with ribs, wheels and a handle."""
    size *= 0.95
    yaw, half, deep = rng.uniform(-0.6, 0.6), 0.34 * size, 0.17 * size
    canvas.stand(place, 1.1 * half, deep, size)
    figure = _figure(canvas, place, size, rng)
    handle = figure.ink(dress.third)
    figure.line(handle, [(-0.16, 0.95), (-0.16, 1.35), (0.16, 1.35), (0.16, 0.95)], 0.06)
    box = Box(Pose(place, yaw), (-half, half, -deep, deep), (-half, half, -deep, deep), 0.08 * size, size)
    for name, face in box.draw(canvas, Kind.UNSEEN, dress.main).items():
        for left in (0.2, 0.47, 0.74) if name != "top" else ():
            paint_patch(canvas, Kind.UNSEEN, dress.second, face, face.patch(left, 0.06, left + 0.08, 0.94))
    for x in (-0.26, 0.26):
        figure.ellipse(handle, x, 0.05, 0.06, 0.06)


def _sofa(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """Seat, back, arms and cushions."""
    half, yaw = 0.95 * size, rng.uniform(-0.5, 0.5)
    canvas.stand(place, half, 0.45 * size, 0.8 * size)
    pose = Pose(place, yaw)
    deep, arm = 0.42 * size, 0.2 * size
    back = (-half, half, deep - 0.2 * size, deep)
    Box(pose, back, back, 0.08 * size, 0.95 * size).draw(canvas, Kind.UNSEEN, dress.main)
    seat = (-half, half, -deep, deep - 0.2 * size)
    for face in (
        Box(pose, seat, seat, 0.08 * size, 0.45 * size).draw(canvas, Kind.UNSEEN, dress.main.shaded(0.9)).values()
    ):
        for left in (0.12, 0.52):
            paint_patch(canvas, Kind.UNSEEN, dress.second, face, face.patch(left, 0.55, left + 0.36, 1.0))
    arms = [(-half, -half + arm, -deep, deep), (half - arm, half, -deep, deep)]
    for part in arms if place.x < 0 else reversed(arms):
        Box(pose, part, part, 0.08 * size, 0.66 * size).draw(canvas, Kind.UNSEEN, dress.main)


def _ball(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A ball with segments."""
    canvas.stand(place, 0.42 * size, 0.35 * size, 0.8 * size)
    figure = _figure(canvas, place, size, rng)
    figure.ellipse(figure.ink(dress.main, round_=0.5), 0, 0.5, 0.5, 0.5)
    band = figure.ink(dress.second, round_=0.5)
    for turn in (0.0, 2.1, 4.2):
        angle = turn + rng.uniform(0, 1)
        figure.ellipse(band, 0.26 * cos(angle), 0.5 + 0.26 * sin(angle), 0.15, 0.15)


def _boulder(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A rough rock with facets."""
    wide = rng.uniform(0.55, 0.9)
    canvas.stand(place, 0.9 * wide * size, 0.4 * size, 0.6 * size)
    figure = _figure(canvas, place, size, rng)
    angles = np.sort(rng.uniform(0, pi, 9)).tolist()
    radii = rng.uniform(0.82, 1.08, 9).tolist()
    rim = [(wide * r * cos(a), 0.85 * r * sin(a)) for a, r in zip(angles, radii, strict=True)]
    figure.polygon(figure.ink(dress.main.shaded(0.82)), [(wide, 0.0), *rim, (-wide, 0.0)])
    peak = (rng.uniform(-0.15, 0.15), rng.uniform(0.35, 0.55))
    for tone, first in ((1.1, 1), (0.95, 3), (1.0, 5)):
        figure.polygon(figure.ink(dress.main.shaded(tone)), [rim[first], rim[first + 1], rim[first + 2], peak])


def _bathtub(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A free-standing tub on feet."""
    canvas.stand(place, 0.85 * size, 0.4 * size, 0.55 * size)
    figure = _figure(canvas, place, size, rng)
    feet, body, inside = (
        figure.ink(dress.third),
        figure.ink(dress.main, round_=0.9),
        figure.ink(dress.second.shaded(0.7)),
    )
    for x in (-0.55, 0.5):
        figure.polygon(feet, [(x - 0.1, 0.16), (x + 0.1, 0.16), (x + 0.03, 0.0), (x - 0.05, 0.0)])
    figure.polygon(body, [(-0.95, 0.72), (-0.78, 0.3), (-0.55, 0.12), (0.5, 0.12), (0.72, 0.28), (0.9, 0.66)])
    figure.ellipse(figure.ink(dress.main.shaded(1.15)), -0.02, 0.69, 0.95, 0.15)
    figure.ellipse(inside, -0.02, 0.69, 0.82, 0.1)


def _log(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A fallen trunk across the way, with stumps of branches."""
    long, radius = 1.5 * size, 0.26 * size
    canvas.stand(place, long, 0.3 * size, 0.5 * size)
    figure = _figure(canvas, place, 1.0, rng)
    tilt = rng.uniform(-0.1, 0.2) * size
    stump = figure.ink(dress.main.shaded(0.75))
    for x in rng.uniform(-0.8, 0.6, 3).tolist():
        figure.line(
            stump, [(x * long, radius), (x * long + 0.25 * size, radius + rng.uniform(0.5, 0.95) * size)], 0.1 * size
        )
    bark_ink = figure.ink(dress.main)
    figure.polygon(bark_ink, [(-long, 0.0), (long, 0.0), (long, 1.7 * radius), (-long, 2.1 * radius + tilt)])
    figure.polygon(
        figure.ink(dress.main.shaded(0.7)), [(-long, 0), (long, 0), (long, 0.5 * radius), (-long, 0.6 * radius)]
    )
    figure.ellipse(figure.ink(dress.second), long, 0.88 * radius, 0.55 * radius, 0.88 * radius)


def _barrel(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """A drum with hoops, standing."""
    canvas.stand(place, 0.36 * size, 0.3 * size, 0.9 * size)
    figure = _figure(canvas, place, size, rng)
    body, hoop = figure.ink(dress.main, round_=0.36), figure.ink(dress.second, round_=0.36)
    bulge = rng.uniform(0.0, 0.08)
    figure.ellipse(body, 0, 0.08, 0.34, 0.08)
    figure.polygon(
        body, [(-0.34, 0.08), (0.34, 0.08), (0.34 + bulge, 0.55), (0.34, 1.02), (-0.34, 1.02), (-0.34 - bulge, 0.55)]
    )
    for y in (0.25, 0.78):
        figure.rectangle(hoop, -0.35 - 0.5 * bulge, y, 0.35 + 0.5 * bulge, y + 0.08)
    figure.ellipse(figure.ink(dress.main.shaded(1.2)), 0, 1.02, 0.34, 0.08)


def _piano(canvas: Canvas, place: World, dress: Dress, size: float, rng: np.random.Generator) -> None:
    """An upright case with a ledge of keys."""
    half, yaw = 0.72 * size, rng.uniform(-0.6, 0.6)
    canvas.stand(place, half, 0.35 * size, size)
    pose = Pose(place, yaw)
    case = (-half, half, 0.0, 0.45 * size)
    Box(pose, case, case, 0.0, 1.2 * size).draw(canvas, Kind.UNSEEN, dress.main)
    ledge = (-half, half, -0.28 * size, 0.0)
    for name, face in (
        Box(pose, ledge, ledge, 0.5 * size, 0.66 * size).draw(canvas, Kind.UNSEEN, dress.main.shaded(0.85)).items()
    ):
        if name in ("top", "back"):
            paint_patch(canvas, Kind.UNSEEN, dress.second, face, face.patch(0.06, 0.2, 0.94, 0.8))
    for x in (-half + 0.08, half - 0.08):
        leg = (x - 0.06, x + 0.06, -0.26 * size, -0.16 * size)
        Box(pose, leg, leg, 0.0, 0.5 * size).draw(canvas, Kind.UNSEEN, dress.third)


UNSEEN: Final[Mapping[str, Draw]] = MappingProxyType(
    {
        "cow": _cow, "horse": _horse, "dog": _dog, "deer": _deer, "bird": _bird, "tyre": _tyre, "cone": _cone,
        "crate": _crate, "suitcase": _suitcase, "sofa": _sofa, "ball": _ball, "boulder": _boulder,
        "bathtub": _bathtub, "log": _log, "barrel": _barrel, "piano": _piano,
    }
)  # fmt: skip
"""Every kind of unseen object: draws itself at a place, in borrowed materials, ``size`` about its height in metres."""


def draw_unseen(canvas: Canvas, name: str, place: World, size: float, rng: np.random.Generator) -> None:
    """One unseen object on the ground at ``place``."""
    UNSEEN[name](canvas, place, sample_dress(rng), size, rng)
