"""Single pictures: image and label of one raster, unseen objects in OOD scenes alone."""

from dataclasses import replace

import numpy as np
import pytest

from abet.data.synthetic import unseen
from abet.data.synthetic.camera import Camera, World
from abet.data.synthetic.canvas import Canvas
from abet.data.synthetic.kinds import Kind
from abet.data.synthetic.light import sample_light
from abet.data.synthetic.materials import BORROWED
from abet.data.synthetic.scene import SEEN_SHARE, render
from abet.data.synthetic.traffic import Theme
from abet.data.synthetic.unseen import UNSEEN, draw_unseen

OOD = Theme(unseen=("lane", "sidewalk"))


@pytest.mark.parametrize("size", [(64, 64), (64, 161), (97, 70), (160, 200)])
def test_a_picture_has_the_size_that_was_asked_for(size):
    picture = render([1], height=size[0], width=size[1], theme=Theme())
    assert picture.image.shape == (*size, 3)
    assert picture.kinds.shape == size
    assert picture.image.dtype == picture.kinds.dtype == np.uint8


def test_equal_seeds_give_equal_pictures_and_others_do_not():
    first, again, other = (render([seed, 5], height=64, width=128, theme=OOD) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.kinds, again.kinds)
    assert not np.array_equal(first.image, other.image)


def test_training_scenes_hold_a_whole_street_and_nothing_unseen(monkeypatch):
    def forbidden(*_args):
        raise AssertionError("a training scene draws an unseen object")

    monkeypatch.setattr(unseen, "sample_dress", forbidden)
    seen = set()
    for index in range(16):
        seen |= set(np.unique(render([0, index], height=64, width=128, theme=Theme()).kinds).tolist())
    wanted = set(Kind) - {Kind.UNSEEN, Kind.MANHOLE, Kind.WIRE, Kind.SIGN_BACK, Kind.STREET_LIGHT}
    assert wanted <= seen
    assert Kind.UNSEEN not in seen


def test_calm_scenes_hold_a_street_without_what_takes_long_to_learn():
    left_out = {Kind.TRUCK, Kind.BUS, Kind.RIDER, Kind.BICYCLE, Kind.FENCE, Kind.TRAFFIC_LIGHT}
    wanted = {Kind.ROAD, Kind.SIDEWALK, Kind.BUILDING, Kind.VEGETATION, Kind.SKY, Kind.POLE, Kind.SIGN, Kind.PERSON}
    for theme in (Theme(calm=True), replace(OOD, calm=True)):
        seen = set()
        for index in range(12):
            seen |= set(np.unique(render([0, index], height=64, width=128, theme=theme).kinds).tolist())
        assert not seen & left_out
        assert wanted | {Kind.CAR} <= seen
        assert (Kind.UNSEEN in seen) == bool(theme.unseen)


@pytest.mark.parametrize("theme", [OOD, replace(OOD, calm=True)], ids=["full", "calm"])
def test_every_ood_scene_shows_its_objects(theme):
    for index in range(6):
        kinds = render([7, index], height=64, width=128, theme=theme).kinds
        assert np.count_nonzero(kinds == Kind.UNSEEN) >= SEEN_SHARE * kinds.size


@pytest.mark.parametrize("name", UNSEEN)
@pytest.mark.parametrize("z", [5.0, 20.0])
def test_an_unseen_object_is_all_unseen_about_as_high_as_its_size_and_stands_on_the_ground(name, z):
    camera = Camera(width=512, height=256, focal=440.0, eye=1.6, column=256.0, horizon=100.0, roll=0.0)
    heights = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        canvas = Canvas(camera=camera, light=sample_light(rng, calm=False))
        draw_unseen(canvas, name, World(0.0, 0.0, z), 1.0, rng)
        kinds = np.array([surface.kind for surface in canvas.surfaces])
        seen = np.asarray(canvas.index) > 0
        assert set(kinds[np.asarray(canvas.index)[seen]].tolist()) == {Kind.UNSEEN}
        rows = np.flatnonzero(seen.any(axis=1))
        ground = camera.project(World(0.0, 0.0, z))[1]
        assert abs(rows[-1] - ground) < camera.pixels(0.45, z) + 2
        heights.append((ground - rows[0]) / camera.pixels(1.0, z))
    assert 0.3 < np.mean(heights) < 2.6


def test_unseen_objects_are_dressed_from_palettes_that_training_scenes_use(monkeypatch):
    """Every borrowed palette is one that a known class calls."""
    from abet.data.synthetic import buildings, furniture, ground, people, plants, vehicles

    known = {
        value
        for module in (buildings, furniture, ground, people, plants, vehicles)
        for value in vars(module).values()
        if callable(value)
    }
    assert {palette for palette, _ in BORROWED} <= known
