"""Which users of the broker a command of `aftercall topology` is about, and their passwords."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from worker.broker.topology import Topology
from worker.broker.users import User, users_of
from worker.cli.exit_codes import WrongArguments

EVERY: Final = "every"


def chosen_users(topology: Topology, said: str, passwords: Mapping[str, str]) -> tuple[User, ...]:
    """The users of the roles that were `said`, with commas between; if none was, those that have a password.

    Raises `WrongArguments` for a role there is not, and for a password of nobody.
    """
    users = users_of(topology)
    _require_known(passwords.keys() - {user.name for user in users.values()}, users, "--passwords")
    if said == EVERY:
        return tuple(users.values())
    roles = [role for role in map(str.strip, said.split(",")) if role]
    _require_known(set(roles) - users.keys(), users, "--users")
    return tuple(user for user in users.values() if user.role in roles or (not roles and user.name in passwords))


def passwords_in(folder: Path | None) -> dict[str, str]:
    """What each file of the folder holds, which is named as the user is. Raises `WrongArguments`."""
    if folder is None:
        return {}
    try:
        found = {path.name: path.read_text(encoding="utf-8").strip() for path in folder.iterdir() if path.is_file()}
    except (OSError, UnicodeDecodeError) as error:
        raise WrongArguments(f"--passwords {folder}: cannot be read: {error}") from error
    if empty := sorted(name for name, password in found.items() if not password):
        raise WrongArguments(f"--passwords {folder}: {', '.join(empty)}: a password is missing")
    return found


def _require_known(unknown: set[str], users: Mapping[str, User], option: str) -> None:
    if unknown:
        known = f"there are {', '.join(users)}, and {EVERY} for them all"
        raise WrongArguments(f"{option}: {', '.join(sorted(unknown))}: {known}")
