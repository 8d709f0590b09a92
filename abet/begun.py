"""What an evaluation was begun with, compared where another is submitted into the same run: before anything waits.

require_same_evaluation(run, "road_anomaly", site, shards=8, scores="abet,msp")

No torch, no numpy. What `abet evaluate` compares beside it (weights, images, arithmetic) is known on the node alone.
"""

from typing import Any, Final, NamedTuple

from abet.errors import UsageError
from abet.places import Place
from abet.run import DESCRIPTION, evaluation_dir
from abet.scores import OWN_KEYS
from abet.second_pass import read_from_run
from abet.site import SiteConfig

ALL: Final = "all"


class _Difference(NamedTuple):
    """What is not as there, and what makes it so: a variable of make with its option, options of abet, or less."""

    what: str
    give: str = ""
    option: str = ""
    leave_out: str = ""


def require_same_evaluation(
    run: Place,
    dataset: str,
    site: SiteConfig,
    *,
    shards: int | None = None,
    scores: str = ALL,
    protocols: bool = False,
    limit: int | None = None,
) -> None:
    """Raises UsageError where ``run`` holds an evaluation of ``dataset`` that was begun otherwise than is wanted.

    Args:
        run: what is evaluated into.
        dataset: of the evaluation.
        site: where S3 is.
        shards: into how many it is split; None: as many as there.
        scores: keys with commas between, or ``all``, which may be more where plug-ins are installed.
        protocols: whether they are evaluated too, with components or without.
        limit: at most so many images; None: not said.
    """
    found = read_from_run(run, dataset, DESCRIPTION, site)
    if found is None:
        return
    compared = (_shards(found, shards), _scores(found, scores), _protocols(found, protocols), _limit(found, limit))
    different = [each for each in compared if each is not None]
    if different:
        raise UsageError(
            f"{evaluation_dir(run, dataset)} holds another evaluation of {dataset} (different: "
            f"{'; '.join(each.what for each in different)}): choose a new OUTPUT= (--output), or evaluate as there:"
            f"{_remedies(different)}"
        )


def _remedies(different: list[_Difference]) -> str:
    ways = (
        ("give: ", ", ".join(filter(None, (each.give for each in different)))),
        ("in EVAL_ARGS= (--option): ", " ".join(filter(None, (each.option for each in different)))),
        ("leave out: ", ", ".join(filter(None, (each.leave_out for each in different)))),
    )
    return "".join(f"\n  {way}{words}" for way, words in ways if words)


def _shards(found: dict[str, Any], wanted: int | None) -> _Difference | None:
    there = found.get("shards")
    if wanted is None or not isinstance(there, int) or there == wanted:
        return None
    return _Difference(f"shards {there} there, {wanted} here", give=f"SHARDS={there} (--shards {there})")


def _scores(found: dict[str, Any], wanted: str) -> _Difference | None:
    there = found.get("scores")
    if not isinstance(there, list):
        return None
    keys = set(there)
    if keys.issuperset(OWN_KEYS) if wanted == ALL else keys == {key.strip() for key in wanted.split(",") if key}:
        return None
    named = ALL if keys == set(OWN_KEYS) else ",".join(map(str, there))
    return _Difference(f"scores {named} there, {wanted} here", option=f"--scores {named}")


def _protocols(found: dict[str, Any], wanted: bool) -> _Difference | None:
    there = found.get("protocols", False)  # a description does not name what most have in common
    if there == wanted:
        return None
    what = f"protocols {there} there, {wanted} here"
    if there:
        return _Difference(what, option="--protocols")
    return _Difference(what, leave_out="COMPONENTS=1 (--components), --protocols")


def _limit(found: dict[str, Any], wanted: int | None) -> _Difference | None:
    there = found.get("images")
    if wanted is None or not isinstance(there, int) or there <= wanted:
        return None
    return _Difference(f"images {there} there, at most {wanted} here", leave_out=f"--limit {wanted}, unless as there")
