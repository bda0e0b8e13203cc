"""The formats of an export, each written as the calls come, in bounded memory."""

import csv
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, Protocol, get_args

from msgspec.structs import fields

from consumers.postcall import COLUMNS, CallRow, body_of
from consumers.tolerant_json import dump, parse
from worker.settings import SettingsError

FormatName = Literal["ndjson", "csv", "parquet"]
EXPORTED: Final = tuple(name for name in COLUMNS if name not in ("rank", "body"))
MOMENTS: Final = frozenset(name for name in EXPORTED if name.endswith("_at"))
TYPES: Final = {field.name: field.type for field in fields(CallRow)}
GROUP_ROWS: Final = 5000
GROUP_CHARACTERS: Final = 2**24


class Writer(Protocol):
    """Writes calls; `without` are the columns of the archive that it needs not."""

    without: tuple[str, ...]

    def add(self, row: CallRow) -> None:
        """Write a call."""

    def end(self) -> None:
        """Write what is left."""


def values_of(row: CallRow) -> dict[str, Any]:
    """What an export has of a call, by the names of the columns."""
    return {name: getattr(row, name) for name in EXPORTED} | {"missing": ",".join(row.missing)}


class Ndjson:
    """The enriched calls whole, as subscribers get them, a line each."""

    without: tuple[str, ...] = ("transcript", "summary", "structured_data", "structured_outputs")

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def add(self, row: CallRow) -> None:
        """Write a call."""
        body = body_of(row)
        self._out.write((dump(parse(body)) if b"\n" in body else body) + b"\n")

    def end(self) -> None:
        """Nothing is left."""


class Csv:
    """The columns of the archive, as RFC 4180 has it, in UTF-8."""

    without: tuple[str, ...] = ("body",)

    def __init__(self, out: BinaryIO) -> None:
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.DictWriter(self._text, EXPORTED)
        self._writer.writeheader()

    def add(self, row: CallRow) -> None:
        """Write a call."""
        self._writer.writerow(values_of(row))

    def end(self) -> None:
        """Let go of the file, which is not ours to close."""
        self._text.detach()


class Parquet:
    """The columns of the archive, with their types, in row groups that fit into memory.

    Raises `SettingsError` if pyarrow is not installed.
    """

    without: tuple[str, ...] = ("body",)

    def __init__(self, out: BinaryIO) -> None:
        try:
            import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415  # large, and for this alone
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as error:
            mend = "pip install 'aftercall[parquet]'"
            raise SettingsError(
                [f"--format parquet needs pyarrow, which is not installed: {mend} ({error})"]
            ) from error
        self._arrow = pa
        self._schema = pa.schema([(name, self._type(name)) for name in EXPORTED])
        self._writer = parquet.ParquetWriter(out, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._characters = 0

    def add(self, row: CallRow) -> None:
        """Write a call with its group."""
        moments = {name: datetime.fromisoformat(at) for name in MOMENTS if (at := getattr(row, name)) is not None}
        self._rows.append(values_of(row) | moments)
        self._characters += len(row.transcript or "") + len(row.structured_data or "")
        if len(self._rows) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._write_group()

    def end(self) -> None:
        """Write the last group, and the index of all."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._characters = [], 0

    def _type(self, name: str) -> Any:
        if name in MOMENTS:
            return self._arrow.timestamp("ms", tz="UTC")
        types = {float: self._arrow.float64(), int: self._arrow.int64(), bool: self._arrow.bool_()}
        kind = TYPES[name]
        return next((found for of, found in types.items() if of in (kind, *get_args(kind))), self._arrow.string())


FORMATS: Final[Mapping[FormatName, Callable[[BinaryIO], Writer]]] = {"ndjson": Ndjson, "csv": Csv, "parquet": Parquet}
