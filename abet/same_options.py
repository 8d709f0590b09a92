"""With which options of `abet evaluate` an evaluation that was begun is gone on with.

    same_options(description, wanted=evaluation.fingerprint)

A fingerprint says of what an evaluation is; most of its entries come from an option. What comes from elsewhere, the
version of abet say, is told as such: no option mends it.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from abet.scores import SCORES
from abet.shard_check import changed_entries, whole

ON_CPU: Final = re.compile(
    r"cpu (?P<kind>.*), (?P<threads>\d+) threads, (?P<torch>torch [^,]*)(, bits (?P<bits>[0-9a-f]+))?"
)
"""As `abet.arithmetic.arithmetic` writes it; without bits, as it did before it looked at them."""
_WHAT_DECIDES_BITS: Final = (
    "so the processor's model or a variable like ONEDNN_MAX_CPU_ISA or MKL_CBWR is not: keep all shards to nodes of "
    "one kind, with one environment"
)
SELECTING: Final = ("--images", "--limit")
WHOLE: Final = ("demo", "reproduce")
"""Commands that evaluate sets as they are."""


class Remedy(NamedTuple):
    """What makes entries of a fingerprint agree."""

    give: Sequence[str] = ()
    """Options to add, or to give with these values in place of others."""
    leave_out: Sequence[str] = ()
    beyond: Sequence[str] = ()
    """What no option mends, each with what would."""


def same_options(found: Mapping[str, Any], *, wanted: Mapping[str, Any], argv: Sequence[str] = ()) -> str:
    """What to change on a command line of the fingerprint ``wanted``, so that it goes on with ``found``.

    found: the content of ``evaluation.json``; the command that it was begun with tells which images were chosen.
    argv: the command line as far as it is known; what does not stand on one of `abet evaluate` need not be left out.
    """
    there, here = whole(found), whole(wanted)
    changed = [*changed_entries(found, here)]
    remedies = [_REMEDIES.get(key, _beyond(key))(there, here) for key in changed]
    if hopeless := [remedy for remedy in remedies if remedy.beyond and not remedy.give]:
        remedies = hopeless  # whatever else were given
    give, leave_out, beyond = (list(dict.fromkeys(chain.from_iterable(kind))) for kind in zip(*remedies, strict=True))
    if argv[1:2] == ["evaluate"]:
        stands = [option for option in leave_out if option in argv or _given(argv, option) is not None]
        leave_out = stands if stands or give else leave_out
    lines = [f"add or change: {' '.join(give)}"] if give else []
    lines += [f"leave out: {', '.join(leave_out)}"] if leave_out else []
    lines += [f"no option mends this: {each}" for each in beyond]
    return "".join(f"\n  {line}" for line in lines)


_Finder = Callable[[Mapping[str, Any], Mapping[str, Any]], Remedy]


def _beyond(key: str) -> _Finder:
    return lambda there, here: Remedy(beyond=[f"{key} is {there.get(key)!r} there"])


def _option(key: str, option: str) -> _Finder:
    """Of an entry that is the value of an option, and None where that is left out."""

    def find(there: Mapping[str, Any], _here: Mapping[str, Any]) -> Remedy:
        value = there.get(key)
        return Remedy(leave_out=[option]) if value is None else Remedy(give=[f"{option} {shlex.quote(str(value))}"])

    return find


def _scores(there: Mapping[str, Any], _here: Mapping[str, Any]) -> Remedy:
    named = list(there["scores"])
    return Remedy(give=[f"--scores {'all' if named == list(SCORES) else ','.join(named)}"])


def _protocols(there: Mapping[str, Any], _here: Mapping[str, Any]) -> Remedy:
    return Remedy(give=["--protocols"]) if there["protocols"] else Remedy(leave_out=["--protocols", "--components"])


def _shards(there: Mapping[str, Any], here: Mapping[str, Any]) -> Remedy:
    if there["shards"] == 1:
        return Remedy(leave_out=["--shard"])
    return Remedy(give=["--only-missing" if here["shards"] == 1 else f"--shard I/{there['shards']}"])


def _images(there: Mapping[str, Any], here: Mapping[str, Any]) -> Remedy:
    """A list of images has no option of its own: the command that began the evaluation tells what chose them."""
    words = list((there.get("started") or {}).get("argv") or ())
    if words[1:2] and words[1] in WHOLE:
        return Remedy(leave_out=SELECTING)
    if words[1:2] != ["evaluate"]:
        return Remedy(give=["--images and --limit as it was begun with"])
    given = {option: _given(words, option) for option in SELECTING}
    chosen = [f"{option} {shlex.quote(value)}" for option, value in given.items() if value is not None]
    if any(there[key] != here[key] for key in ("images", "split", "ood_definition")):
        return Remedy(give=chosen, leave_out=[option for option, value in given.items() if value is None])
    others = f"as many images, {there['images']}, of other names or sizes: it takes the same copy of the set"
    return Remedy(give=chosen, beyond=() if chosen else [others])


def _given(words: Sequence[str], option: str) -> str | None:
    """The value of an option on a command line, None where it is left out."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return None


def _arithmetic(there: Mapping[str, Any], here: Mapping[str, Any]) -> Remedy:
    wanted, found = (ON_CPU.fullmatch(str(each["arithmetic"])) for each in (there, here))
    machine = f"it takes a machine that computes as there ({there['arithmetic']})"
    if wanted is None:
        return Remedy(give=["--device cuda"] if found else (), beyond=[machine])
    if found is None:
        return Remedy(give=[f"--device cpu --threads {wanted['threads']}"])
    if wanted["bits"] is None:
        return Remedy(beyond=["it was begun with an abet that noted no bits of its CPU: finish it with that one"])
    if any(wanted[key] != found[key] for key in ("kind", "torch")):
        threads = [f"--threads {wanted['threads']}"] if wanted["threads"] != found["threads"] else []
        return Remedy(give=threads, beyond=[machine])
    if wanted["threads"] != found["threads"]:  # of which the bits may be a consequence
        return Remedy(give=[f"--threads {wanted['threads']}"])
    return Remedy(beyond=[f"{machine}: all but the bits is the same here, {_WHAT_DECIDES_BITS}"])


def _fitted(there: Mapping[str, Any], here: Mapping[str, Any]) -> Remedy:
    before, now = there["fitted_sha256"], here["fitted_sha256"]
    if there["scores"] != here["scores"] and None in (before, now):
        return Remedy()  # which scores are taken decides whether a fit is
    if before is None:
        return Remedy(beyond=["these weights were not fitted then: it takes them without what `abet fit` left"])
    what = "is gone" if now is None else "is another by now"
    return Remedy(beyond=[f"what `abet fit` left beside the checkpoint {what}: fit it as it was then"])


def _plugins(there: Mapping[str, Any], _here: Mapping[str, Any]) -> Remedy:
    wanted = there["plugins"] or {}
    absent = {name: key for key, name in wanted.items() if key not in SCORES or SCORES[key].distribution != name}
    return Remedy(beyond=[f"score {key!r} is of {name}, which is not installed here" for name, key in absent.items()])


_REMEDIES: Final[Mapping[str, _Finder]] = {
    "split": _option("split", "--split"),
    "ood_definition": _option("ood_definition", "--ood-definition"),
    "images": _images,
    "list_sha256": _images,
    "scores": _scores,
    "protocols": _protocols,
    "shards": _shards,
    "arithmetic": _arithmetic,
    "fitted_sha256": _fitted,
    "plugins": _plugins,
    "checkpoint_sha256": lambda there, _: Remedy(beyond=[f"other weights (sha256 {there['checkpoint_sha256'][:12]})"]),
    "num_classes": lambda *_: Remedy(),  # of the weights
    "abet": lambda there, _: Remedy(beyond=[f"it was begun with abet {there['abet']}: finish it with that version"]),
    "format": lambda *_: Remedy(),  # of abet
}
"""By entry of a fingerprint, in the order of the options."""
