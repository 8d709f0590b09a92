"""The matrix figure: what is cropped, what is red, and that no row ever moves."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from abet.errors import DataError, UsageError
from abet.labels import ID, OOD, VOID
from abet.report import matrix
from abet.report.matrix import (
    Box,
    MatrixColumn,
    MatrixRow,
    caption,
    check_figure_path,
    crop_box,
    excess,
    mark_overlay,
    mark_reference,
    matrix_columns,
    row_from_samples,
    write_matrix,
)
from abet.report.runs import load_run
from tests.report.fake_runs import edit_metrics, make_run


def label_with(height: int, width: int, *, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """In-distribution but for a rectangle of OOD, bounds inclusive."""
    label = np.full((height, width), ID, np.uint8)
    label[top : bottom + 1, left : right + 1] = OOD
    return label


def row(label: np.ndarray, *scores: np.ndarray, name: str = "a.png", cropped: bool = False) -> MatrixRow:
    image = np.full((*label.shape, 3), 120, np.uint8)
    return MatrixRow(name=name, image=image, label=label, scores=scores, cropped=cropped)


def column(threshold: float = 0.0, title: str = "model", score: str = "abet") -> MatrixColumn:
    return MatrixColumn(title=title, score=score, threshold=threshold)


class TestCrop:
    def test_a_wide_object_is_heightened_to_16_to_9_about_its_centre(self):
        label = label_with(1024, 2048, top=500, bottom=519, left=900, right=1139)
        box = crop_box(label)  # 240 + 80 wide, so 180 high
        assert box == Box(top=510 - 90, bottom=510 + 90, left=860, right=1180)

    def test_a_tall_object_is_widened_to_16_to_9_about_its_centre(self):
        label = label_with(1024, 2048, top=400, bottom=499, left=1000, right=1009)
        box = crop_box(label)  # 100 + 80 high, so 320 wide
        assert box == Box(top=360, bottom=540, left=1005 - 160, right=1005 + 160)

    def test_at_the_border_the_crop_moves_inside_and_keeps_its_size(self):
        """The reference's crop started at a negative index here, and came out empty or wrapped around."""
        label = label_with(1024, 2048, top=900, bottom=999, left=3, right=12)
        assert crop_box(label) == Box(top=1024 - 180, bottom=1024, left=0, right=320)

    def test_what_does_not_fit_is_the_whole_side(self):
        label = label_with(100, 2048, top=0, bottom=99, left=1000, right=1010)
        box = crop_box(label)
        assert (box.top, box.bottom) == (0, 100)
        assert box.right - box.left == 320

    def test_without_ood_the_whole_image_is_shown(self):
        assert crop_box(np.full((30, 50), ID, np.uint8)) == Box(0, 30, 0, 50)

    @given(st.data())
    @settings(deadline=None)
    def test_always_inside_never_empty_and_containing_every_ood_pixel(self, data: st.DataObject):
        height, width = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
        rows = sorted(data.draw(st.tuples(*[st.integers(0, height - 1)] * 2)))
        columns = sorted(data.draw(st.tuples(*[st.integers(0, width - 1)] * 2)))
        label = label_with(height, width, top=rows[0], bottom=rows[1], left=columns[0], right=columns[1])
        box = crop_box(label, margin=data.draw(st.integers(0, 60)))
        assert 0 <= box.top < box.bottom <= height
        assert 0 <= box.left < box.right <= width
        assert (label[box.top : box.bottom, box.left : box.right] == OOD).sum() == (label == OOD).sum()

    @given(st.integers(100, 300), st.integers(100, 400), st.integers(0, 40), st.integers(0, 40))
    @settings(deadline=None)
    def test_far_from_borders_it_is_the_naive_window(self, top: int, left: int, extra_rows: int, extra_columns: int):
        label = label_with(700, 900, top=top, bottom=top + extra_rows, left=left, right=left + extra_columns)
        box = crop_box(label, margin=10)
        height, width = extra_rows + 21, extra_columns + 21
        height = max(height, round(width * 9 / 16))
        assert box.bottom - box.top == height
        assert box.right - box.left == max(width, round(height * 16 / 9))
        assert abs((box.top + box.bottom) / 2 - (top + (extra_rows + 1) / 2)) <= 0.5
        assert abs((box.left + box.right) / 2 - (left + (extra_columns + 1) / 2)) <= 0.5


class TestExcess:
    def test_is_what_lies_above_the_threshold_over_the_image_maximum(self):
        score = np.array([[1.0, 2.0, 3.0, 6.0]], np.float32)
        assert excess(score, 2.0, np.ones((1, 4), bool)).tolist() == [[0, 0, 0.25, 1]]

    def test_void_pixels_do_not_set_the_scale(self):
        score = np.array([[1.0, 3.0, 100.0]], np.float32)
        assert excess(score, 1.0, np.array([[True, True, False]])).tolist() == [[0, 1, 1]]

    def test_a_model_that_flags_nothing_shows_nothing(self):
        assert not excess(np.array([[1.0, 2.0]], np.float32), 5.0, np.ones((1, 2), bool)).any()

    def test_nan_and_infinity_are_full_and_leave_the_scale_alone(self):
        score = np.array([[np.nan, np.inf, -np.inf, 1.0, 2.0, 3.0]], np.float32)
        assert excess(score, 1.0, np.ones((1, 6), bool)).tolist() == [[1, 1, 0, 0, 0.5, 1]]

    def test_an_image_without_valid_pixel_is_fine(self):
        assert excess(np.ones((2, 2), np.float32), 0.0, np.zeros((2, 2), bool)).shape == (2, 2)


def test_reference_style_replaces_the_red_channel_alone():
    image = np.array([[[10, 20, 30], [40, 50, 60], [70, 80, 90]]], np.uint8)
    marked = mark_reference(image, np.array([[ID, OOD, VOID]], np.uint8), np.array([[0.0, 0.5, 1.0]]))
    assert marked[0].tolist() == [[0, 20, 30], [128, 50, 60], [0, 0, 0]]
    assert image[0, 0, 0] == 10, "the argument stays as it was"


def test_overlay_style_is_grey_where_nothing_exceeds_and_darkens_towards_red():
    image = np.full((1, 4, 3), 200, np.uint8)
    label = np.array([[ID, ID, OOD, VOID]], np.uint8)
    flagged = np.array([[False, True, True, True]])
    marked = mark_overlay(image, label, np.array([[0.0, 0.0, 1.0, 1.0]]), flagged).astype(int)
    assert len(set(marked[0, 0])) == 1
    assert tuple(marked[0, 2]) == matrix.RED
    assert tuple(marked[0, 3]) == (0, 0, 0)
    lightness = marked[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert lightness[0] > lightness[1] + 10 > lightness[2] + 20


@pytest.mark.parametrize(
    ("scores", "red"),
    [
        ([1.0, 2.0, 3.0], [False, True, True]),  # 2 just reaches the threshold: counted by FPR95 and shown
        ([1.0, 2.0, 1.0], [False, True, False]),
        ([5.0, 5.0, 5.0], [True, True, True]),  # all exceed it alike: no scale, and yet not nothing
        ([3.0, 4.0, np.nan], [True, True, True]),
        ([1.0, 1.5, -np.inf], [False, False, False]),
    ],
)
def test_every_pixel_that_reaches_the_threshold_is_red_and_no_other(scores: list[float], red: list[bool]):
    score = np.array([scores], np.float32)
    drawn = matrix._pictures(row(np.full((1, 3), ID, np.uint8), score), [column(2.0)], "overlay")[1].astype(int)
    assert (drawn[0, :, 0] > drawn[0, :, 1] + 20).tolist() == red


def test_the_heading_names_the_rule_by_which_pixels_are_red():
    assert matrix._heading(column(0.125, "model", "abet")) == "model\nabet ≥ 0.125"


def test_an_image_with_few_ood_pixels_says_so():
    few = label_with(20, 20, top=0, bottom=6, left=0, right=6)
    assert caption(row(few)) == "a.png (only 49 OOD pixels)"
    few[10, 10] = OOD
    assert caption(row(few)) == "a.png"


def test_pixels_of_the_figure_are_where_row_and_column_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Column 2 flags the left half of row 1 only; the row with few OOD pixels stays in its place."""
    drawn: list[list[np.ndarray]] = []
    draw = matrix._draw
    monkeypatch.setattr(matrix, "_draw", lambda rows, *rest: drawn.extend(map(list, rows)) or draw(rows, *rest))
    label = label_with(40, 60, top=5, bottom=14, left=5, right=14)
    empty = np.full((40, 60), ID, np.uint8)
    low, left = np.zeros((40, 60), np.float32), np.zeros((40, 60), np.float32)
    left[:, :30] = 9
    write_matrix(
        [row(empty, low, low, name="none"), row(label, low, left, name="object")],
        [column(1, "first"), column(2, "second")],
        tmp_path / "m.png",
    )
    red = [[(picture == matrix.RED).all(axis=2) for picture in pictures[1:]] for pictures in drawn]
    assert [[mask.any() for mask in masks] for masks in red] == [[False, False], [False, True]]
    assert np.array_equal(red[1][1], left > 2)
    width, height = Image.open(tmp_path / "m.png").size
    assert width > 3 * 600
    assert height > 2 * 400


def test_cropped_rows_show_the_crop_in_every_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shapes: set[tuple[int, ...]] = set()
    draw = matrix._draw
    monkeypatch.setattr(
        matrix, "_draw", lambda rows, *rest: shapes.update(p.shape for r in rows for p in r) or draw(rows, *rest)
    )
    label = label_with(300, 600, top=100, bottom=119, left=200, right=219)
    score = np.zeros(label.shape, np.float32)
    write_matrix([row(label, score, cropped=True)], [column()], tmp_path / "m.png")
    assert shapes == {(100, 178, 3)}


def test_same_input_gives_the_same_bytes_and_titles_are_never_formulas(tmp_path: Path):
    label = label_with(40, 60, top=5, bottom=14, left=5, right=14)
    rows = [row(label, np.zeros(label.shape, np.float32), name="$\\frac{1$.png")]
    columns = [column(title="run_$x^$ " * 20)]
    for name in ("a.png", "b.png", "a.pdf", "b.pdf"):
        write_matrix(rows, columns, tmp_path / "made" / name)
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"made/a.{suffix}").read_bytes() == (tmp_path / f"made/b.{suffix}").read_bytes()
    assert (tmp_path / "made/a.pdf").read_bytes().startswith(b"%PDF")


def test_bad_arguments_name_the_remedy(tmp_path: Path):
    label = np.full((4, 6), ID, np.uint8)
    score = np.zeros((4, 6), np.float32)
    with pytest.raises(UsageError, match="at least one image"):
        write_matrix([], [column()], tmp_path / "m.png")
    with pytest.raises(UsageError, match=r"\.png or \.pdf"):
        write_matrix([row(label, score)], [column()], tmp_path / "m.jpg")
    with pytest.raises(DataError, match=r"a\.png: model abet is \(2, 6\)"):
        write_matrix([row(label, score[:2])], [column()], tmp_path / "m.png")
    with pytest.raises(DataError, match="2 score maps for 1 columns"):
        write_matrix([row(label, score, score)], [column()], tmp_path / "m.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["m.gif", "m", "m.png.txt"])
def test_the_ending_is_refused_before_any_work(name: str):
    with pytest.raises(UsageError, match=r"\.png or \.pdf"):
        check_figure_path(Path(name))
    check_figure_path(Path("M.PNG"))


class TestColumns:
    def test_each_run_shows_abet_or_else_entropy_with_its_own_threshold(self, tmp_path: Path):
        runs = [load_run(make_run(tmp_path / "a")), load_run(make_run(tmp_path / "b", scores=("msp", "entropy")))]
        found = matrix_columns(runs, "road_anomaly")
        assert [(run, column.score) for run, column in found] == [(runs[0], "abet"), (runs[1], "entropy")]
        for run, chosen in found:
            scores = run.datasets["road_anomaly"].metrics.scores
            assert chosen.threshold == scores[chosen.score].threshold

    def test_named_scores_make_a_column_per_run_and_score(self, tmp_path: Path):
        runs = [load_run(make_run(tmp_path / name)) for name in ("a", "b")]
        found = matrix_columns(runs, "road_anomaly", ["msp", "abet"])
        assert [(run.path.name, column.score) for run, column in found] == [
            ("a", "msp"), ("a", "abet"), ("b", "msp"), ("b", "abet"),
        ]  # fmt: skip

    def test_a_score_that_one_head_does_not_define_is_left_out_for_it_alone(self, tmp_path: Path):
        paths = [make_run(tmp_path / name) for name in ("a", "b")]
        empty = {"auroc": None, "ap": None, "fpr95": None, "non_finite": None, "reference_protocol": None}
        edit_metrics(paths[1], lambda metrics: metrics["scores"].update(abet={**empty, "reason": "no cosine"}))
        runs = [load_run(path) for path in paths]
        assert [column.score for _, column in matrix_columns(runs, "road_anomaly")] == ["abet", "entropy"]
        found = matrix_columns(runs, "road_anomaly", ["abet", "msp"])
        assert [column.score for _, column in found] == ["abet", "msp", "msp"]
        with pytest.raises(DataError, match="none of abet has a 95% threshold"):
            matrix_columns(runs[1:], "road_anomaly", ["abet"])
        for run in paths:
            edit_metrics(run, lambda metrics: metrics["scores"].update(abet={**empty, "reason": "no cosine"}))
        with pytest.raises(DataError, match="choose other --scores"):
            matrix_columns([load_run(path) for path in paths], "road_anomaly", ["abet", "msp"])

    def test_unknown_names_list_the_choices(self, tmp_path: Path):
        runs = [load_run(make_run(tmp_path / "a"))]
        with pytest.raises(UsageError, match="did you mean 'road_anomaly'"):
            matrix_columns(runs, "road_anomoly")
        with pytest.raises(UsageError, match="did you mean 'entropy'"):
            matrix_columns(runs, "road_anomaly", ["entrpy"])


class TestRows:
    def test_samples_of_one_image_make_a_row(self, tmp_path: Path):
        run = load_run(make_run(tmp_path / "a"))
        data = run.datasets["road_anomaly"]
        columns = [chosen for _, chosen in matrix_columns([run], "road_anomaly", ["msp", "abet"])]
        sample = data.sample("original/street00.jpg")
        made = row_from_samples("road_anomaly", [sample, sample], columns)
        assert not made.cropped
        assert row_from_samples("lost_and_found", [sample, sample], columns).cropped
        assert np.array_equal(made.scores[0], sample.scores["msp"])
        assert np.array_equal(made.scores[1], sample.scores["abet"])
        write_matrix([made], columns, tmp_path / "m.png")

    def test_samples_of_two_images_are_refused(self, tmp_path: Path):
        data = load_run(make_run(tmp_path / "a")).datasets["road_anomaly"]
        with pytest.raises(DataError, match="not one image"):
            row_from_samples("road_anomaly", [data.sample(name) for name in data.samples], [column(), column()])

    def test_a_sample_without_the_score_is_refused(self, tmp_path: Path):
        data = load_run(make_run(tmp_path / "a")).datasets["road_anomaly"]
        with pytest.raises(DataError, match="no score 'godin'"):
            row_from_samples("road_anomaly", [data.sample("original/street00.jpg")], [column(score="godin")])


def test_void_is_black_in_every_column(tmp_path: Path):
    label = np.full((4, 6), VOID, np.uint8)
    pictures = matrix._pictures(row(label, np.ones((4, 6), np.float32)), [column()], "overlay")
    assert not np.array(pictures).any()
