"""Pixels of an image by what they are."""

import numpy as np

from abet.labels import ID, OOD, VOID
from abet.metrics.label_counts import NO_PIXELS, add_labels


def test_the_pixels_of_all_images_add_up() -> None:
    rng = np.random.default_rng(0)
    pixels = dict(NO_PIXELS)
    wanted = {"id": 0, "ood": 0, "void": 0}
    for shape in ((7, 5), (1, 3), (4, 4)):
        label = rng.choice(np.array([ID, OOD, VOID], np.uint8), shape)
        pixels = add_labels(pixels, label)
        for value in label.ravel().tolist():
            wanted[{ID: "id", OOD: "ood", VOID: "void"}[value]] += 1
    assert pixels == wanted
    assert NO_PIXELS == {"id": 0, "ood": 0, "void": 0}
