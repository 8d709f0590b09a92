"""Roots that are incomplete, ambiguous or one level off: what is refused, in which words, and what is seen through."""

import json
import os
import shutil

import pytest

from abet.data.check import check, describe
from abet.data.index import open_dataset, survey
from abet.data.pairing import files_in
from abet.data.registry import DATASETS
from abet.errors import DataError
from tests.trees import make_fishyscapes, make_lost_and_found, make_road_anomaly, make_sample, save


def refusal(name, root, split=None):
    with pytest.raises(DataError) as caught:
        open_dataset(name, root, split)
    return str(caught.value)


# --- incomplete roots


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_empty_or_packed_root_is_refused_with_the_trees_it_may_have(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "archive.zip").write_bytes(b"PK")
    for folder, words in (("absent", "does not exist"), ("empty", "is empty"), ("archive.zip", "is a file")):
        message = refusal(name, tmp_path / folder)
        assert str(tmp_path / folder) in message
        assert words in message
        assert "docs/datasets.md" in message
        for layout in DATASETS[name].layouts:
            for line in layout.tree:
                assert line.replace("SPLIT", DATASETS[name].default_split) in message


@pytest.mark.parametrize(
    ("name", "folder", "lacks"),
    [
        ("lost_and_found", "leftImg8bit/test", "lacks gtCoarse/test"),
        ("lost_and_found", "gtCoarse/test", "lacks leftImg8bit/test"),
        ("road_anomaly", "original", "lacks labels"),
        ("road_anomaly", "labels", "lacks original"),
    ],
)
def test_a_half_unpacked_root_says_what_is_there_and_what_is_not(tmp_path, name, folder, lacks):
    (tmp_path / folder).mkdir(parents=True)
    message = refusal(name, tmp_path)
    assert f"found: {folder.split('/', maxsplit=1)[0]}/" in message
    assert f"{lacks} (half unpacked?)" in message


def test_a_split_that_is_not_unpacked_points_to_the_one_that_is(tmp_path):
    make_lost_and_found(tmp_path, split="train")
    assert "split train is there" in refusal("lost_and_found", tmp_path)


def test_folders_without_images_are_refused(tmp_path):
    for folder in ("original", "labels"):
        (tmp_path / folder).mkdir()
    assert "no image found" in refusal("road_anomaly", tmp_path)


def test_images_without_label_are_counted_and_the_first_named(tree):
    name, root, samples = tree
    for pair in open_dataset(name, root).pairs:
        pair.label.unlink()
        (pair.label.parent / "keep").touch()
    message = refusal(name, root)
    assert f"{len(samples)} x image without label: {min(samples)} (expected " in message
    assert f"abet data check {name} {root}" in message


def test_labels_without_image_are_counted_and_the_first_named(tree):
    name, root, samples = tree
    pairs = open_dataset(name, root).pairs
    for pair in pairs[1:]:
        pair.image.unlink()
    message = refusal(name, root)
    assert f"{len(samples) - 1} x label without image: {pairs[1].label.relative_to(root).as_posix()}" in message


def test_long_lists_of_faults_are_cut_with_their_count(tmp_path):
    make_road_anomaly(tmp_path, count=9)
    shutil.rmtree(tmp_path / "labels")
    (tmp_path / "labels").mkdir()
    message = refusal("road_anomaly", tmp_path)
    assert "9 x image without label" in message
    assert message.count("expected labels/") == 3
    assert "; ...\n" in message


@pytest.mark.parametrize("layout", ["synboost", "epfl"])
def test_two_images_of_one_stem_are_refused(tmp_path, layout):
    samples = make_road_anomaly(tmp_path, layout=layout)
    path = tmp_path / min(samples)
    save(path.with_suffix(".jpg"), samples[min(samples)].image)
    message = refusal("road_anomaly", tmp_path)
    assert "1 x duplicate stem" in message
    assert path.name in message
    assert "keep one" in message


def test_two_labels_of_one_image_are_refused(tmp_path):
    """By a suffix in capitals, and by a name with and without what copies end in."""
    make_road_anomaly(tmp_path / "ra")
    save(tmp_path / "ra/labels/animal00.PNG", make_sample().label)
    message = refusal("road_anomaly", tmp_path / "ra")
    assert (
        "1 x duplicate stem: labels/animal00.png (labels/animal00.PNG is a label of the same image: keep one)"
        in message
    )
    make_fishyscapes(tmp_path / "fs", layout="original")
    label = next((tmp_path / "fs/labels").iterdir())
    save(label.with_name(label.name.replace("_labels", "")), make_sample().label)
    message = refusal("fishyscapes_static", tmp_path / "fs")
    assert "1 x duplicate stem" in message
    assert "keep one" in message


def test_a_root_that_is_a_link_to_itself_is_out_of_reach(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "does not exist or is out of reach" in refusal("road_anomaly", tmp_path / "loop")


def test_a_root_with_both_road_anomaly_trees_asks_for_one(tmp_path):
    make_road_anomaly(tmp_path, layout="synboost")
    make_road_anomaly(tmp_path, layout="epfl")
    message = refusal("road_anomaly", tmp_path)
    assert "SynBoost's processed archive (original, labels) and EPFL's archive (frames)" in message
    assert "keep one" in message


def test_frames_that_the_list_names_and_the_disk_lacks_are_reported(tmp_path):
    make_road_anomaly(tmp_path, layout="epfl")
    (tmp_path / "frame_list.json").write_text(json.dumps(["animal00.webp", "animal01.webp", "moose.webp"]))
    message = refusal("road_anomaly", tmp_path)
    assert "1 x listed but missing: frames/moose.webp (named in frame_list.json: half unpacked?)" in message
    assert "1 image is not in frame_list.json, e.g. animal02" in " ".join(survey("road_anomaly", tmp_path).notes)


@pytest.mark.parametrize("content", [b"{", b"7", b"\xff\xfe"])
def test_a_damaged_frame_list_is_reported(tmp_path, content):
    make_road_anomaly(tmp_path, layout="epfl")
    (tmp_path / "frame_list.json").write_bytes(content)
    assert "1 x frame list: frame_list.json (not a JSON list" in refusal("road_anomaly", tmp_path)


@pytest.mark.parametrize("name", ["/elsewhere/animal00.jpg", "\ud800.jpg", 7, None])
def test_a_frame_list_holds_relative_names_in_utf8(tmp_path, name):
    make_road_anomaly(tmp_path, layout="epfl", count=1)
    (tmp_path / "frame_list.json").write_text(json.dumps(["animal00.png", name]))
    message = refusal("road_anomaly", tmp_path)
    assert f"1 x frame list: frame_list.json ({name!a} is no file name: names are relative paths in UTF-8)" in message


def test_a_frame_list_that_is_an_object_is_reported(tmp_path):
    make_road_anomaly(tmp_path, layout="epfl", count=1)
    (tmp_path / "frame_list.json").write_text('{"animal00.png": 1}')
    assert "not a JSON list of file names: dict" in refusal("road_anomaly", tmp_path)


def test_a_mixture_of_label_kinds_is_refused(tmp_path):
    make_lost_and_found(tmp_path)
    next(tmp_path.rglob("*_labelTrainIds.png")).unlink()
    assert "1 x mixed label kinds" in refusal("lost_and_found", tmp_path)


def test_an_image_named_otherwise_is_not_left_out_silently(tmp_path):
    make_lost_and_found(tmp_path)
    save(tmp_path / "leftImg8bit/test/02_Hanns_Klemm_Str_44/extra.png", make_sample().image)
    assert "1 x unexpected name: leftImg8bit/test/02_Hanns_Klemm_Str_44/extra.png" in refusal(
        "lost_and_found", tmp_path
    )


def test_a_name_that_is_not_utf8_is_refused_in_printable_words(tmp_path):
    samples = make_road_anomaly(tmp_path)
    image, label = tmp_path / min(samples), tmp_path / "labels/animal00.png"
    try:
        image.rename(image.with_name("caf\udce9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    label.rename(label.with_name("caf\udce9.png"))
    message = refusal("road_anomaly", tmp_path)
    assert "1 x file name: 'original/caf\\udce9.png' (not UTF-8: rename it)" in message
    message.encode("utf-8")


def test_a_survey_keeps_the_sound_pairs_beside_the_faults(tree):
    name, root, samples = tree
    first = open_dataset(name, root).pairs[0]
    first.label.unlink()
    found = survey(name, root)
    assert [pair.name for pair in found.dataset.pairs] == sorted(samples)[1:]
    assert [(fault.kind, fault.file) for fault in found.faults] == [("image without label", first.name)]


# --- links and what is no file


def test_links_that_lead_back_end_the_walk(tmp_path):
    samples = make_lost_and_found(tmp_path / "set")
    scenes = tmp_path / "set/leftImg8bit/test"
    here, there = sorted(scenes.iterdir())
    (here / "up").symlink_to("../..", target_is_directory=True)  # to a folder that the path has come through
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "back").symlink_to(there, target_is_directory=True)  # and in a circle over another tree
    (there / "out").symlink_to(tmp_path / "b", target_is_directory=True)
    listed = [path.name for path in files_in(scenes, recursive=True)]
    assert {name for name in listed if name.endswith(".png")} == {name.rsplit("/", 1)[1] for name in samples}


def test_links_are_followed(tmp_path):
    samples = make_road_anomaly(tmp_path / "real")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/labels").symlink_to(tmp_path / "real/labels", target_is_directory=True)
    for name in samples:
        (tmp_path / "root" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "root" / name).symlink_to(tmp_path / "real" / name)
    assert [pair.name for pair in open_dataset("road_anomaly", tmp_path / "root").pairs] == sorted(samples)


def test_a_link_to_nothing_is_listed_so_that_the_check_reports_it(tmp_path):
    first = min(make_road_anomaly(tmp_path))
    (tmp_path / first).unlink()
    (tmp_path / first).symlink_to("gone.png")
    report = check("road_anomaly", tmp_path)
    assert [(fault.file, fault.message) for fault in report.faults] == [(first, "no such file")]


def test_a_pipe_with_the_suffix_of_an_image_is_not_opened(tmp_path):
    samples = make_road_anomaly(tmp_path)
    os.mkfifo(tmp_path / "original/pipe.png")
    assert [pair.name for pair in open_dataset("road_anomaly", tmp_path).pairs] == sorted(samples)


def test_names_that_are_not_utf8_are_described_in_printable_words(tmp_path):
    make_road_anomaly(tmp_path)
    try:
        save(tmp_path / "labels/caf\udce9.png", make_sample().label)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    text = describe(check("road_anomaly", tmp_path))
    assert r"caf\udce9.png" in text
    text.encode("utf-8")


# --- roots one level off


def test_a_folder_around_the_tree_is_seen_through_and_noted(tree):
    name, root, samples = tree
    dataset = open_dataset(name, root.parent)
    assert dataset.root == root
    assert [pair.name for pair in dataset.pairs] == sorted(samples)
    assert any(f"{root} is read: {root.parent} itself holds no" in note for note in dataset.notes)


def test_a_folder_of_the_tree_leads_to_its_root(tree):
    name, root, samples = tree
    inner = root / min(samples).split("/", maxsplit=1)[0]
    assert open_dataset(name, inner).root == root


def test_a_root_further_away_is_not_taken_but_asked_for(tree):
    """From two folders above, and from a folder of the tree's folders, where there are any."""
    name, root, _ = tree
    far = root.parent / "far"
    moved = far / "sets" / root.name
    moved.parent.mkdir(parents=True)
    root.rename(moved)
    assert f"did you mean {moved}?" in refusal(name, far)
    for folder in sorted(path for path in moved.glob("*/*") if path.is_dir()):
        assert f"did you mean {moved}?" in refusal(name, folder)


def test_several_candidates_are_listed_and_none_is_taken(tmp_path):
    make_road_anomaly(tmp_path / "fs_static")
    make_road_anomaly(tmp_path / "road_anomaly")
    message = refusal("road_anomaly", tmp_path)
    assert f"{tmp_path / 'fs_static'}, {tmp_path / 'road_anomaly'}; name one of them" in message
