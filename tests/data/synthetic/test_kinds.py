"""The label numbers of what can be drawn."""

import pytest

from abet.data.cityscapes import CITYSCAPES as CITYSCAPES_SPEC
from abet.data.synthetic.kinds import CITYSCAPES_IDS, FREE_ROAD, MAPILLARY_IDS, Kind, table
from abet.data.synthetic.mapillary_names import MAPILLARY_NAMES
from abet.labels import MAPILLARY


def test_every_known_kind_has_a_number_in_both_training_sets_and_the_unseen_has_none():
    for numbers in (MAPILLARY_IDS, CITYSCAPES_IDS):
        assert set(numbers) == set(Kind) - {Kind.UNSEEN}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.ROAD, "Road"),
        (Kind.CURB, "Curb"),
        (Kind.CROSSWALK, "Lane Marking - Crosswalk"),
        (Kind.MARKING, "Lane Marking - General"),
        (Kind.SIGN, "Traffic Sign (Front)"),
        (Kind.SIGN_BACK, "Traffic Sign (Back)"),
        (Kind.RIDER, "Bicyclist"),
        (Kind.PERSON, "Person"),
        (Kind.TRUCK, "Truck"),
        (Kind.STREET_LIGHT, "Street Light"),
    ],
)
def test_mapillary_numbers_are_the_published_names(kind, name):
    assert MAPILLARY[MAPILLARY_IDS[kind]].name == name


def test_mapillary_machine_names_follow_the_readable_ones():
    for machine, row in zip(MAPILLARY_NAMES, MAPILLARY, strict=False):
        words = {word.strip("()").lower() for word in row.name.replace("-", " ").split()} - {
            "",
            "plain",
            "front",
            "back",
        }
        aliases = machine.replace("--", " ").replace("-", " ").split()
        assert words & set(aliases), (machine, row.name)
    assert len(MAPILLARY_NAMES) == len(set(MAPILLARY_NAMES)) == 66


def test_no_class_that_unseen_objects_could_belong_to_is_drawn_for_training():
    names = {MAPILLARY[number].name for number in MAPILLARY_IDS.values() if number < 65}
    assert not names & {"Bird", "Ground Animal", "Trash Can", "Barrier", "Other Vehicle", "Bench"}


def test_free_road_is_what_cityscapes_calls_road():
    assert {kind for kind, number in CITYSCAPES_IDS.items() if number == 7} == FREE_ROAD


def test_an_unseen_object_in_a_training_label_is_never_a_class():
    for numbers in (MAPILLARY_IDS, CITYSCAPES_IDS):
        assert table(numbers)[Kind.UNSEEN] not in set(numbers.values())
    assert CITYSCAPES_SPEC.kind == "training"
