"""Text: names and sentences of unknown origin, made safe to show to people on a page or in a terminal."""

import unicodedata


def plain(value: object, limit: int = 0) -> str:
    """``value`` as one line without characters that act: control, direction-changing and invisible ones become escapes.

    ``limit`` is the greatest number of characters, 0 for any; see :func:`shorten`. Escaping for HTML is left to the template.
    """
    text = str(value)
    if limit and len(text) > 2 * limit:
        text = shorten(text, 2 * limit)
    if not text.isprintable():
        text = "".join(_visible(c) for c in text)
    return shorten(text, limit) if limit else text


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode("ascii")


def shorten(text: str, limit: int, ellipsis: str = "…") -> str:
    """At most ``limit`` characters, cut in the middle: the end of a test's or a recipe's name tells as much as its beginning."""
    if len(text) <= limit:
        return text
    keep = max(limit - len(ellipsis), 0)
    head = (2 * keep + 2) // 3
    return text[:head] + ellipsis + (text[-(keep - head) :] if keep > head else "")


def cause(reason: str, subject: str) -> str:
    """The first line of a reason, without the name of what it is about: that one stands beside it."""
    return reason.partition("\n")[0].removeprefix(f"{subject}: ")


def clip(text: str, columns: int, ellipsis: str = "…") -> str:
    """The same for a terminal, where some characters take two columns."""
    limit = columns
    while columns_of(short := shorten(text, limit, ellipsis)) > columns and limit > 0:
        limit -= 1
    return short


def columns_of(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def ascii_of(text: str) -> str:
    """``text`` for a terminal that shows nothing but ASCII."""
    for sign, substitute in (("µ", "u"), ("…", "..."), ("–", "-"), ("—", "-"), ("×", "x"), ("≥", ">="), ("≤", "<=")):
        text = text.replace(sign, substitute)
    return text.encode("ascii", "backslashreplace").decode("ascii")
