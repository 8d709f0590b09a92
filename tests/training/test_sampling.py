"""Where crops come from: every image once, or around every class; and what is refused before anything is trained."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abet.config import Recipe, load_recipe
from abet.data.index import open_dataset
from abet.distributed import Topology
from abet.errors import DataError, UsageError
from abet.places import S3Uri
from abet.site import SiteConfig
from abet.storage import open_storage
from abet.training.data import require_same_epochs
from abet.training.sampling import Sampling, _require_share, find_places_on_each_node, open_sampling
from abet.training.tracking import read_metrics
from tests.conftest import Cli
from tests.s3_server import S3Server
from tests.training.conftest import Tiny, Zygote, refused, train
from tests.trees import make_cityscapes


def recipe_of(uniform: Tiny, *changes: str) -> Recipe:
    return load_recipe(str(uniform.recipe), changes=changes)


def opened(recipe: Recipe, root: Path, folder: Path) -> Sampling:
    train_set = open_dataset("cityscapes", root, recipe.data.train_split)
    return open_sampling(recipe, train_set, root=root, folder=folder)


def test_every_image_once_needs_no_places(tiny: Tiny, tmp_path: Path) -> None:
    sampling = opened(load_recipe(str(tiny.recipe)), tiny.data, tmp_path / "cache")
    assert (sampling.lists.length, sampling.lists.share, sampling.boosted) == (10, 0, None)
    assert not (tmp_path / "cache").exists()


def test_coarse_images_count_on_after_the_fine_ones_and_add_places_of_their_classes_alone(
    uniform: Tiny, tmp_path: Path
) -> None:
    sampling = opened(recipe_of(uniform), uniform.data, tmp_path)
    assert sampling.boosted is not None
    assert {train_id for train_id, places in enumerate(sampling.lists.boosted) if len(places)} <= {3, 4, 12}
    images = np.concatenate([places[:, 0] for places in sampling.lists.boosted])
    assert set(images.tolist()) <= {20, 21, 22}
    label = sampling.boosted.read(sampling.boosted.pairs[0])[1]
    assert {3, 4, 12} & set(np.unique(label)), "else nothing was shown here"
    assert "20 crops an epoch" in sampling.notes[0]


def test_the_reference_s_slip_keeps_coarse_places_to_the_end(uniform: Tiny, tmp_path: Path) -> None:
    for slip in (False, True):
        recipe = recipe_of(uniform, f"reference_quirks.boosted_centroids_never_cut={str(slip).lower()}")
        lists = opened(recipe, uniform.data, tmp_path).lists
        coarse_places = {tuple(place) for places in lists.boosted for place in places.tolist()}
        many = replace(lists, images=2000)  # so many crops of each class that every place comes up
        coarse = [bool(coarse_places & set(map(tuple, many.entries(epoch).tolist()))) for epoch in range(3)]
        assert coarse == [True, slip, slip]


def test_classes_that_occur_nowhere_are_named(uniform: Tiny, tmp_path: Path) -> None:
    make_cityscapes(tmp_path / "data", count=20, size=(48, 64))
    for label in (tmp_path / "data").rglob("*_labelIds.png"):
        Image.fromarray(np.full((48, 64), 7, np.uint8)).save(label)  # road throughout
    more = ("sampling.boost_split=null", "sampling.boost_classes=[]")
    sampling = opened(recipe_of(uniform, *more), tmp_path / "data", tmp_path / "cache")
    assert sampling.lists.length == 2, "one crop anywhere, one of road"
    assert sampling.notes[-1].startswith("no place of sidewalk, building, ")


def test_the_fingerprint_changes_with_the_labels_and_not_with_the_root(uniform: Tiny, tmp_path: Path) -> None:
    first = opened(recipe_of(uniform), uniform.data, tmp_path / "cache").sha256()
    shutil.copytree(uniform.data, tmp_path / "moved")
    assert opened(recipe_of(uniform), tmp_path / "moved", tmp_path / "cache").sha256() == first
    label = next((tmp_path / "moved" / "gtFine" / "train").rglob("*.png"))
    pixels = np.array(Image.open(label))
    pixels[:16, :16] = 7
    pixels[3, 3] = 8
    Image.fromarray(pixels).save(label, compress_level=0)
    assert opened(recipe_of(uniform), tmp_path / "moved", tmp_path / "cache").sha256() != first


def test_images_smaller_than_a_tile_have_no_place(uniform: Tiny, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no label holds a whole square of 128 pixels.*lower sampling\.tile_pixels"):
        opened(recipe_of(uniform, "sampling.tile_pixels=128"), uniform.data, tmp_path)


def test_a_missing_coarse_set_is_named_with_the_way_to_train_without_it(
    cli: Cli, uniform: Tiny, tmp_path: Path
) -> None:
    make_cityscapes(tmp_path / "data", count=20, size=(48, 64))
    make_cityscapes(tmp_path / "data", count=2, size=(48, 64), split="val")
    result = cli("train", uniform.recipe, "--data-root", tmp_path / "data", "--output", tmp_path / "run")
    refused(result, 3, "lacks leftImg8bit/train_extra", "--set sampling.boost_split=null")
    assert not (tmp_path / "run").exists()


def test_a_share_that_leaves_no_crop_for_a_class_is_refused_with_the_least(uniform: Tiny, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"class_uniform_share 0\.5 of 20 images .*each of 19 classes: 0\.95 is large enough"
    ):
        opened(recipe_of(uniform, "sampling.class_uniform_share=0.5"), uniform.data, tmp_path)


@pytest.mark.parametrize(("images", "classes"), [(30, 19), (20, 19), (18_000, 65), (2975, 19), (19, 19)])
def test_the_share_that_is_named_is_large_enough(images: int, classes: int) -> None:
    with pytest.raises(UsageError) as caught:
        _require_share(1e-6, images, classes)
    (named,) = re.findall(r"classes: (\S+) is large enough", str(caught.value))
    _require_share(float(named), images, classes)


def test_no_share_of_fewer_images_than_classes_is_large_enough() -> None:
    with pytest.raises(UsageError, match="none is large enough; or set it to 0"):
        _require_share(1.0, 18, 19)


def test_other_classes_are_refused_before_a_label_is_read(cli: Cli, uniform: Tiny, tmp_path: Path) -> None:
    result = train(cli, uniform, tmp_path / "run", "--set", "model.num_classes=20")
    refused(result, 2, "model.num_classes 20: cityscapes has 19 classes")


def test_places_that_cannot_be_kept_stop_several_processes_before_each_looks_for_them(
    uniform: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").write_text("no folder")
    site = SiteConfig(scratch=tmp_path / "scratch")
    monkeypatch.setattr("abet.training.sampling.work_apart", lambda _topology, work: work())
    alone = Topology(device=torch.device("cpu"))
    find_places_on_each_node(recipe_of(uniform), uniform.data, site, alone)
    with pytest.raises(UsageError, match=r"could not be kept there, and each of 4 processes .* set `scratch`"):
        find_places_on_each_node(recipe_of(uniform), uniform.data, site, replace(alone, processes=4))


def test_places_are_found_once_for_all_machines_whose_artifacts_lie_in_s3(
    uniform: Tiny, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, alone = s3.place("models"), Topology(device=torch.device("cpu"))
    one, two = (SiteConfig(scratch=tmp_path / name, artifacts=place, s3=s3.settings) for name in ("one", "two"))
    find_places_on_each_node(recipe_of(uniform), uniform.data, one, alone)
    monkeypatch.setattr("abet.data.centroid_cache.compute_centroids", None)
    find_places_on_each_node(recipe_of(uniform), uniform.data, two, alone)
    kept = [sorted(path.name for path in (site.scratch_folder / "centroids").iterdir()) for site in (one, two)]
    assert kept[0] == kept[1] == [entry.name for entry in open_storage(place / "centroids", s3.settings).list()]
    assert len(kept[0]) == 2, "the training split's and the boosted one's"


def test_the_first_process_of_a_node_alone_asks_for_places(
    uniform: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("abet.training.sampling.work_apart", lambda _topology, work: work and work())
    site = SiteConfig(scratch=tmp_path / "scratch", artifacts=S3Uri("models"))
    second = Topology(device=torch.device("cpu"), rank=1, local_rank=1, processes=2)
    find_places_on_each_node(recipe_of(uniform), uniform.data, site, second)
    assert not site.scratch_folder.exists()


def test_settings_that_reach_no_s3_leave_the_cache_of_the_machine(
    uniform: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    site = SiteConfig(scratch=tmp_path / "scratch", artifacts=S3Uri("models"))
    find_places_on_each_node(recipe_of(uniform), uniform.data, site, Topology(device=torch.device("cpu")))
    assert len(list((site.scratch_folder / "centroids").iterdir())) == 2
    assert "looked for on this machine alone" in capsys.readouterr().err


def test_nodes_whose_labels_differ_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = Topology(device=torch.device("cpu"))
    require_same_epochs(topology, "a")
    monkeypatch.setattr("abet.training.data.from_all_ranks", lambda *_: [["one", "a"], ["two", "b"]])
    with pytest.raises(DataError, match="rank 0 on one and rank 1 on two found other places of the classes"):
        require_same_epochs(topology, "a")


def test_a_split_that_there_is_not_is_refused(cli: Cli, uniform: Tiny, tmp_path: Path) -> None:
    result = train(cli, uniform, tmp_path / "run", "--set", "sampling.boost_split=train_extr")
    refused(result, 2, "sampling.boost_split: ", "'train_extra'")


@pytest.mark.faults
def test_a_run_whose_epochs_would_be_others_is_not_resumed(zygote: Zygote, uniform: Tiny, tmp_path: Path) -> None:
    shutil.copytree(uniform.data, tmp_path / "data")
    arguments = uniform.arguments("changed", "--data-root", tmp_path / "data")
    assert zygote.train(*arguments, "--set", "training.steps=2")["codes"] == [0]
    label = next((tmp_path / "data" / "gtCoarse").rglob("*.png"))
    Image.fromarray(np.full((48, 64), 12, np.uint8)).save(label)  # wall throughout
    again = zygote.train(*arguments, "--set", "training.steps=2")
    assert again["codes"] == [2]
    assert "epoch_lists_sha256 (the places that crops are taken around" in again["log"]


def test_the_rate_and_the_loss_change_with_the_epoch(zygote: Zygote, uniform: Tiny) -> None:
    result = zygote.train(*uniform.arguments("epochs"))
    assert result["codes"] == [0], result["log"]
    rates = [row["lr"] for row in read_metrics(uniform.runs / "epochs") if row["kind"] == "train"]
    assert rates == pytest.approx([0.1] * 5 + [0.05])
    assert "class-uniform sampling: 20 crops an epoch, " in result["log"]
