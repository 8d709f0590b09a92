"""Text that came from somebody's file, made safe to print; and counts."""

import re


def printable(text: str, *, limit: int = 120) -> str:
    r"""``text`` with every control character escaped as in Python source, cut to ``limit`` characters.

    A name inside a downloaded file may hold terminal commands, marks that reverse the reading direction, or megabytes.

    >>> printable("\x1b]0;title\x07 Straße")
    '\\x1b]0;title\\x07 Straße'
    """
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


def one_line(text: str, *, limit: int | None = None) -> str:
    """The lines of ``text`` as one, cut in the middle to ``limit`` characters: what to do stands at the end.

    >>> one_line("refused:\\n  leave out: --a\\n  add: --b"), one_line("what happened, and the remedy", limit=23)
    ('refused: leave out: --a; add: --b', 'what happ... the remedy')
    """
    joined = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        joined += (" " if joined.endswith((":", ";", ",")) else "; ") * bool(joined) + line
    if limit is None or len(joined) <= limit:
        return joined
    kept = limit - len("...")
    return f"{joined[: kept // 2 - 1]}...{joined[kept // 2 - 1 - kept :]}"


def without_password(text: str) -> str:
    """``text`` with what stands before an @ in its URLs hidden: people write passwords there.

    >>> without_password("http://user:secret@host:9000/a")
    'http://***@host:9000/a'
    """
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """``count`` with its noun, whose plural is that with an s unless given.

    >>> counted(1, "shard"), counted(1203, "image"), counted(0, "copy", "copies")
    ('1 shard', '1,203 images', '0 copies')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def points(fraction: float) -> str:
    """A difference of two shares in percentage points, with its sign; one that 0.01 does not show, to its first digit.

    >>> points(-0.08171), points(-0.0000321), points(0.0), points(-0.0)
    ('-8.17', '-0.003', '+0.00', '+0.00')
    """
    value = 100 * fraction + 0.0  # there is no negative zero
    rounded = f"{value:+.2f}"
    return f"{value:+.1g}" if value and not float(rounded) else rounded
