"""The archive as commands read it: as it is there, for a command makes no database and changes none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumers.outcomes import DatabaseAway
from worker.cli.exit_codes import Unreachable
from worker.clients.archive.archive import Archive
from worker.settings import Settings


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Archive]:
    """The archive of an installation. Raises `Unreachable` if there is none, or it does not answer."""
    archive = Archive(settings.archive_url)
    try:
        await _require_ours(archive)
        yield archive
    except DatabaseAway as error:
        raise Unreachable(f"The archive cannot be read: {error}.") from error
    finally:
        await archive.close()


async def _require_ours(archive: Archive) -> None:
    found, wanted = await archive.schema()
    if found == 0:
        raise Unreachable(
            "There is no archive yet: `aftercall consume postcall` makes it."
            " It is the one of AFTERCALL_ARCHIVE_URL, in which a relative path begins where the command runs."
        )
    if found != wanted:
        raise Unreachable(
            f"The archive has schema {found}, and this version of aftercall reads {wanted}:"
            " start its `aftercall consume postcall` once, which brings an older one up to date."
        )
