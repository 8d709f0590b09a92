"""What needs no network: colours and positions, as rows of the table; and that the scenes are not won by them."""

import shutil

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from abet.cli.controls import register
from abet.component_pass import read_evaluated
from abet.controls import (
    COLOUR_BINS,
    GRID,
    PSEUDO_IMAGES,
    ColourDensity,
    PositionPrior,
    at_centres,
    blurred,
    cells,
    count_positions,
    evaluate_controls,
    fit_colours,
    interpolated,
    smoothed,
)
from abet.data.index import open_dataset
from abet.data.synthetic.synthesize import Plan, synthesize
from abet.errors import DataError, UsageError
from abet.files import read_json, write_json
from abet.labels import ID, OOD, VOID
from abet.metrics.pixel import PixelState
from abet.metrics.ranking import summarise
from abet.paired_models import read_counts
from abet.report.page import render_page
from abet.report.runs import load_run
from abet.run import evaluation_dir, open_run
from abet.site import SiteConfig
from tests.trees import make_lost_and_found, save

SIZES = [(48, 64), (70, 50), (96, 130)]


@pytest.fixture(scope="module", params=[pytest.param("full", marks=pytest.mark.faults), "calm"])
def variety(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("controls") / request.param
    counts = {"cityscapes/train": 12, "lost_and_found/test": 30, "road_anomaly/test": 10}
    synthesize(root, Plan(scenes=counts, seed=5, height=64, width=128, variety=request.param), workers=1)
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A few, for what does not depend on the pictures."""
    root = tmp_path_factory.mktemp("few") / "scenes"
    counts = {"cityscapes/train": 3, "road_anomaly/test": 2}
    synthesize(root, Plan(scenes=counts, height=64, width=64), workers=1)
    return root


def auroc(metrics, key):
    return metrics["scores"][key]["auroc"]["value"]


@pytest.mark.faults
@pytest.mark.parametrize("name", ["lost_and_found", "road_anomaly"])
def test_synthetic_scenes_are_not_won_by_colour(variety, name, tmp_path):
    dataset, training = open_dataset(name, variety / name), open_dataset("cityscapes", variety / "cityscapes", "train")
    for source, run in ((training, tmp_path / "training"), (dataset, tmp_path / "own")):
        assert auroc(evaluate_controls(dataset, source, run), "colour_density") <= 0.80


def test_a_set_that_can_be_won_by_a_trick_is_found_out(tmp_path):
    """OOD is always brighter, and always in the same place."""
    for index in range(4):
        rng = np.random.default_rng(index)
        label = np.full((64, 96), ID, np.uint8)
        label[20:44, 30:60] = OOD
        image = rng.integers(60, 100, (64, 96, 3), dtype=np.uint8)
        image[label == OOD] += 120
        save(tmp_path / f"data/original/{index}.png", image)
        save(tmp_path / f"data/labels/{index}.png", label)
    dataset = open_dataset("road_anomaly", tmp_path / "data")
    metrics = evaluate_controls(dataset, dataset, tmp_path / "run")
    assert auroc(metrics, "colour_density") > 0.9
    assert auroc(metrics, "position_prior") > 0.9


def mixed_sizes(root):
    """Three images of different sizes, OOD at the same relative place in the first two."""
    rng = np.random.default_rng(0)
    for index, (height, width) in enumerate(SIZES):
        label = np.full((height, width), ID, np.uint8)
        if index < 2:
            label[height // 2 : 3 * height // 4, width // 4 : width // 2] = OOD
        else:
            label[:4, :4] = OOD
        label[-3:] = VOID
        save(root / f"original/{index}.png", rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        save(root / f"labels/{index}.png", label)
    return open_dataset("road_anomaly", root)


def test_repetition_gives_the_same_bytes_for_images_of_mixed_sizes(tmp_path):
    dataset = mixed_sizes(tmp_path / "data")
    contents = []
    for run in (tmp_path / "first", tmp_path / "second", tmp_path / "first"):
        evaluate_controls(dataset, dataset, run)
        folder = evaluation_dir(run, "road_anomaly")
        contents.append([(folder / name).read_bytes() for name in ("metrics.json", "curves.json")])
    assert contents[0] == contents[1] == contents[2]


def test_the_figures_are_those_of_the_scores(tmp_path):
    dataset = mixed_sizes(tmp_path / "data")
    metrics = evaluate_controls(dataset, dataset, tmp_path / "run")
    density, prior = fit_colours(dataset), count_positions(dataset)
    pairs = [dataset.read(pair) for pair in dataset.pairs]
    labels = np.concatenate([label.ravel() for _, label in pairs])
    scores = {
        "colour_density": np.concatenate([density.score(image).ravel() for image, _ in pairs]),
        "position_prior": np.concatenate([prior.score(label).ravel() for _, label in pairs]),
    }
    for key, values in scores.items():
        assert metrics["scores"][key]["auroc"] == summarise(PixelState.count(values, labels))["auroc"]
        assert metrics["scores"][key]["reference_protocol"] is None
        assert metrics["scores"][key]["reference_protocol_reason"]
    assert metrics["pixels"] == {
        name: int((labels == v).sum()) for name, v in (("id", ID), ("ood", OOD), ("void", VOID))
    }


def test_the_report_shows_them_beside_other_runs(tmp_path):
    dataset = mixed_sizes(tmp_path / "data")
    evaluate_controls(dataset, dataset, tmp_path / "controls")
    page = render_page([load_run(tmp_path / "controls")])
    for text in ("colour_density", "position_prior", "controls (no network)"):
        assert text in page


def test_where_a_network_is_needed_they_are_told_from_models(tmp_path):
    dataset = mixed_sizes(tmp_path / "data")
    evaluate_controls(dataset, dataset, tmp_path / "controls")
    with pytest.raises(UsageError, match=r"controls, which have no network: they keep no counts .*`abet report`"):
        read_counts(tmp_path / "controls", "road_anomaly", SiteConfig())
    with pytest.raises(UsageError, match=r"controls, which have no network: there is nothing to evaluate again"):
        read_evaluated(tmp_path / "controls", "road_anomaly")


def test_smoothing_is_a_gaussian_that_keeps_the_sum_of_what_lies_inside():
    field = np.zeros((31, 29))
    field[15, 14] = 2.0
    result = smoothed(field, 1.5)
    rows, columns = np.mgrid[0:31, 0:29]
    expected = np.exp(-((rows - 15) ** 2 + (columns - 14) ** 2) / (2 * 1.5**2))
    assert result.sum() == pytest.approx(2.0)
    assert np.abs(result / result.max() - expected)[12:19, 11:18].max() < 1e-12
    assert smoothed(np.full((5, 7), 3.0), 2.0) == pytest.approx(3.0)


def test_colour_scores_are_interpolated_between_bin_centres():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(COLOUR_BINS,) * 3)
    density = ColourDensity(log_density=table)
    image = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    smooth, score = blurred(image), density.score(image)
    for row, column in ((0, 0), (4, 5), (8, 10)):
        place = np.clip(smooth[row, column] * COLOUR_BINS / 256 - 0.5, 0, COLOUR_BINS - 1)
        naive = 0.0
        for corner in np.ndindex(2, 2, 2):
            low = np.minimum(np.floor(place).astype(int), COLOUR_BINS - 2)
            weights = [share if up else 1 - share for share, up in zip(place - low, corner, strict=True)]
            naive += np.prod(weights) * table[tuple(low + corner)]
        assert score[row, column] == pytest.approx(-naive, rel=1e-6)


def test_common_colours_score_lower_than_rare_ones(tmp_path):
    image = np.full((40, 40, 3), 90, np.uint8)
    image[:, 30:] = (240, 40, 200)
    label = np.zeros((40, 40), np.uint8)
    label[:, 30:] = OOD
    save(tmp_path / "original/a.png", image)
    save(tmp_path / "labels/a.png", label)
    score = fit_colours(open_dataset("road_anomaly", tmp_path)).score(image)
    assert score[:, :28].max() < score[:, 32:].min()


def test_cells_are_shares_of_relative_places_at_any_size():
    mask = np.zeros((64, 96), bool)
    mask[32:] = True
    for factor in (1, 2, 3):
        large = mask.repeat(factor, 0).repeat(factor, 1)
        shares = cells(large)
        assert shares.shape == GRID
        assert np.all(shares[:8] == 0)
        assert np.all(shares[8:] == 1)
    odd = cells(np.ones((50, 33), bool))
    assert np.all(odd == 1)


def test_a_position_is_judged_by_the_other_images_alone():
    """The first image's own OOD pixels do not make their place suspicious; the second image's do."""
    here, there = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    here[8:16, 8:16], there[40:56, 40:56] = OOD, OOD
    prior = PositionPrior(
        id=sum(cells(label == ID) for label in (here, there)), ood=sum(cells(label == OOD) for label in (here, there))
    )
    score = prior.score(here)
    assert score[48, 48] > score[12, 12]
    assert score[12, 12] == pytest.approx(float(score[60, 4]), abs=1e-3)


def test_the_prior_is_the_smoothed_share_with_one_image_of_prior_weight():
    label = np.zeros((64, 64), np.uint8)
    other = np.full((64, 64), VOID, np.uint8)
    other[:32], other[32:] = ID, OOD
    counts = {value: cells(label == value) + cells(other == value) for value in (ID, OOD)}
    score = PositionPrior(id=counts[ID], ood=counts[OOD]).score(label)
    known, unknown = (smoothed(cells(other == value), 1.0) for value in (ID, OOD))
    share = (unknown + PSEUDO_IMAGES * 0.5) / (known + unknown + PSEUDO_IMAGES)
    assert np.allclose(score, interpolated(np.log(share), (64, 64)), atol=1e-5)


def test_training_sets_are_not_scored_and_empty_ones_teach_nothing(scenes, tmp_path):
    training = open_dataset("cityscapes", scenes / "cityscapes", "train")
    with pytest.raises(UsageError, match="no OOD labels"):
        evaluate_controls(training, training, tmp_path / "run")
    save(tmp_path / "void/original/a.png", np.zeros((8, 8, 3), np.uint8))
    save(tmp_path / "void/labels/a.png", np.full((8, 8), VOID, np.uint8))
    empty = open_dataset("road_anomaly", tmp_path / "void")
    with pytest.raises(DataError, match="no valid pixel"):
        evaluate_controls(empty, empty, tmp_path / "other")


def test_a_run_of_other_training_images_is_refused(scenes, tmp_path):
    dataset = mixed_sizes(tmp_path / "data")
    training = open_dataset("cityscapes", scenes / "cityscapes", "train")
    evaluate_controls(dataset, training.select(limit=2), tmp_path / "run")
    with pytest.raises(UsageError, match="another checkpoint"):
        evaluate_controls(dataset, training.select(limit=3), tmp_path / "run")


def test_a_run_of_other_evaluated_images_is_refused(tmp_path):
    dataset = mixed_sizes(tmp_path / "data")
    evaluate_controls(dataset, dataset, tmp_path / "run")
    before = (evaluation_dir(tmp_path / "run", "road_anomaly") / "metrics.json").read_bytes()
    with pytest.raises(UsageError, match=r"the controls of other images \(test, 3 images there; test, 2 here\)"):
        evaluate_controls(dataset.select(limit=2), dataset, tmp_path / "run")
    assert (evaluation_dir(tmp_path / "run", "road_anomaly") / "metrics.json").read_bytes() == before


def test_the_run_of_a_network_is_refused_evaluated_or_not(tmp_path):
    """Trained alone it would take the controls for its own evaluation; evaluated it says whose it is."""
    dataset = mixed_sizes(tmp_path / "data")
    (tmp_path / "trained/checkpoints").mkdir(parents=True)
    write_json(tmp_path / "begun/owner.json", {})
    for run in (tmp_path / "trained", tmp_path / "begun"):
        before = sorted(run.rglob("*"))
        with pytest.raises(UsageError, match=f"{run.name} is the run of a network: .*another --output"):
            evaluate_controls(dataset, dataset, run)
        assert sorted(run.rglob("*")) == before
    open_run(tmp_path / "evaluated", {"checkpoint": {"uri": "weights/mine", "sha256": "0" * 64}})
    with pytest.raises(UsageError, match=r"run of another checkpoint \(weights/mine.*controls.*another --output"):
        evaluate_controls(dataset, dataset, tmp_path / "evaluated")


def test_a_photograph_is_blurred_on_squares_of_pixels_and_nothing_visible_is_lost():
    """Noise of the highest contrast: grey levels of the quick blur against those of the whole one."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (128, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)[:-2, :-1]
    whole, quick = smoothed(image.astype(float), 1022 / 128, axes=(0, 1)), blurred(image)
    assert quick.shape == (341, 21, 3)
    for channel in range(3):
        full = interpolated(quick[..., channel], (3 * 341, 3 * 21))[:-1]
        error = np.abs(full - whole[..., channel])[2:-4, 2:-2]
        assert error.max() < 2.5
        assert error.mean() < 0.03 * whole[..., channel].std()
    assert np.array_equal(blurred(image[:511]), smoothed(image[:511].astype(float), 511 / 128, axes=(0, 1)))


def test_the_label_of_a_square_is_that_of_its_centre():
    label = np.arange(60, dtype=np.uint8).reshape(6, 10)
    assert np.array_equal(at_centres(label, 1), label)
    assert at_centres(label, 3).tolist() == [[11, 14, 17, 19], [41, 44, 47, 49]]
    assert at_centres(label, 4).tolist() == [[22, 26, 29], [52, 56, 59]]


def test_large_images_are_scored_at_their_own_size(tmp_path):
    """A part of the picture in another colour stands out where it is, to a few pixels."""
    image = np.full((1024, 96, 3), 90, np.uint8)
    image[512:] = (240, 40, 200)
    label = np.full((1024, 96), ID, np.uint8)
    label[512:] = OOD
    save(tmp_path / "original/a.png", image)
    save(tmp_path / "labels/a.png", label)
    score = fit_colours(open_dataset("road_anomaly", tmp_path)).score(image)
    assert score.shape == label.shape
    assert score.dtype == np.float32
    assert score[:496].max() < score[528:].min()


def test_the_command_prints_both_rows_and_refuses_sets_of_the_other_kind(scenes, tmp_path):
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    roots = ["--data-root", str(scenes / "road_anomaly"), "--train-root", str(scenes / "cityscapes")]
    command = ["controls", *roots, "--output", str(tmp_path / "run"), "--dataset"]
    result = CliRunner().invoke(app, [*command, "road_anomaly"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "colour_density" in result.stdout
    assert "position_prior" in result.stdout
    for wrong in (["cityscapes"], ["road_anomaly", "--train-dataset", "lost_and_found"]):
        assert isinstance(CliRunner().invoke(app, [*command, *wrong]).exception, UsageError)


def test_the_command_reads_labels_by_the_definition_that_is_asked_for(scenes, tmp_path, cli):
    make_lost_and_found(tmp_path / "laf")
    command = ("controls", "--dataset", "lost_and_found", "--data-root", tmp_path / "laf", "--output", tmp_path / "run")
    command += ("--train-root", scenes / "cityscapes")
    first = cli(*command, "--ood-definition", "image_all_objects")
    assert first.code == 0, first.err
    assert "definition image_all_objects: ID is everything but labelled objects" in first.out
    metrics = read_json(tmp_path / "run/evaluation/lost_and_found/metrics.json")
    assert (metrics["ood_definition"], metrics["pixels"]["void"]) == ("image_all_objects", 0)
    again = cli(*command)
    assert again.code == 2
    assert "another OOD definition (image_all_objects there, the default here): choose another --output" in again.err
    unknown = cli(*command[:2], "lost_and_found", "--ood-definition", "whole")
    assert unknown.code == 2
    assert "The choices are: road, road_all_objects, image, image_all_objects" in unknown.err


@pytest.mark.parametrize("which", ["road_anomaly", "cityscapes"])
def test_a_broken_last_label_is_named_before_anything_is_written(scenes, tmp_path, cli, which):
    roots = {name: shutil.copytree(scenes / name, tmp_path / name) for name in ("road_anomaly", "cityscapes")}
    split = "train" if which == "cityscapes" else None
    last = open_dataset(which, roots[which], split).pairs[-1].label
    last.write_bytes(last.read_bytes()[:-40])
    data = ("--data-root", roots["road_anomaly"], "--train-root", roots["cityscapes"])
    finished = cli("controls", "--dataset", "road_anomaly", *data, "--output", tmp_path / "run")
    assert finished.code == 3
    assert f"{last.relative_to(roots[which])}" in finished.err
    assert "1 fault, nothing was evaluated" in finished.err
    assert "colours" not in finished.err, "the long work has not begun"
    assert not (tmp_path / "run").exists()
