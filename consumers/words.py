"""Words looked for in what was said: how people write them, and where they stand in a text.

refund policy       both words, anywhere
"refund policy"     one after the other
refund*             any word that begins so
-voicemail          none of these
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

WORD: Final = re.compile(r"[^\W_]+")
BETWEEN: Final = re.compile(r"[\W_]+")
BLANKS: Final = {code: " " for code in range(128) if not chr(code).isalnum()}
TERM: Final = re.compile(r'(?P<minus>-)?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+?))(?P<star>\*)?(?=\s|$|")')
# Accents of Latin, Greek and Cyrillic; the signs of other scripts are no ornament.
ACCENTS: Final = re.compile("[\u0300-\u036f]")
AROUND: Final = 60
"""Characters shown on either side of what was found."""


class Term(msgspec.Struct, frozen=True):
    """Words that stand one after the other. With `is_prefix` the last is only the beginning of one."""

    words: tuple[str, ...]
    is_prefix: bool = False
    is_unwanted: bool = False


class WrongWords(ValueError):
    """Nothing can be looked for; the text says why."""


def terms_of(text: str) -> tuple[Term, ...]:
    """What to look for, as it is written above. Raises `WrongWords` if that is nothing."""
    found = tuple(_terms(unicodedata.normalize("NFC", text)))
    if all(term.is_unwanted for term in found):
        raise WrongWords(f"{text!r} names no word to look for: one is a letter or a digit at least, and no -word")
    return found


def _terms(text: str) -> Iterator[Term]:
    for match in TERM.finditer(text):
        words = tuple(WORD.findall(match["phrase"] or match["word"] or ""))
        if words:
            yield Term(words, is_prefix=bool(match["star"]), is_unwanted=bool(match["minus"]))


def fold(text: str) -> str:
    """The words of `text` without what writers differ in: case, accents, punctuation."""
    if text.isascii():
        return text.lower().translate(BLANKS)  # ten times as fast, and nearly all that is said
    bare = unicodedata.normalize("NFC", ACCENTS.sub("", unicodedata.normalize("NFD", text)))
    return BETWEEN.sub(" ", bare.lower())


def snippet(texts: Sequence[str | None], terms: Sequence[Term], *, begin: str, end: str) -> str:
    """The place in the first of the texts that has one of the terms, in one line, what was found between the marks.

    Empty if none has.
    """
    for text in filter(None, texts):
        if (span := _first(text, terms)) is not None:
            return _around(text, *span, begin, end)
    return ""


def _first(text: str, terms: Sequence[Term]) -> tuple[int, int] | None:
    wanted = [[fold(word) for word in term.words] for term in terms if not term.is_unwanted]
    prefixes = [term.is_prefix for term in terms if not term.is_unwanted]
    longest = max(map(len, wanted), default=1)
    behind: list[tuple[str, re.Match[str]]] = []
    for match in WORD.finditer(text):
        behind = [*behind[1 - longest :], (fold(match[0]), match)] if longest > 1 else [(fold(match[0]), match)]
        for words, is_prefix in zip(wanted, prefixes, strict=True):
            if _ends_with([word for word, _ in behind], words, is_prefix=is_prefix):
                return behind[-len(words)][1].start(), match.end()
    return None


def _ends_with(said: Sequence[str], words: Sequence[str], *, is_prefix: bool) -> bool:
    *before, last = words
    if list(said[-len(words) : -1]) != before:
        return False
    return said[-1].startswith(last) if is_prefix else said[-1] == last


def _around(text: str, start: int, stop: int, begin: str, end: str) -> str:
    left, right = max(0, start - AROUND), min(len(text), stop + AROUND)
    before = text[left:start] if left == 0 else "…" + text[left:start].partition(" ")[2]
    after = text[stop:right] if right == len(text) else text[stop:right].rpartition(" ")[0] + " …"
    return " ".join(f"{before}{begin}{text[start:stop]}{end}{after}".split())
