"""The strip of image, label, prediction and score."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from abet.labels import CITYSCAPES, IGNORE
from abet.models.head import Output
from abet.training.pictures import GAP_PIXELS, TILE_PIXELS, coloured, strip, write_picture


def output(classes: np.ndarray, num_classes: int = 19) -> Output:
    logits = torch.nn.functional.one_hot(torch.from_numpy(classes.astype(np.int64)), num_classes)
    return Output(5 * logits.permute(2, 0, 1)[None].float())


def test_a_strip_shows_image_label_prediction_and_score_from_left_to_right() -> None:
    image = np.full((8, 12, 3), 77, np.uint8)
    label, predicted = np.full((8, 12), 10, np.uint8), np.full((8, 12), 13, np.uint8)
    picture = strip(image, label, output(predicted))
    assert picture.shape == (8, 4 * 12 + 3 * GAP_PIXELS, 3)
    tiles = [picture[:, i * (12 + GAP_PIXELS) :][:, :12] for i in range(4)]
    assert (tiles[0] == 77).all()
    assert (tiles[1] == CITYSCAPES[10].colour).all()
    assert (tiles[2] == CITYSCAPES[13].colour).all()
    assert len(np.unique(tiles[3].reshape(-1, 3), axis=0)) == 1, "the score is the same everywhere"


def test_ignored_pixels_are_black() -> None:
    assert coloured(np.array([[0, IGNORE]], np.uint8), 19).tolist() == [[list(CITYSCAPES[0].colour), [0, 0, 0]]]


def test_wide_images_are_thinned_out() -> None:
    label = np.zeros((10, 2 * TILE_PIXELS), np.uint8)
    picture = strip(np.zeros((*label.shape, 3), np.uint8), label, output(label))
    assert picture.shape == (5, 4 * TILE_PIXELS + 3 * GAP_PIXELS, 3)


def test_rows_of_different_width_stand_below_each_other(tmp_path: Path) -> None:
    path, picture = write_picture(tmp_path, 7, [np.zeros((4, 9, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)])
    assert path == tmp_path / "pictures" / "step-00000007.png"
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert picture.shape == (4 + 6 + 2 * GAP_PIXELS, 9, 3)
    assert (picture[4 + GAP_PIXELS :, 5:] == 255).all()
