"""What logging a call needs of HubSpot, and what HubSpot may say to it."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from consumers.crm.rules import Crm

Kind = Literal["contacts", "calls"]


class Record(msgspec.Struct, frozen=True):
    """A contact or an engagement, with those of its properties that were asked for."""

    id: str
    properties: Mapping[str, str | None] = {}

    def text(self, name: str) -> str:
        """One of its properties; empty if it has none."""
        return self.properties.get(name) or ""


class Filter(msgspec.Struct, frozen=True):
    """A condition of a search: `EQ`, or `CONTAINS_TOKEN`, whose value may begin with a `*`."""

    property: str
    value: str
    operator: Literal["EQ", "CONTAINS_TOKEN"] = "EQ"


class Refused(Exception):
    """HubSpot will not have what was written, and says why: a property it does not know, or a value that is taken.

    `existing_id` is the record in the way, where it names one.
    """

    def __init__(self, reason: str, existing_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.existing_id = existing_id


class HubSpot(Protocol):
    """One HubSpot account. Besides `Refused` each method raises `Hold` or `Retry` for what may pass."""

    async def search(self, kind: Kind, any_of: Sequence[Filter], properties: Sequence[str]) -> list[Record]:
        """Records for which any of the conditions holds; what was written a moment ago may be missing."""

    async def get(self, kind: Kind, id_: str, properties: Sequence[str], *, by: str = "") -> Record | None:
        """A record by its id, or by the value of a unique property, as it is now."""

    async def create(self, kind: Kind, properties: Mapping[str, str], *, contact: str = "") -> str:
        """A new record, an engagement associated with a contact; its id."""

    async def update(self, kind: Kind, id_: str, properties: Mapping[str, str], *, by: str = "") -> str | None:
        """Write properties of a record, by its id or a unique property; its id, or None if there is no such record."""

    async def associate(self, call: str, contact: str) -> None:
        """Put an engagement on a contact's timeline; again is the same."""


class Numbers(Protocol):
    """How telephone numbers are read."""

    def e164(self, text: str, near: str = "") -> str:
        """A number in E.164, however written; one without a country is of the region set, else of `near`'s.

        Empty for what is no number.
        """

    def national(self, number: str) -> str:
        """The digits of an E.164 number without those of its country."""


class Desk(msgspec.Struct, frozen=True):
    """What one account's calls are logged with."""

    rules: Crm
    numbers: Numbers
    hubspot: HubSpot
