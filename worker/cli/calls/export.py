"""`aftercall export`: archived calls as a file."""

import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, cast

from cyclopts import Parameter

from consumers.postcall import CallRow
from worker.cli.calls.formats import FORMATS, FormatName, Writer
from worker.cli.calls.pages import calls
from worker.cli.calls.reading import reading
from worker.cli.calls.which import Which
from worker.cli.exit_codes import DONE, WrongArguments
from worker.cli.output import say
from worker.cli.working import Progress
from worker.settings import load

ANY: Final = Which()


async def export(
    *,
    which: Which = ANY,
    format_: Annotated[FormatName | None, Parameter(name="--format")] = None,
    to: str = "",
) -> int:
    """Write archived calls to a file or to standard output, the oldest first.

    Example: aftercall export --since 30d --format parquet --to calls.parquet

    Example: aftercall export --since 2026-08-01 --until 2026-09-01 --account acme-dental --format csv > august.csv

    Parameters
    ----------
    format_
        By default what the file's name ends in, else ndjson. ndjson: the enriched calls whole, as subscribers get them,
        a line each. csv, parquet: the columns of the archive, with summary and transcript; parquet needs
        `pip install 'aftercall[parquet]'`.
    to
        The file. It appears when it is complete, in the place of one that was there.

    """
    wanted = which.wanted()
    form = format_ or format_of(to)
    if form == "parquet" and not to:
        raise WrongArguments("--format parquet: name a file with --to, for such a file is no stream")
    async with reading(load(os.environ)) as archive:
        total = sum((await archive.counts(wanted)).values()) if sys.stderr.isatty() else 0
        with whole_file(to) as out:
            writer = FORMATS[form](out)
            async with aclosing(archive.calls(wanted, without=writer.without)) as rows:
                count = await _write_each(rows, writer, Progress(total, calls, "exported"))
    say(f"{calls(count).capitalize()} exported{f' to {to}' if to else ''}.")
    return DONE


def format_of(to: str) -> FormatName:
    """The format that a file's name asks for."""
    ending = Path(to).suffix.removeprefix(".")
    return cast("FormatName", ending) if ending in FORMATS else "ndjson"


async def _write_each(rows: AsyncGenerator[CallRow, None], writer: Writer, progress: Progress) -> int:
    count = 0
    async for row in rows:
        writer.add(row)
        count += 1
        progress.tell(count)
    writer.end()
    progress.end()
    return count


@contextmanager
def whole_file(to: str) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there once it is whole. Raises `WrongArguments` if it cannot be written."""
    if not to:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{to}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(to)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WrongArguments(f"--to {to}: it cannot be written: {error.strerror or error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
