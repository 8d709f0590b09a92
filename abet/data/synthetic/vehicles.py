"""Cars, vans, trucks and buses: boxes with cabins, windows, wheels and lights, turned as the traffic runs."""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.chance import pick
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.materials import Material, glass, paint
from abet.data.synthetic.solids import Box, Face, Pose, paint_patch

TYRE = Material((0.05, 0.05, 0.055))
HUB = Material((0.5, 0.5, 0.52))
BUMPER = Material((0.11, 0.11, 0.12))
TAIL = Material((0.75, 0.06, 0.05))
HEAD = Material((0.95, 0.94, 0.86))
PLATE = Material((0.92, 0.92, 0.88))


@dataclass(frozen=True, kw_only=True)
class Vehicle:
    """Metres. ``towards``: it comes towards the camera, its nose at the near end."""

    kind: Kind
    pose: Pose
    width: float
    length: float
    height: float
    body: Material
    towards: bool
    shape: str
    """saloon, hatch, estate, van, truck or bus."""


def sample_car(rng: np.random.Generator, pose: Pose, *, towards: bool) -> Vehicle:
    """A car of any build and paint."""
    shape = pick(rng, ("saloon", "hatch", "estate", "van"), (0.35, 0.35, 0.2, 0.1))
    height = {"saloon": 1.43, "hatch": 1.5, "estate": 1.62, "van": 1.95}[shape] * rng.uniform(0.96, 1.06)
    length = {"saloon": 4.6, "hatch": 3.9, "estate": 4.6, "van": 4.9}[shape] * rng.uniform(0.95, 1.05)
    return Vehicle(
        kind=Kind.CAR, pose=pose, width=rng.uniform(1.7, 1.9), length=length, height=height, body=paint(rng),
        towards=towards, shape=shape,
    )  # fmt: skip


def sample_truck(rng: np.random.Generator, pose: Pose, *, towards: bool) -> Vehicle:
    """A lorry with a box or a flat bed."""
    return Vehicle(
        kind=Kind.TRUCK, pose=pose, width=2.4, length=rng.uniform(6.5, 9.0), height=rng.uniform(3.0, 3.7),
        body=paint(rng), towards=towards, shape="truck",
    )  # fmt: skip


def sample_bus(rng: np.random.Generator, pose: Pose, *, towards: bool) -> Vehicle:
    """A city bus."""
    return Vehicle(
        kind=Kind.BUS, pose=pose, width=2.5, length=rng.uniform(9.5, 12.0), height=rng.uniform(3.0, 3.3),
        body=paint(rng), towards=towards, shape="bus",
    )  # fmt: skip


def draw_vehicle(canvas: Canvas, vehicle: Vehicle, rng: np.random.Generator) -> None:
    """Shadow, wheels and body."""
    pose, half, length = vehicle.pose, 0.5 * vehicle.width, vehicle.length
    across = abs(cos(pose.yaw)) * half + abs(sin(pose.yaw)) * 0.5 * length
    along = abs(sin(pose.yaw)) * half + abs(cos(pose.yaw)) * 0.5 * length
    canvas.stand(pose.world(0, 0, 0.5 * length), across, along, 0.75 * vehicle.height)
    draw = {"truck": _truck, "bus": _bus}.get(vehicle.shape, _car)
    draw(canvas, vehicle, rng)


def _wheels(canvas: Canvas, vehicle: Vehicle, radius: float, axles: tuple[float, ...]) -> None:
    """Discs on the side that is seen, treads below the near end."""
    half, pose = 0.5 * vehicle.width, vehicle.pose
    middle = pose.world(0, 0, 0.5 * vehicle.length)
    camera_x = -(cos(pose.yaw) * middle.x - sin(pose.yaw) * middle.z)
    side = half + 0.01 if camera_x > 0 else -half - 0.01
    tyre = canvas.surface(vehicle.kind, TYRE, depth=middle.z)
    hub = canvas.surface(vehicle.kind, HUB, depth=middle.z)
    for x in (-half + 0.02, half - 0.24):
        canvas.face(tyre, [pose.world(x + dx, y, 0.2) for dx, y in ((0, 0), (0.22, 0), (0.22, 0.5), (0, 0.5))])
    for axle in axles:
        for ink, size in ((tyre, radius), (hub, 0.55 * radius)):
            angles = [2 * pi * step / 10 for step in range(10)]
            z = axle * vehicle.length
            canvas.face(ink, [pose.world(side, radius + size * sin(a), z + size * cos(a)) for a in angles])


def _car(canvas: Canvas, car: Vehicle, rng: np.random.Generator) -> None:
    half, length, high = 0.5 * car.width, car.length, car.height
    belt = 0.6 * high if car.shape != "van" else 0.52 * high
    bonnet = {"saloon": 0.25, "hatch": 0.24, "estate": 0.25, "van": 0.12}[car.shape] * length
    boot = {"saloon": 0.17, "hatch": 0.03, "estate": 0.02, "van": 0.01}[car.shape] * length
    near, far = (bonnet, boot) if car.towards else (boot, bonnet)
    rake_near, rake_far = (0.5, 0.3) if car.towards else (0.3, 0.5)
    rake_near, rake_far = (min(rake, 0.35 * high) for rake in (rake_near, rake_far))
    sill = Box(car.pose, (-half, half, 0.05, length - 0.05), (-half, half, 0, length), 0.17, 0.38)
    lower = Box(car.pose, (-half, half, 0, length), (-half * 0.96, half * 0.96, 0.06, length - 0.06), 0.36, belt)
    base = (-half * 0.93, half * 0.93, near, length - far)
    top = (-half * 0.76, half * 0.76, near + rake_near, length - far - rake_far)
    cabin = Box(car.pose, base, top, belt, high)
    sill.draw(canvas, car.kind, car.body.shaded(0.6) if rng.random() < 0.5 else BUMPER)
    end = lower.draw(canvas, car.kind, car.body)
    _wheels(canvas, car, 0.32, (0.19, 0.8))
    faces = cabin.draw(canvas, car.kind, car.body)
    pane = glass(rng)
    for name, face in faces.items():
        if name in ("back", "front"):
            paint_patch(canvas, car.kind, pane, face, face.patch(0.08, 0.1, 0.92, 0.9))
            paint_patch(canvas, car.kind, pane.shaded(1.6), face, face.patch(0.1, 0.55, 0.5, 0.88))
        elif name in ("left", "right"):
            paint_patch(canvas, car.kind, pane, face, face.patch(0.06, 0.12, 0.46, 0.88))
            paint_patch(canvas, car.kind, pane, face, face.patch(0.52, 0.12, 0.93, 0.88))
    if (name := "back") in end:
        _car_end(canvas, car, end[name], rng)


def _car_end(canvas: Canvas, car: Vehicle, face: Face, rng: np.random.Generator) -> None:
    """Lights, plate and bumper at the near end."""
    lamp = HEAD if car.towards else TAIL
    wide, low = rng.uniform(0.16, 0.26), rng.uniform(0.5, 0.62)
    for left in (0.03, 0.97 - wide):
        paint_patch(canvas, car.kind, lamp, face, face.patch(left, low, left + wide, low + 0.3))
    if car.towards:
        paint_patch(canvas, car.kind, BUMPER, face, face.patch(0.27, 0.42, 0.73, 0.78))
    paint_patch(canvas, car.kind, PLATE, face, face.patch(0.36, 0.18, 0.64, 0.36))
    paint_patch(canvas, car.kind, car.body.shaded(0.7), face, face.patch(0.0, 0.0, 1.0, 0.12))


def _truck(canvas: Canvas, truck: Vehicle, rng: np.random.Generator) -> None:
    half, length, high, pose = 0.5 * truck.width, truck.length, truck.height, truck.pose
    cab = 1.9
    load = paint(rng)
    chassis = Box(
        pose, (-half * 0.8, half * 0.8, 0.1, length - 0.1), (-half * 0.8, half * 0.8, 0.1, length - 0.1), 0.45, 0.95
    )
    z_cab, z_load = (
        ((0, cab), (cab + 0.2, length)) if truck.towards else ((length - cab, length), (0, length - cab - 0.2))
    )
    driver = Box(
        pose, (-half * 0.95, half * 0.95, *z_cab), (-half * 0.9, half * 0.9, z_cab[0] + 0.1, z_cab[1] - 0.1), 0.5, 2.7
    )
    box = Box(pose, (-half, half, *z_load), (-half, half, *z_load), 0.95, high)

    def draw_cab() -> None:
        faces = driver.draw(canvas, truck.kind, truck.body)
        pane = glass(rng)
        if truck.towards and "back" in faces:
            face = faces["back"]
            paint_patch(canvas, truck.kind, pane, face, face.patch(0.08, 0.5, 0.92, 0.9))
            paint_patch(canvas, truck.kind, BUMPER, face, face.patch(0.0, 0.0, 1.0, 0.16))
            paint_patch(canvas, truck.kind, BUMPER, face, face.patch(0.25, 0.2, 0.75, 0.42))
            for left in (0.05, 0.78):
                paint_patch(canvas, truck.kind, HEAD, face, face.patch(left, 0.16, left + 0.17, 0.28))
        for name in {"left", "right"} & set(faces):
            paint_patch(canvas, truck.kind, pane, faces[name], faces[name].patch(0.2, 0.52, 0.8, 0.88))

    def draw_load() -> None:
        for name, face in box.draw(canvas, truck.kind, load).items():
            if name == "back" and not truck.towards:
                paint_patch(canvas, truck.kind, load.shaded(0.82), face, face.patch(0.06, 0.05, 0.49, 0.95))
                paint_patch(canvas, truck.kind, load.shaded(0.88), face, face.patch(0.51, 0.05, 0.94, 0.95))
            elif name in ("left", "right"):
                paint_patch(canvas, truck.kind, load.shaded(0.9), face, face.patch(0.0, 0.0, 1.0, 0.06))
                if truck.width and rng.random() < 0.6:
                    paint_patch(canvas, truck.kind, paint(rng), face, face.patch(0.2, 0.35, 0.8, 0.65))

    for name, face in chassis.draw(canvas, truck.kind, BUMPER).items():
        if name == "back" and not truck.towards:
            for left in (0.0, 0.82):
                paint_patch(canvas, truck.kind, TAIL, face, face.patch(left, 0.3, left + 0.18, 0.7))
            paint_patch(canvas, truck.kind, PLATE, face, face.patch(0.4, 0.2, 0.6, 0.6))
    _wheels(canvas, truck, 0.48, (0.16, 0.7, 0.84))
    for draw in (draw_load, draw_cab) if truck.towards else (draw_cab, draw_load):
        draw()


def _bus(canvas: Canvas, bus: Vehicle, rng: np.random.Generator) -> None:
    half, length, high = 0.5 * bus.width, bus.length, bus.height
    body = Box(bus.pose, (-half, half, 0, length), (-half * 0.97, half * 0.97, 0.05, length - 0.05), 0.3, high)
    stripe, pane = paint(rng), glass(rng)
    for name, face in body.draw(canvas, bus.kind, bus.body).items():
        if name in ("left", "right"):
            paint_patch(canvas, bus.kind, stripe, face, face.patch(0.0, 0.14, 1.0, 0.28))
            for window in range(7):
                left = 0.03 + window * 0.137
                paint_patch(canvas, bus.kind, pane, face, face.patch(left, 0.42, left + 0.12, 0.84))
        elif name == "back":
            paint_patch(canvas, bus.kind, pane, face, face.patch(0.06, 0.34 if bus.towards else 0.5, 0.94, 0.8))
            sign = Material((0.12, 0.1, 0.05)) if rng.random() < 0.6 else stripe
            paint_patch(canvas, bus.kind, sign, face, face.patch(0.15, 0.84, 0.85, 0.95))
            paint_patch(canvas, bus.kind, stripe, face, face.patch(0.0, 0.0, 1.0, 0.1))
            for left in (0.04, 0.82):
                lamp = HEAD if bus.towards else TAIL
                paint_patch(canvas, bus.kind, lamp, face, face.patch(left, 0.14, left + 0.14, 0.22))
            paint_patch(canvas, bus.kind, PLATE, face, face.patch(0.4, 0.11, 0.6, 0.17))
    _wheels(canvas, bus, 0.45, (0.2, 0.74))
