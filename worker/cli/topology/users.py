"""Which users of the broker a command of `aftercall topology` is about, and their passwords."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from worker.broker.topology import Topology
from worker.broker.users import User, users_of
from worker.cli.exit_codes import WrongArguments

EVERY: Final = "every"


def chosen_users(topology: Topology, said: str | None, passwords: Mapping[str, str]) -> tuple[User, ...]:
    """The users of the roles that were `said`, with commas between; if none was, those that have a password.

    Raises `WrongArguments` for a role there is not, for a list without one, and for a password of nobody.
    """
    users = users_of(topology)
    _require_known(passwords, [user.name for user in users.values()], "--passwords")
    if said == EVERY:
        return tuple(users.values())
    roles = [role for role in map(str.strip, (said or "").split(",")) if role]
    _require_known(roles, [*users, EVERY], "--users")
    if said is not None and not roles:
        raise WrongArguments(f"--users: no role is named: there are {', '.join([*users, EVERY])}")
    return tuple(user for user in users.values() if user.role in roles or (not roles and user.name in passwords))


def passwords_in(folder: Path | None) -> dict[str, str]:
    """What each file of the folder holds, which is named as the user is. Raises `WrongArguments`."""
    if folder is None:
        return {}
    try:
        found = {path.name: path.read_text(encoding="utf-8").strip() for path in folder.iterdir() if path.is_file()}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "a file in it is no text"
        raise WrongArguments(f"--passwords {folder}: cannot be read: {why}") from error
    if not found:
        raise WrongArguments(f"--passwords {folder}: there is no password in it")
    if empty := sorted(name for name, password in found.items() if not password):
        raise WrongArguments(f"--passwords {folder}: {', '.join(empty)}: a password is missing")
    return found


def _require_known(given: Iterable[str], known: Collection[str], option: str) -> None:
    if unknown := sorted(set(given).difference(known)):
        raise WrongArguments(f"{option}: {', '.join(unknown)}: there are {', '.join(known)}")
