"""Choosing images by name or number, and the fingerprint of what is evaluated."""

import shutil

import pytest

from abet.data.index import open_dataset
from abet.errors import DataError, UsageError
from tests.trees import make_lost_and_found, make_sample, save

# --- selection


@pytest.fixture
def five(tmp_path):
    make_lost_and_found(tmp_path, count=5)
    return open_dataset("lost_and_found", tmp_path)


def test_images_are_selected_by_path_file_name_or_stem_in_data_set_order(five):
    a, b, c, d, _ = five.pairs
    names = [d.image.stem.removesuffix("_leftImg8bit"), c.name, b.image.name, a.image.stem, a.name]
    assert five.select(images=names).pairs == (a, b, c, d)


def test_a_limit_takes_the_first(five):
    assert five.select(limit=2).pairs == five.pairs[:2]
    assert five.select(limit=99).pairs == five.pairs
    assert five.select(images=[five.pairs[3].name, five.pairs[1].name], limit=1).pairs == five.pairs[1:2]


def test_an_unknown_image_names_the_nearest_and_not_all(five):
    with pytest.raises(UsageError) as caught:
        five.select(images=["02_Hanns_Klemm_Str_44_000002_000011"])
    assert "among its 5. Did you mean 02_Hanns_Klemm_Str_44_000002_000010" in str(caught.value)
    with pytest.raises(UsageError, match="no image 'zzz' among its 5"):
        five.select(images=["zzz"])


def test_a_name_that_fits_several_images_lists_them(tmp_path):
    for scene in ("a", "b"):
        save(tmp_path / f"leftImg8bit/test/{scene}/x_leftImg8bit.png", make_sample().image)
        save(tmp_path / f"gtCoarse/test/{scene}/x_gtCoarse_labelTrainIds.png", make_sample().label)
    dataset = open_dataset("lost_and_found", tmp_path)
    with pytest.raises(UsageError, match=r"fits 2 images: .*/a/x_leftImg8bit.png, .*/b/x_leftImg8bit.png"):
        dataset.select(images=["x"])
    assert len(dataset.select(images=["leftImg8bit/test/b/x_leftImg8bit.png"]).pairs) == 1


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": -1}, {"images": []}])
def test_an_empty_selection_is_a_mistake(five, arguments):
    with pytest.raises(UsageError):
        five.select(**arguments)


# --- fingerprint


def test_copies_agree_on_their_fingerprint_wherever_they_lie(tree, tmp_path):
    name, root, _ = tree
    shutil.copytree(root, tmp_path / "copies" / "elsewhere")
    copy = open_dataset(name, tmp_path / "copies" / "elsewhere")
    assert copy.list_sha256() == open_dataset(name, root).list_sha256()


def test_another_list_has_another_fingerprint(five, tmp_path):
    seen = {five.list_sha256(), five.select(limit=4).list_sha256()}
    five.pairs[0].label.write_bytes(five.pairs[0].label.read_bytes() + b"x")
    seen.add(five.list_sha256())
    for path in tmp_path.rglob("*_labelTrainIds.png"):
        path.unlink()
    seen.add(open_dataset("lost_and_found", tmp_path).list_sha256())
    assert len(seen) == 4


def test_a_file_that_vanished_since_listing_is_named(five):
    five.pairs[2].image.unlink()
    with pytest.raises(DataError, match="was listed and is gone"):
        five.list_sha256()
