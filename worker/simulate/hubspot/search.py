"""Searching records as HubSpot does: groups of filters, any of which may hold, and no record too new."""

from collections.abc import Mapping
from typing import Any, Final

from consumers.tolerant_json import dump
from worker.simulate.hubspot.errors import Refusal
from worker.simulate.hubspot.portal import Portal
from worker.simulate.hubspot.properties import Kind

GROUPS_MAX: Final = 5
FILTERS_MAX: Final = 6
LIMIT_MAX: Final = 200
QUERY_MAX: Final = 3000
ALWAYS: Final = ("hs_object_id", "createdate", "lastmodifieddate")


def search(portal: Portal, kind: Kind, asked: Mapping[str, Any], shown_until: float) -> dict[str, Any]:
    """The answer to a search that has seen nothing later than `shown_until` (epoch seconds). Raises `Refusal`."""
    groups, limit = asked.get("filterGroups", []), int(asked.get("limit", 10))
    if len(dump(asked)) > QUERY_MAX:
        raise Refusal(400, "VALIDATION_ERROR", f"the request has more than {QUERY_MAX} characters")
    _check(portal, kind, groups, limit)
    found = []
    for record in portal.records[kind].values():
        values = record.shown(shown_until)
        if values is not None and any(_holds_all(group["filters"], values) for group in groups):
            told = record.tell()
            told["properties"] = {name: values.get(name) for name in (*ALWAYS, *asked.get("properties", ()))}
            found.append(told)
    return {"total": len(found), "results": found[:limit]}


def _check(portal: Portal, kind: Kind, groups: list[dict[str, Any]], limit: int) -> None:
    if len(groups) > GROUPS_MAX or any(len(group["filters"]) > FILTERS_MAX for group in groups):
        raise Refusal(400, "VALIDATION_ERROR", f"there are more than {GROUPS_MAX} groups or {FILTERS_MAX} filters")
    if not 0 < limit <= LIMIT_MAX:
        raise Refusal(400, "VALIDATION_ERROR", f"the limit is 1 to {LIMIT_MAX}")
    unknown = {each["propertyName"] for group in groups for each in group["filters"]} - portal.properties[kind].keys()
    if unknown:
        raise Refusal(400, "VALIDATION_ERROR", f"There was a problem with the request: no property {sorted(unknown)}")


def _holds_all(filters: list[dict[str, Any]], values: Mapping[str, str]) -> bool:
    return all(_holds(each, values.get(each["propertyName"], "")) for each in filters)


def _holds(asked: Mapping[str, Any], value: str) -> bool:
    wanted, value = str(asked.get("value", "")).lower(), value.lower()
    match asked.get("operator"):
        case "EQ":
            return value == wanted
        case "CONTAINS_TOKEN" if wanted.startswith("*"):
            return any(token.endswith(wanted[1:]) for token in _tokens(value))
        case "CONTAINS_TOKEN":
            return wanted in _tokens(value)
        case operator:
            raise Refusal(400, "VALIDATION_ERROR", f"operator {operator} is not simulated")


def _tokens(value: str) -> list[str]:
    return value.replace(";", " ").split()
