"""Options of the abet command that a job runs, as far as the job has to know them."""

from collections.abc import Sequence


def chosen(options: Sequence[str], names: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Those options that are among ``names``, each in its words (``--limit 3``, ``--limit=3``); and the other words."""
    words, found, others = list(options), list[tuple[str, ...]](), list[str]()
    while words:
        word = words.pop(0)
        name, equals, _ = word.partition("=")
        if name in names and (equals or words):
            found.append((word,) if equals else (word, words.pop(0)))
        else:
            others.append(word)
    return found, others


def told(options: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The same, their values by name without the hyphens: the last one counts."""
    found, others = chosen(options, names)
    pairs = (words if len(words) > 1 else words[0].split("=", 1) for words in found)
    return {name.removeprefix("--"): value for name, value in pairs}, others
