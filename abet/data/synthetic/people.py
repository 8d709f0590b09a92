"""People on foot and on bicycles, from any side, in all clothes."""

import numpy as np

from abet.data.synthetic.camera import World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, cloth, hsv, metal, paint, skin
from abet.data.synthetic.solids import Figure


def _hair(rng: np.random.Generator) -> Material:
    if rng.random() < 0.75:
        return Material(hsv(rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.4)))
    return cloth(rng)


def draw_person(canvas: Canvas, place: World, rng: np.random.Generator) -> None:
    """Someone who walks or stands."""
    height = rng.uniform(1.5, 1.92) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
    canvas.stand(place, 0.26, 0.22, height)
    figure = Figure(canvas=canvas, place=place, kind=Kind.PERSON, flip=bool(rng.random() < 0.5), scale=height / 1.75)
    stride, bulk = rng.uniform(0.0, 0.3), rng.uniform(0.85, 1.2)
    _legs(figure, stride, bulk, rng)
    _upper_body(figure, stride, bulk, rng)


def _legs(figure: Figure, stride: float, bulk: float, rng: np.random.Generator) -> None:
    trousers = cloth(rng)
    shoe = figure.ink(cloth(rng).shaded(0.5))
    skirt = rng.random() < 0.2
    bare = skin(rng)
    for side, tone in ((-1, 0.8), (1, 1.0)):
        ink = figure.ink((bare if skirt else trousers).shaded(tone))
        hip, foot = 0.08 * side * bulk, (0.09 + stride) * side
        figure.polygon(
            ink, [(hip - 0.1 * bulk, 0.86), (hip + 0.1 * bulk, 0.86), (foot + 0.07, 0.06), (foot - 0.07, 0.06)]
        )
        figure.polygon(shoe, [(foot - 0.08, 0), (foot + 0.15, 0), (foot + 0.1, 0.1), (foot - 0.08, 0.1)])
    if skirt:
        cut = 0.24 * bulk + 0.4 * stride
        figure.polygon(figure.ink(trousers), [(-0.14 * bulk, 0.95), (0.14 * bulk, 0.95), (cut, 0.42), (-cut, 0.42)])


def _upper_body(figure: Figure, stride: float, bulk: float, rng: np.random.Generator) -> None:
    coat, face = cloth(rng), figure.ink(skin(rng), round_=0.12)
    ink, sleeve = figure.ink(coat, round_=0.22), figure.ink(coat.shaded(0.8))
    long = 0.62 if rng.random() < 0.25 else 0.82
    for side in (-1, 1):
        hand = (0.24 * bulk + 0.5 * stride) * side
        figure.line(sleeve, [(0.21 * bulk * side, 1.36), (0.27 * bulk * side, 1.1), (hand, 0.86)], 0.12 * bulk)
        figure.ellipse(face, hand, 0.82, 0.055, 0.06)
    torso = [(-0.2 * bulk, 1.0), (-0.17 * bulk, long), (0.17 * bulk, long), (0.2 * bulk, 1.0)]
    figure.polygon(ink, [*torso, (0.23 * bulk, 1.38), (0.09, 1.47), (-0.09, 1.47), (-0.23 * bulk, 1.38)])
    figure.rectangle(face, -0.05, 1.44, 0.05, 1.54)
    figure.ellipse(face, 0.0, 1.61, 0.105, 0.135)
    hair = figure.ink(_hair(rng))
    figure.ellipse(hair, -0.025, 1.67, 0.115, 0.09)
    if rng.random() < 0.5:
        figure.ellipse(hair, -0.01, 1.61, 0.12, 0.15)
    if rng.random() < 0.35:
        bag = figure.ink(cloth(rng))
        x, y = (0.0, 1.18) if rng.random() < 0.5 else (0.3 * bulk, 0.85)
        figure.rectangle(bag, x - 0.14, y - 0.18, x + 0.14, y + 0.18)


def _wheel(figure: Figure, ink: int, x: float, narrow: float) -> None:
    figure.ring(ink, x, 0.34, 0.34 * narrow, 0.34, width=0.075)
    if narrow > 0.5:
        figure.line(ink, [(x - 0.2, 0.16), (x + 0.2, 0.52)], 0.02)
        figure.line(ink, [(x - 0.2, 0.52), (x + 0.2, 0.16)], 0.02)


def _bicycle(figure: Figure, rng: np.random.Generator, *, side_on: bool) -> None:
    """Wheels and frame; seen from the side, or from ahead or behind."""
    rubber = figure.ink(Material((0.06, 0.06, 0.065)), kind=Kind.BICYCLE)
    frame = figure.ink(paint(rng) if rng.random() < 0.7 else metal(rng), kind=Kind.BICYCLE)
    if not side_on:
        figure.ellipse(rubber, 0, 0.36, 0.075, 0.36)
        figure.rectangle(frame, -0.05, 0.5, 0.05, 0.95)
        figure.line(frame, [(-0.28, 1.0), (0.28, 1.0)], 0.07)
        return
    for x in (-0.52, 0.52):
        _wheel(figure, rubber, x, 1.0)
    figure.line(frame, [(-0.52, 0.34), (-0.18, 0.82), (0.36, 0.86), (0.02, 0.3), (-0.52, 0.34)], 0.07)
    figure.line(frame, [(-0.22, 0.9), (0.02, 0.3)], 0.06)
    figure.line(frame, [(0.52, 0.34), (0.36, 1.02), (0.5, 1.04)], 0.07)
    figure.rectangle(rubber, -0.34, 0.9, -0.12, 0.97)


def draw_parked_bicycle(canvas: Canvas, place: World, rng: np.random.Generator) -> None:
    """A bicycle that leans on its stand."""
    canvas.stand(place, 0.7, 0.15, 0.8)
    figure = Figure(canvas=canvas, place=place, kind=Kind.BICYCLE, flip=bool(rng.random() < 0.5), scale=1.08)
    _bicycle(figure, rng, side_on=rng.random() < 0.75)


def draw_cyclist(canvas: Canvas, place: World, rng: np.random.Generator, *, side_on: bool) -> None:
    """Someone on a bicycle."""
    canvas.stand(place, 0.7 if side_on else 0.3, 0.25 if side_on else 0.7, 1.6)
    figure = Figure(
        canvas=canvas, place=place, kind=Kind.RIDER, flip=bool(rng.random() < 0.5), scale=rng.uniform(1.0, 1.15)
    )
    trousers, coat, face = cloth(rng), cloth(rng), figure.ink(skin(rng))
    far_leg, near_leg = figure.ink(trousers.shaded(0.75)), figure.ink(trousers)
    if side_on:
        figure.line(far_leg, [(-0.2, 0.95), (0.22, 0.72), (0.02, 0.3)], 0.15)
        _bicycle(figure, rng, side_on=True)
        figure.line(near_leg, [(-0.2, 0.95), (0.14, 0.66), (-0.06, 0.2)], 0.16)
        figure.polygon(
            figure.ink(coat, round_=0.2), [(-0.36, 0.92), (-0.08, 0.9), (0.26, 1.4), (0.1, 1.56), (-0.14, 1.42)]
        )
        figure.line(figure.ink(coat.shaded(0.85)), [(0.12, 1.42), (0.3, 1.15), (0.46, 1.06)], 0.11)
        head = (0.27, 1.62)
    else:
        _bicycle(figure, rng, side_on=False)
        for side in (-1, 1):
            knee, foot = (0.55, 0.25) if side > 0 else (0.7, 0.42)
            figure.line(near_leg, [(0.1 * side, 0.95), (0.17 * side, knee), (0.13 * side, foot)], 0.15)
            figure.line(
                figure.ink(coat.shaded(0.8)), [(0.22 * side, 1.42), (0.32 * side, 1.2), (0.26 * side, 1.02)], 0.11
            )
        torso = [(-0.19, 0.88), (0.19, 0.88), (0.25, 1.42), (0.1, 1.54), (-0.1, 1.54), (-0.25, 1.42)]
        figure.polygon(figure.ink(coat, round_=0.25), torso)
        head = (0.0, 1.66)
    figure.ellipse(face, *head, 0.11, 0.14)
    helmet = figure.ink(paint(rng) if rng.random() < 0.6 else _hair(rng))
    figure.ellipse(helmet, head[0], head[1] + 0.06, 0.135, 0.11)
