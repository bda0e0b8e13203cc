"""What `forward` shows its targets: the pairs of AFTERCALL_FORWARD_SECRETS.

`zapier=whsec_…` signs what is posted to `[forward.zapier]`, and stands there twice while it is rotated;
`ghl=Authorization: Bearer …` is a header of `[forward.ghl]` that is a secret.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from consumers.targets import Target
from worker.settings.secret import Secret, key_of_base64

KEY: Final = "AFTERCALL_FORWARD_SECRETS"
SIGNING: Final = "whsec_"
NAME: Final = re.compile(r"[a-z0-9-]{1,40}")


class Credentials(msgspec.Struct, frozen=True):
    """One target's: the keys to sign with, and the headers to send."""

    keys: tuple[bytes, ...] = ()
    headers: dict[str, str] = {}


def credentials_of(secret: Secret, target: str) -> Credentials:
    """The credentials of a target, as they are now. Raises `ValueError`, which tells no secret, for what is no pair."""
    keys: list[bytes] = []
    headers: dict[str, str] = {}
    for name, value in _pairs(secret):
        if name == target and value.startswith(SIGNING):
            keys.append(_key(name, value))
        elif name == target:
            headers |= [_header(name, value)]
    return Credentials(tuple(keys), headers)


def problems_of(targets: Mapping[str, Target | None], accounts: Collection[str], secret: Secret) -> Iterator[str]:
    """What is wrong with the targets taken together with the rest: a sentence each, which tells no secret."""
    for name, target in targets.items():
        if not NAME.fullmatch(name):
            yield f"[forward.{name}]: a target's name is 1 to 40 of a-z, 0-9 and -"
        if target is not None and (unknown := sorted(set(target.accounts) - set(accounts))):
            yield f"[forward.{name}]: accounts: {', '.join(unknown)}: there are {', '.join(accounts)}"
    yield from _problems_of_pairs(secret, set(targets))


def _problems_of_pairs(secret: Secret, targets: set[str]) -> Iterator[str]:
    try:
        names = {name for name, _ in _pairs(secret)}
    except ValueError as error:
        yield str(error)
        return
    for name in sorted(names - targets):
        yield f"{KEY}: there is no table [forward.{name}]"
    for name in sorted(names & targets):
        try:
            credentials_of(secret, name)
        except ValueError as error:
            yield str(error)


def _pairs(secret: Secret) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in secret.each()]
    if not all(name.strip() and value.strip() for name, _, value in pairs):
        raise ValueError(f"{KEY}: pairs with commas between them, as in zapier=whsec_…,ghl=Authorization: Bearer …")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _key(name: str, value: str) -> bytes:
    try:
        return key_of_base64(value)
    except ValueError:
        raise ValueError(f"{KEY}: the secret of {name} is whsec_ with what is no base64 behind it") from None


def _header(name: str, value: str) -> tuple[str, str]:
    header, colon, content = value.partition(":")
    if not colon or not header.isascii() or not header.replace("-", "").isalnum() or not content.strip().isprintable():
        raise ValueError(f"{KEY}: what {name} has is neither whsec_… nor a header, as in Authorization: Bearer …")
    return header.strip(), content.strip()
