"""Reading the parts of a damaged spool that are still readable. Nothing here writes to it."""

import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from finpool.metering.spool.file import is_damage
from finpool.metering.spool.schemas import RecordKind, decode_intent, decode_lease_return, decode_settlement

LOOKUPS_MAX = 1_000_000
"""The most records to look up one by one around an unreadable page."""

_INTENT = "SELECT request_id, body, input_tokens, cached_input_tokens, output_tokens FROM intent"
_RECORD = "SELECT seq, kind, body FROM record"
_ASIDE = "SELECT seq, kind, body FROM aside"
_SHOWN_RANGES_MAX = 100


@dataclass(frozen=True, slots=True)
class SavedIntent:
    """An intent of the file; `fault` describes why it cannot be decoded, or is None."""

    request_id: str
    body: bytes
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A record of the file; `fault` describes why it cannot be decoded, or is None."""

    seq: int
    kind: str
    body: bytes
    fault: str | None


@dataclass(slots=True)
class Findings:
    """The findings of one reading of a spool.

    `missing` are unreadable numbers between the first readable record and the last used number, without those in
    `aside`. `digest` is SHA-256 over all decodable content.
    """

    spool_id: str | None = None
    last_seq: int | None = None
    intents: int = 0
    records: int = 0
    first_seq: int | None = None
    damaged_intents: list[str] = field(default_factory=list)
    damaged_records: list[int] = field(default_factory=list)
    aside: list[int] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    digest: str = ""

    @property
    def intact(self) -> bool:
        """Whether everything in the file can be read and decoded."""
        return not (self.faults or self.damaged_intents or self.damaged_records)


class Salvage:
    """One reading of a spool; `findings` is complete after `intents`, `aside` and `records` are read to their ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._digest = hashlib.sha256()
        self._seen_seq: int | None = None
        self._broke_off = False
        self.findings = Findings()
        for row in self._try("PRAGMA quick_check(20)"):
            if row[0] != "ok":
                self.findings.faults.append(str(row[0]))
        for row in self._try("SELECT spool_id FROM meta LIMIT 1"):
            self.findings.spool_id = str(row[0])
        for row in self._try("SELECT seq FROM sqlite_sequence WHERE name = 'record'"):
            self.findings.last_seq = int(row[0])

    def intents(self) -> Iterator[SavedIntent]:
        """Yield every readable intent, undecodable ones included."""
        for row in self._both_ways(_INTENT, "request_id", ""):
            request_id, body, input_tokens, cached_input_tokens, output_tokens = row
            fault = _fault_of_intent(body)
            if fault is None and not all(isinstance(mark, int) for mark in row[2:]):
                fault = "its marks are not numbers"
            if fault is None:
                self.findings.intents += 1
                self._digest.update(repr(row).encode())
            else:
                self.findings.damaged_intents.append(str(request_id))
            yield SavedIntent(
                str(request_id), _bytes(body), input_tokens, cached_input_tokens, output_tokens, fault=fault
            )

    def aside(self) -> Iterator[SavedRecord]:
        """Yield every record that an operator has set aside."""
        if not list(self._try("SELECT 1 FROM sqlite_master WHERE name = 'aside'")):
            return
        for seq, kind, body in self._both_ways(_ASIDE, "seq", 0):
            self.findings.aside.append(seq)
            yield SavedRecord(seq, str(kind), _bytes(body), _fault_of_record(kind, body))

    def records(self) -> Iterator[SavedRecord]:
        """Yield every readable record in order, undecodable ones included."""
        for seq, kind, body in self._both_ways(_RECORD, "seq", 0):
            fault = _fault_of_record(kind, body)
            if fault is None:
                self.findings.records += 1
                self._digest.update(repr((seq, kind, body)).encode())
            else:
                self.findings.damaged_records.append(seq)
            self._note_number(seq)
            yield SavedRecord(seq, str(kind), _bytes(body), fault)
        if self._seen_seq is not None and self.findings.last_seq is not None:
            self._note_missing(self._seen_seq + 1, self.findings.last_seq)
        self.findings.digest = self._digest.hexdigest()

    def _note_number(self, seq: int) -> None:
        if self._seen_seq is None:
            self.findings.first_seq = seq
        else:
            self._note_missing(self._seen_seq + 1, seq - 1)
        self._seen_seq = seq

    def _note_missing(self, first: int, last: int) -> None:
        for aside in [seq for seq in self.findings.aside if first <= seq <= last]:
            self._note_range(first, aside - 1)
            first = aside + 1
        self._note_range(first, last)

    def _note_range(self, first: int, last: int) -> None:
        if first <= last and len(self.findings.missing) < _SHOWN_RANGES_MAX:
            self.findings.missing.append(str(first) if first == last else f"{first}-{last}")

    def _both_ways(self, select: str, key: str, lowest: Any) -> Iterator[tuple[Any, ...]]:
        """Read from the lowest key upwards; after an unreadable page read from the highest key downwards.

        Integer keys between both ends are looked up one by one.
        """
        last = lowest
        self._broke_off = False
        for row in self._try(f"{select} WHERE {key} > ? ORDER BY {key}", last):
            last = row[0]
            yield row
        if not self._broke_off:
            return
        upper = list(self._try(f"{select} WHERE {key} > ? ORDER BY {key} DESC", last))
        if isinstance(last, int):
            end = upper[-1][0] if upper else (self.findings.last_seq or last) + 1
            yield from self._one_by_one(f"{select} WHERE {key} = ?", range(last + 1, min(end, last + LOOKUPS_MAX)))
        yield from reversed(upper)

    def _one_by_one(self, query: str, keys: range) -> Iterator[tuple[Any, ...]]:
        for each in keys:
            try:
                yield from self._connection.execute(query, (each,)).fetchall()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise

    def _try(self, query: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        """Yield rows until the file becomes unreadable, and note the error."""
        try:
            yield from self._connection.execute(query, parameters)
        except sqlite3.Error as error:
            if not is_damage(error) and not isinstance(error, sqlite3.OperationalError):
                raise
            self._broke_off = True
            if str(error) not in self.findings.faults:
                self.findings.faults.append(str(error))


def exported(saved: SavedIntent | SavedRecord, table: str = "record") -> dict[str, Any]:
    """Return one line of an export; an undecodable body is given as base64, with its fault."""
    line: dict[str, Any]
    if isinstance(saved, SavedIntent):
        marks = {name: getattr(saved, name) for name in ("input_tokens", "cached_input_tokens", "output_tokens")}
        line = {"table": "intent", "request_id": saved.request_id, **marks}
    else:
        line = {"table": table, "seq": saved.seq, "kind": saved.kind}
    if saved.fault is None:
        return {**line, "body": orjson.loads(saved.body)}
    return {**line, "fault": saved.fault, "body_base64": base64.b64encode(saved.body).decode()}


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else str(body).encode()


def _fault_of_intent(body: Any) -> str | None:
    try:
        decode_intent(body)
    except (ValueError, LookupError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _fault_of_record(kind: Any, body: Any) -> str | None:
    decode = {RecordKind.SETTLEMENT: decode_settlement, RecordKind.LEASE_RETURN: decode_lease_return}.get(kind)
    if decode is None:
        return f"a record of kind {kind!r} is not known"
    try:
        decode(body)
    except (ValueError, LookupError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
