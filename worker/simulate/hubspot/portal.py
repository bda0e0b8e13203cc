"""The simulated account: its records, what is unique among them, and what a search shows of them by now."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from worker.simulate.hubspot import errors
from worker.simulate.hubspot.properties import Kind, Property, defaults, problems_of
from worker.simulate.script.outlines import iso

DATES: Mapping[Kind, tuple[str, str]] = {
    "contacts": ("createdate", "lastmodifieddate"),
    "calls": ("hs_createdate", "hs_lastmodifieddate"),
}


@dataclass(slots=True)
class Record:
    """A contact or a call; `history` has its properties at each time (epoch seconds) it was written."""

    id: str
    created_at: float
    history: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)

    @property
    def properties(self) -> dict[str, str]:
        """As they are now."""
        return self.history[-1][1]

    def shown(self, at: float) -> dict[str, str] | None:
        """As a search shows them, which has seen nothing later than `at`."""
        return next((properties for written_at, properties in reversed(self.history) if written_at <= at), None)

    def tell(self, properties: Iterable[str] | None = None) -> dict[str, Any]:
        """As the API has it; with those properties alone, if some are named."""
        known = self.properties
        told = known if properties is None else {name: known.get(name) for name in properties}
        times = {"createdAt": iso(self.created_at), "updatedAt": iso(self.history[-1][0])}
        return {"id": self.id, "properties": told, **times, "archived": False}


class Portal:
    """What the account holds. Its methods raise `Refusal` as HubSpot would."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.properties: dict[Kind, dict[str, Property]] = {kind: defaults(kind) for kind in ("contacts", "calls")}
        self.records: dict[Kind, dict[str, Record]] = {"contacts": {}, "calls": {}}
        # What an account asks of new contacts in its own form holds for the API too, since version 2026-09.
        self.required: dict[Kind, tuple[str, ...]] = {"contacts": (), "calls": ("hs_timestamp",)}
        self._clock = clock
        self._ids = count(101)

    def find(self, kind: Kind, id_: str, by: str = "") -> Record:
        """The record of an id, or of a unique property's value."""
        if not by:
            found = self.records[kind].get(id_)
        else:
            if not self._is_unique(kind, by):
                raise errors.Refusal(400, "VALIDATION_ERROR", f"{by} is not a unique property of {kind}")
            found = self._holder(kind, by, id_)
        if found is None:
            raise errors.not_found()
        return found

    def create(self, kind: Kind, given: Mapping[str, str], contacts: Iterable[str]) -> Record:
        """A new record, associated with contacts."""
        self._check_required(kind, given)
        self._check(kind, given, own_id="")
        wanted = [self.find("contacts", each).id for each in contacts]
        record = Record(str(next(self._ids)), self._clock(), contacts=wanted)
        self.records[kind][record.id] = record
        self._write(kind, record, given)
        return record

    def update(self, kind: Kind, id_: str, given: Mapping[str, str], by: str = "") -> Record:
        """Other values for some properties; an empty one takes the value away."""
        record = self.find(kind, id_, by)
        self._check(kind, given, own_id=record.id)
        self._write(kind, record, given)
        return record

    def define(self, kind: Kind, definition: Property) -> None:
        """A property of the account's own."""
        if definition.name in self.properties[kind]:
            raise errors.Refusal(409, "CONFLICT", f"Property with name '{definition.name}' already exists")
        self.properties[kind][definition.name] = definition

    def _write(self, kind: Kind, record: Record, given: Mapping[str, str]) -> None:
        now = self._clock()
        created, changed = DATES[kind]
        before = record.properties if record.history else {}
        own = {created: iso(record.created_at), changed: iso(now), "hs_object_id": record.id}
        values = {**before, **given, **own}
        record.history.append((now, {name: value for name, value in (values | _calculated(values)).items() if value}))

    def _check_required(self, kind: Kind, given: Mapping[str, str]) -> None:
        if missing := [name for name in self.required[kind] if not given.get(name)]:
            told = f"Error creating {kind.removesuffix('s').upper()}. Some required properties were not set."
            raise errors.Refusal(400, "VALIDATION_ERROR", told, context={"properties": missing})
        if kind == "contacts" and not any(map(given.get, ("email", "firstname", "lastname"))):
            told = "Error creating CONTACT. One of email, firstname, lastname is required."
            raise errors.Refusal(400, "VALIDATION_ERROR", told)

    def _check(self, kind: Kind, given: Mapping[str, str], own_id: str) -> None:
        written = {name: value for name, value in given.items() if value}
        problems = list(problems_of(self.properties[kind], written))
        for name, value in written.items():
            holder = self._holder(kind, name, value) if self._is_unique(kind, name) else None
            if holder is None or holder.id == own_id:
                continue
            if name == "email":
                raise errors.contact_exists(holder.id)
            problems.append(errors.taken(name, value, holder.id))
        if problems:
            raise errors.invalid(problems)

    def _is_unique(self, kind: Kind, name: str) -> bool:
        known = self.properties[kind].get(name)
        return known is not None and (known.has_unique_value or name == "email")

    def _holder(self, kind: Kind, name: str, value: str) -> Record | None:
        wanted = value.lower()
        among = self.records[kind].values()
        return next((each for each in among if each.properties.get(name, "").lower() == wanted), None)


def _calculated(values: Mapping[str, str]) -> dict[str, str]:
    """The numbers as a search knows them: digits, without the country's where that is to be told."""
    return {
        "hs_searchable_calculated_phone_number": _searchable(values.get("phone", "")),
        "hs_searchable_calculated_mobile_number": _searchable(values.get("mobilephone", "")),
    }


def _searchable(number: str) -> str:
    import phonenumbers  # noqa: PLC0415  # of the extra `crm`

    try:
        return str(phonenumbers.national_significant_number(phonenumbers.parse(number, None)))
    except phonenumbers.NumberParseException:
        return "".join(filter(str.isdigit, number)).lstrip("0")
