"""Maps into pictures, and scores into 16-bit files and back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from abet.errors import DataError
from abet.labels import CITYSCAPES, ID, OOD, VOID
from abet.report.render import (
    NAN_COLOUR,
    above,
    colour_ramp,
    decode_score_16bit,
    encode_score_16bit,
    heat_map,
    mask_picture,
    outline,
    overlay_classes,
    read_score_png,
    robust_range,
    tint_label,
    write_png,
    write_score_png,
)

SCORE_MAPS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(width=32)
)  # NaN and infinities included


def test_overlay_blends_each_pixel_with_the_colour_of_its_class():
    image = np.full((1, 2, 3), 100, np.uint8)
    picture = overlay_classes(image, np.array([[0, 13]], np.uint8), num_classes=19, opacity=0.25)
    for column, train_id in enumerate((0, 13)):
        expected = [round(0.75 * 100 + 0.25 * c) for c in CITYSCAPES[train_id].colour]
        assert picture[0, column].tolist() == expected


def test_overlay_without_opacity_is_the_image_and_in_full_the_classes():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    sky = np.full((4, 5), 10, np.uint8)
    assert np.array_equal(overlay_classes(image, sky, 19, opacity=0), image)
    assert (overlay_classes(image, sky, 19, opacity=1) == CITYSCAPES[10].colour).all()


def test_overlay_refuses_a_class_that_the_table_does_not_have():
    with pytest.raises(DataError, match="train id 19"):
        overlay_classes(np.zeros((1, 1, 3), np.uint8), np.array([[19]], np.uint8), num_classes=19)


def test_overlay_refuses_maps_of_different_size():
    with pytest.raises(DataError, match="differ in size"):
        overlay_classes(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8), num_classes=19)


def test_heat_map_runs_from_the_darkest_to_the_brightest_colour_and_clips_outside():
    ramp = colour_ramp().astype(int)
    picture = heat_map(np.array([[-9.0, 0.0, 1.0, 2.0, 9.0, np.inf, -np.inf]], np.float32), low=0.0, high=2.0)
    assert picture[0].tolist() == [ramp[i].tolist() for i in (0, 0, 128, 255, 255, 255, 0)]


def test_heat_map_lightness_grows_all_along():
    lightness = colour_ramp() @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -0.5).all()
    assert lightness[-1] - lightness[0] > 200


def test_heat_map_shows_nan_in_a_colour_of_its_own():
    picture = heat_map(np.array([[np.nan, 0.0, 1.0]], np.float32))
    assert tuple(picture[0, 0]) == NAN_COLOUR
    assert not (colour_ramp() == NAN_COLOUR).all(axis=1).any()


@pytest.mark.parametrize("value", [-8.0, np.nan, np.inf])
def test_heat_map_of_one_value_everywhere_is_a_picture(value: float):
    assert heat_map(np.full((2, 2), value, np.float32)).shape == (2, 2, 3)


def test_robust_range_ignores_outliers_and_non_finite_scores():
    score = np.concatenate([np.linspace(0, 1, 1001), [1e30, -1e30, np.nan, np.inf]]).astype(np.float32)
    low, high = robust_range(score)
    assert low == pytest.approx(0.01, abs=2e-3)
    assert high == pytest.approx(0.99, abs=2e-3)


def test_tint_shifts_ood_by_a_fifth_of_the_range_and_blackens_void():
    image = np.array([[[100, 100, 100], [250, 10, 100], [9, 9, 9]]], np.uint8)
    picture = tint_label(image, np.array([[ID, OOD, VOID]], np.uint8))
    assert picture[0].tolist() == [[100, 100, 100], [255, 0, 49], [0, 0, 0]]


def test_a_pixel_at_the_threshold_is_above_and_nan_is_above_everything():
    score = np.array([[0.9, 1.0, 1.1, np.nan, np.inf, -np.inf]], np.float32)
    mask = above(score, 1.0)
    assert mask[0].tolist() == [False, True, True, True, True, False]
    assert mask_picture(mask)[0].tolist() == [0, 255, 255, 255, 255, 0]


def test_outline_draws_both_sides_of_the_rim_and_nothing_else():
    mask = np.zeros((7, 7), bool)
    mask[2:5, 2:5] = True
    drawn = (outline(np.zeros((7, 7, 3), np.uint8), mask, (1, 2, 3)) == (1, 2, 3)).all(axis=2)
    naive = np.zeros_like(mask)
    for y in range(7):
        for x in range(7):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            naive[y, x] = any(mask[y, x] != mask[b, a] for b, a in near if 0 <= b < 7 and 0 <= a < 7)
    assert np.array_equal(drawn, naive)
    assert drawn.sum() == 8 + 12


@given(SCORE_MAPS)
@example(np.array([[-(2.0**53)]], np.float32))
@example(np.array([[np.finfo(np.float32).max, -np.finfo(np.float32).max]], np.float32))
@example(1 + np.arange(9, dtype=np.float32)[None] * np.finfo(np.float32).eps)  # 9 neighbours: some lie on half a step
@settings(deadline=None)
def test_codes_return_the_scores_within_half_a_step_and_keep_what_is_not_finite(score: np.ndarray):
    codes, scale, offset = encode_score_16bit(score)
    back = decode_score_16bit(codes, scale, offset)
    finite = np.isfinite(score)
    assert codes.dtype == np.uint16
    assert np.array_equal(np.isnan(back), np.isnan(score))
    assert np.array_equal(back[np.isinf(score)], score[np.isinf(score)])
    exact = score[finite].astype(np.float64)
    largest = np.abs(exact).max(initial=0)
    bound = scale / 2 + 2.0**-49 * largest
    assert (np.abs(offset + scale * codes[finite].astype(np.float64) - exact) <= bound).all()
    rounding = 2.0**-23 * largest + 2.0**-149  # to float32, whose smallest step is 2^-149
    assert (np.abs(back[finite].astype(np.float64) - exact) <= bound + rounding).all()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_map_of_one_value_comes_back_exactly(value: float):
    score = np.full((2, 3), value, np.float32)
    assert np.array_equal(decode_score_16bit(*encode_score_16bit(score)), score)


@given(SCORE_MAPS)
@settings(deadline=None)
def test_codes_are_ordered_like_the_ranking(score: np.ndarray):
    codes = encode_score_16bit(score)[0].ravel().astype(int)
    rank = np.where(np.isnan(score.ravel()), np.inf, score.ravel())
    nan = np.isnan(score.ravel())
    order = np.lexsort((nan, rank))
    assert (np.diff(codes[order]) >= 0).all()


def test_score_png_holds_its_own_mapping(tmp_path: Path):
    score = np.random.default_rng(0).normal(-8, 2, (11, 7)).astype(np.float32)
    score[0, 0], score[0, 1] = np.nan, np.inf
    path = tmp_path / "made" / "a.score.png"
    write_score_png(path, score)
    with Image.open(path) as file:
        file.load()
        text = file.text
        value = np.array(file)
    assert value.dtype == np.uint16
    assert value.shape == (11, 7)
    # Anyone's own reader, by the words of score_mapping
    mapped = float(text["score_offset"]) + float(text["score_scale"]) * value[1:].astype(float)
    assert np.abs(mapped - score[1:]).max() <= float(text["score_scale"]) * 0.5000001
    back = read_score_png(path)
    assert back.dtype == np.float32
    assert np.array_equal(np.isfinite(back), np.isfinite(score))
    assert sorted(path.parent.iterdir()) == [path]


def test_another_png_is_no_score_map(tmp_path: Path):
    write_png(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    for name in ("a.png", "b.png", "absent.png"):
        with pytest.raises(DataError, match=name):
            read_score_png(tmp_path / name)


def test_png_round_trip(tmp_path: Path):
    picture = np.random.default_rng(1).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), picture)
