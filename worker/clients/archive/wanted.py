"""Which calls are wanted, in SQL."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, or_, select, text

from consumers.postcall import LATEST, WantedCalls
from consumers.timestamps import iso
from consumers.words import Term, fold
from worker.clients.archive.schema import CALLS, INDEX_OF_WORDS


def conditions(wanted: WantedCalls, dialect: str) -> list[ColumnElement[bool]]:
    """What a row must fulfil."""
    return [*_among(wanted), *_bounds(wanted), *_numbers(wanted.numbers), *_words(wanted.terms, dialect)]


def _among(wanted: WantedCalls) -> Iterator[ColumnElement[bool]]:
    column = CALLS.c
    asked: tuple[tuple[Any, Sequence[str]], ...] = (
        (column.account, wanted.accounts),
        (column.call_id, wanted.call_ids),
        (column.result, wanted.results),
        (column.reason, wanted.reasons),
        (column.direction, wanted.directions),
        (column.assistant_id, wanted.assistants),
    )
    yield from (each.in_(values) for each, values in asked if values)


def _bounds(wanted: WantedCalls) -> Iterator[ColumnElement[bool]]:
    column = CALLS.c
    if wanted.since is not None:
        yield column.ended_at >= _moment(wanted.since)
    if wanted.until is not None:
        yield column.ended_at < _moment(wanted.until)
    for each, least, most in (
        (column.cost, wanted.min_cost, wanted.max_cost),
        (column.duration_s, wanted.min_duration_s, wanted.max_duration_s),
    ):
        if least is not None:
            yield each >= least
        if most is not None:
            yield each <= most


def _moment(at: float) -> str:
    return iso(min(max(0.0, at), LATEST))


def _numbers(spellings: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    if spellings:
        yield or_(CALLS.c.customer_number.in_(spellings), CALLS.c.our_number.in_(spellings))


def _words(terms: Sequence[Term], dialect: str) -> Iterator[ColumnElement[bool]]:
    if not terms:
        return
    if dialect == "postgresql":
        asked = func.to_tsquery("simple", in_postgresql(terms))
        yield CALLS.c.words.op("@@", is_comparison=True)(asked)
    else:
        found = text("aftercall_calls_words MATCH :terms").bindparams(bindparam("terms", in_sqlite(terms)))
        yield CALLS.c.id.in_(select(INDEX_OF_WORDS.c.rowid).where(found))


def in_sqlite(terms: Iterable[Term]) -> str:
    """The terms as FTS5 has them; it folds words as it folded those that it indexed."""
    wanted, unwanted = _parted(terms)
    return " AND ".join(map(_fts5, wanted)) + "".join(f" NOT {_fts5(term)}" for term in unwanted)


def in_postgresql(terms: Iterable[Term]) -> str:
    """The terms as `to_tsquery` has them, folded as the words that were indexed."""
    wanted, unwanted = _parted(terms)
    return " & ".join([*map(_tsquery, wanted), *(f"!({_tsquery(term)})" for term in unwanted)])


def _parted(terms: Iterable[Term]) -> tuple[list[Term], list[Term]]:
    parts: tuple[list[Term], list[Term]] = ([], [])
    for term in terms:
        parts[term.is_unwanted].append(term)
    return parts


def _fts5(term: Term) -> str:
    return f'"{" ".join(term.words)}"' + ("*" if term.is_prefix else "")


def _tsquery(term: Term) -> str:
    words = " <-> ".join(f"'{word}'" for word in fold(" ".join(term.words)).split())
    return words + (":*" if term.is_prefix else "")
