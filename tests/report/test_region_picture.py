"""Regions on the photograph: tinted, framed and named, at any size, with no letter outside of the picture."""

import numpy as np
import pytest

from abet.errors import DataError
from abet.regions import find_regions
from abet.report.region_picture import FRAME_INSIDE, FRAME_OUTSIDE, TINT, TINT_OPACITY, draw_regions, plates

SIZES = [(128, 256), (1024, 2048)]


def region(box: tuple[int, int, int, int], mean: float | None = -7.276649) -> dict[str, object]:
    return {"box": list(box), "mean_score": mean}


@pytest.mark.parametrize("size", SIZES)
def test_flagged_pixels_are_tinted_and_no_others_on_a_copy(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture, mask = rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.random(size) < 0.3
    before = picture.copy()
    drawn = draw_regions(picture, mask, [])
    assert np.array_equal(picture, before)
    assert np.array_equal(drawn[~mask], picture[~mask])
    blended = (1 - TINT_OPACITY) * picture[mask] + TINT_OPACITY * np.array(TINT)
    assert np.abs(drawn[mask] - blended).max() <= 0.5 + 1e-3
    with pytest.raises(DataError, match="differ in size"):
        draw_regions(picture, mask[1:], [])


@pytest.mark.parametrize(("size", "line"), [((128, 256), 1), ((1024, 2048), 3)])
def test_a_frame_is_within_its_box_and_its_lines_grow_with_the_picture(size: tuple[int, int], line: int) -> None:
    height, width = size
    x0, y0, x1, y1 = box = (width // 4, height // 2, width // 2, height - height // 8)
    drawn = draw_regions(np.full((*size, 3), 77, np.uint8), np.zeros(size, bool), [region(box)])
    row = drawn[(y0 + y1) // 2]
    for colour, start in ((FRAME_OUTSIDE, 0), (FRAME_INSIDE, line)):
        assert (row[x0 + start : x0 + start + line] == colour).all()
        assert (row[x1 - start - line : x1 - start] == colour).all()
    assert (row[:x0] == 77).all()
    assert (row[x1:] == 77).all()
    assert (row[x0 + 2 * line : x1 - 2 * line] == 77).all()


@pytest.mark.parametrize(("size", "lowest", "highest"), [((128, 256), 7, 10), ((1024, 2048), 20, 26)])
def test_digits_are_high_enough_to_be_read_and_grow_with_the_picture(
    size: tuple[int, int], lowest: int, highest: int
) -> None:
    box = (size[1] // 4, size[0] // 2, size[1] // 2, size[0] // 2 + 20)
    drawn = draw_regions(np.zeros((*size, 3), np.uint8), np.zeros(size, bool), [region(box, 8.88)])
    rows = np.flatnonzero((drawn > 128).all(axis=2).any(axis=1))
    assert lowest <= rows[-1] - rows[0] + 1 <= highest


def test_the_text_is_the_number_in_the_list_and_the_mean_score() -> None:
    boxes = [(10, 40, 60, 60), (100, 40, 150, 60), (180, 40, 220, 60)]
    regions = [region(box, mean) for box, mean in zip(boxes, (-7.0049, 1234.5, None), strict=True)]
    assert [plate.text for plate in plates(128, 256, regions)] == ["1: -7.00", "2: 1.23e+03", "3: not finite"]


def inked(size: tuple[int, int], regions: list[dict[str, object]]) -> np.ndarray:
    """Where letters are: the picture and the mask are all of one colour."""
    drawn = draw_regions(np.full((*size, 3), 90, np.uint8), np.zeros(size, bool), regions)
    grey = (drawn[..., 0] == drawn[..., 1]) & (drawn[..., 1] == drawn[..., 2])
    return np.asarray(grey & (drawn[..., 0] > 90))


@pytest.mark.parametrize("size", [*SIZES, (70, 90)])
def test_texts_are_whole_at_every_edge(size: tuple[int, int]) -> None:
    """A text has as many inked pixels in a corner as in the middle: nothing of it is cut off."""
    height, width = size
    middle = region((width // 3, height // 3, width // 3 + 5, height // 3 + 5))
    whole = inked(size, [middle]).sum()
    assert whole > 0
    for x, y in ((0, 0), (width - 5, 0), (0, height - 5), (width - 5, height - 5)):
        assert inked(size, [region((x, y, x + 5, y + 5))]).sum() == whole


def test_a_box_of_the_whole_picture_has_its_text_within() -> None:
    assert inked((128, 256), [region((0, 0, 256, 128))]).any()


@pytest.mark.parametrize(("size", "texts"), [((40, 30), ["1"]), ((5, 5), [])])
def test_in_a_picture_too_small_for_the_score_the_number_stands_alone(size: tuple[int, int], texts: list[str]) -> None:
    found = [region((1, 1, 4, 4))]
    assert [plate.text for plate in plates(*size, found)] == texts
    draw_regions(np.zeros((*size, 3), np.uint8), np.ones(size, bool), found)


def test_texts_do_not_cover_each_other_while_there_is_room() -> None:
    crowd = [region((100 + 6 * n, 60, 105 + 6 * n, 66)) for n in range(5)]
    placed = plates(128, 256, crowd)
    assert [plate.text.partition(":")[0] for plate in placed] == [str(n) for n in range(1, 6)]
    painted = np.zeros((128, 256), int)
    for plate in placed:
        painted[plate.top : plate.top + plate.height, plate.left : plate.left + plate.width] += 1
    assert painted.max() == 1


def test_any_number_of_any_regions_stays_within_the_picture() -> None:
    rng = np.random.default_rng(1)
    for size in ((33, 47), (128, 256), (300, 90)):
        mask = rng.random(size) < 0.2
        found = find_regions(rng.normal(size=size).astype(np.float32), mask, minimum_pixels=2)
        assert len(found) > 20
        for plate in plates(*size, found):
            assert 0 <= plate.left <= plate.left + plate.width <= size[1]
            assert 0 <= plate.top <= plate.top + plate.height <= size[0]
        assert draw_regions(np.zeros((*size, 3), np.uint8), mask, found).shape == (*size, 3)
