"""Every tree that the readers know, in turn."""

import pytest

from tests.trees import make_cityscapes, make_lost_and_found, make_mapillary, make_road_anomaly

TREES = {
    "synboost": ("road_anomaly", lambda root: make_road_anomaly(root, layout="synboost")),
    "epfl": ("road_anomaly", lambda root: make_road_anomaly(root, layout="epfl")),
    "train ids": ("lost_and_found", lambda root: make_lost_and_found(root, kinds=("labelTrainIds",))),
    "label ids": ("lost_and_found", lambda root: make_lost_and_found(root, kinds=("labelIds",))),
    "mapillary v1.1": ("mapillary", lambda root: make_mapillary(root, version="v1.1", suffix=".png")),
    "mapillary v1.2": ("mapillary", lambda root: make_mapillary(root, version="v1.2", suffix=".png")),
    "cityscapes": ("cityscapes", make_cityscapes),
    "cityscapes of nvidia": ("cityscapes", lambda root: make_cityscapes(root, tree="nvidia")),
    "cityscapes train ids": ("cityscapes", lambda root: make_cityscapes(root, kinds=("labelTrainIds",))),
}


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    """(data set name, root, samples by pair name) of each layout in turn."""
    name, make = TREES[request.param]
    root = tmp_path / "data set ü"
    return name, root, make(root)
