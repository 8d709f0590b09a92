"""What may count as OOD, and what is known of the sets without a disk."""

import json

import pytest

from abet.data.index import open_dataset
from abet.data.info import describe_set, facts
from abet.data.registry import DATASETS, OOD_SETS, TRAINING_SETS, named_definition, require_split
from abet.errors import UsageError
from tests.trees import make_lost_and_found


def test_every_ood_set_says_what_its_pixels_are_and_no_training_set_does():
    assert all(spec.definitions for spec in OOD_SETS.values())
    assert not any(spec.definitions for spec in TRAINING_SETS.values())


def test_the_default_named_or_not_is_one_and_the_same_list(tmp_path):
    make_lost_and_found(tmp_path)
    unnamed, named = (open_dataset("lost_and_found", tmp_path, definition=name) for name in (None, "road"))
    assert unnamed == named
    assert unnamed.definition is None


def test_a_definition_is_named_where_a_set_has_several():
    assert named_definition("lost_and_found", None) == "road"
    assert named_definition("lost_and_found_no_known", None) == "road_all_objects"
    assert named_definition("lost_and_found", "image") == "image"
    assert named_definition("road_anomaly", None) is None
    assert named_definition("a_set_of_another_version", None) is None


def test_lists_of_different_definitions_have_different_fingerprints(tmp_path):
    make_lost_and_found(tmp_path)
    names = [row.name for row in OOD_SETS["lost_and_found"].definitions]
    lists = [open_dataset("lost_and_found", tmp_path, definition=name).list_sha256() for name in names]
    assert len(set(lists)) == len(names) == 4


def test_an_unknown_definition_lists_the_choices():
    with pytest.raises(UsageError, match=r"OOD definition of lost_and_found 'raod': did you mean 'road'\?"):
        require_split("lost_and_found", definition="raod")
    with pytest.raises(UsageError, match=r"OOD definition of road_anomaly 'road'\. The choices are: image"):
        require_split("road_anomaly", definition="road")


def test_a_training_set_has_none():
    with pytest.raises(UsageError, match="cityscapes: a training set"):
        require_split("cityscapes", definition="road")


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_known_can_be_said_and_written_as_json(name):
    spec, text = DATASETS[name], describe_set(name, DATASETS[name])
    known = json.loads(json.dumps(facts(spec)))
    assert known["splits"] == dict(spec.published_images)
    for part in (
        spec.citation,
        spec.page,
        spec.licence,
        *spec.downloads,
        *(line for t in spec.layouts for line in t.tree),
    ):
        assert part in text
    for row in known["definitions"]:
        assert f"{row['name']} (by {row['source']})" in text
