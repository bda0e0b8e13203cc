"""What is written of a setting, made into a value of its type."""

from typing import Any, Final

import msgspec
from msgspec.structs import FieldInfo, fields

from worker.settings.expected import expected
from worker.settings.fields import PREFIX, SECTIONS, Settings
from worker.settings.secret import Secret

FIELDS: Final[dict[str, FieldInfo]] = {
    f"{PREFIX}{field.name.upper()}": field
    for field in fields(Settings)
    if field.name not in ("accounts", "bindings", "given", *SECTIONS)
}
FROM_KUBERNETES: Final = (
    "Kubernetes set it for a Service of that name: put `enableServiceLinks: false` into the pod's spec"
)


def put(values: dict[str, Any], field: FieldInfo, key: str, value: Any, problems: list[str]) -> None:
    """Put the value of `key` among the `values`, or say among the `problems` what is wrong with it."""
    try:
        values[field.name] = _typed(field, value)
    except (msgspec.ValidationError, ValueError):
        problems.append(f"{key}: {_explain(field, value)}")


def _typed(field: FieldInfo, value: Any) -> Any:
    if isinstance(field.default, Secret):
        return value if isinstance(value, Secret) else Secret(str(value))
    text = value.reveal() if isinstance(value, Secret) else value
    if isinstance(field.default, tuple) and isinstance(text, str):
        text = [part for part in map(str.strip, text.split(",")) if part]
    return msgspec.convert(text, field.type, strict=False)


def _explain(field: FieldInfo, value: Any) -> str:
    if str(value).startswith("tcp://"):
        return FROM_KUBERNETES
    given = "what its file holds" if isinstance(value, Secret) else repr(str(value))
    return f"{given} is not {expected(field.type)}"


def nearest(key: str) -> str:
    """Which setting is meant by a key that is none."""
    import difflib  # noqa: PLC0415  # only on the way to an error

    # Without what is common to all, which would make anything look near.
    near = difflib.get_close_matches(key.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in FIELDS], n=1)
    return f": did you mean {PREFIX}{near[0]}?" if near else ": `aftercall config` lists them"
