"""A whole log is checked against its first head, page by page, while each page that is read lengthens it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.audit.schemas import FIRST_PREVIOUS, Entry, Head, canonical_entry, chain_hash
from finpool.cli import audit
from finpool.cli.main import run
from finpool.client import log_check
from finpool.client.api import ApiClient
from finpool.client.errors import CliError, ExitCode
from finpool.client.log_check import CheckedLog, check_log, parse_head

FRESH = LogFreshnessView(
    is_fresh=True, oldest_waiting_seconds=0.1, last_entry_seconds=1.0, quarantined=0, waiting_seconds_max=60
)


class GrowingLog(ApiClient):
    """The regulators' door in memory: each page that is read becomes an entry of its own."""

    def __init__(self, length: int) -> None:
        super().__init__("http://127.0.0.1:1", "fpr_token")
        self.entries: list[Entry] = []
        self.pages_read = 0
        for _ in range(length):
            self.append("usage.recorded")

    def append(self, kind: str) -> None:
        seq, previous = len(self.entries), bytes.fromhex(self.entries[-1].hash) if self.entries else FIRST_PREVIOUS
        at = datetime(2026, 11, 1, tzinfo=UTC)
        text = canonical_entry(seq=seq, occurred_at=at, kind=kind, tenant_id=None, body={})
        hashed = chain_hash(previous, text).hex()
        self.entries.append(Entry(seq=seq, tenant_id=None, entry=text.decode(), previous=previous.hex(), hash=hashed))

    def get(self, path: str, query: Any = None) -> dict[str, Any]:
        first = 0 if query["after"] is None else query["after"] + 1
        newest = self.entries[-1] if self.entries else None
        page = self.entries[first : first + query["limit"]]
        answer = {
            "data": [each.model_dump() for each in page],
            "head": newest and {"seq": newest.seq, "hash": newest.hash},
            "freshness": FRESH.model_dump(),
        }
        self.pages_read += 1
        self.append("regulator.read")
        return answer

    def head(self) -> Head:
        return Head(seq=self.entries[-1].seq, hash=self.entries[-1].hash)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_check, "PAGE_ENTRIES", 3)


@pytest.mark.parametrize(("length", "pages"), [(1, 1), (3, 1), (4, 2), (9, 3), (10, 4)])
def test_it_ends_at_the_head_of_the_first_answer_although_reading_lengthens_the_log(length: int, pages: int) -> None:
    log = GrowingLog(length)
    head = log.head()
    assert check_log(log, None) == CheckedLog(length, f"{head.seq}:{head.hash}", None, None, FRESH)
    assert log.pages_read == pages


def test_an_empty_log_is_intact_and_leads_to_no_kept_head() -> None:
    assert check_log(GrowingLog(0), None) == CheckedLog(0, None, None, None, FRESH)
    assert check_log(GrowingLog(0), Head(seq=0, hash="0" * 64)).kept_head_holds is False


@pytest.mark.parametrize("seq", [0, 2, 3, 7, 9])
def test_a_kept_head_holds_as_long_as_its_entry_is_the_same(seq: int) -> None:
    log = GrowingLog(10)
    kept = Head(seq=seq, hash=log.entries[seq].hash)
    assert check_log(log, kept).kept_head_holds is True
    assert check_log(log, kept.model_copy(update={"hash": "0" * 64})).kept_head_holds is False


def test_a_log_that_was_computed_anew_is_consistent_and_does_not_lead_to_the_kept_head() -> None:
    kept = GrowingLog(8).head()
    forged = GrowingLog(5)
    for _ in range(5):
        forged.append("limits.changed")
    checked = check_log(forged, kept)
    assert (checked.first_bad_seq, checked.kept_head_holds) == (None, False)


def test_a_log_that_was_cut_off_does_not_lead_to_the_kept_head() -> None:
    kept = GrowingLog(10).head()
    assert check_log(GrowingLog(6), kept).kept_head_holds is False


@pytest.mark.parametrize("seq", [0, 2, 3, 8])
def test_a_changed_entry_is_named_wherever_its_page_is(seq: int) -> None:
    log = GrowingLog(9)
    changed = log.entries[seq].entry.replace("usage", "other")
    log.entries[seq] = log.entries[seq].model_copy(update={"entry": changed})
    assert check_log(log, None).first_bad_seq == seq


def test_entries_that_the_head_promises_and_no_page_holds_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    log = GrowingLog(5)
    whole = log.get
    monkeypatch.setattr(log, "get", lambda *_: {**whole("", {"after": None, "limit": 2}), "head": log.head()})
    assert check_log(log, None).first_bad_seq == 2
    monkeypatch.setattr(log, "get", lambda *_: {**whole("", {"after": None, "limit": 0}), "head": log.head()})
    assert check_log(log, None).first_bad_seq == 0


def test_a_head_that_is_not_the_last_entrys_hash_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    log = GrowingLog(2)
    head = log.head().model_copy(update={"hash": "f" * 64})
    page = [each.model_dump() for each in log.entries]
    monkeypatch.setattr(
        log, "get", lambda *_: {"data": page, "head": head.model_dump(), "freshness": FRESH.model_dump()}
    )
    assert check_log(log, None).first_bad_seq == 1


def test_an_answer_that_is_no_page_of_the_log_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    log = GrowingLog(1)
    monkeypatch.setattr(log, "get", lambda *_: {"object": "list"})
    with pytest.raises(CliError, match="no page of the log"):
        check_log(log, None)


@pytest.mark.parametrize("text", ["", "7", "7:", ":" + "0" * 64, "-1:" + "0" * 64, "7:" + "g" * 64, "07:" + "0" * 64])
def test_a_head_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="is not a head"):
        parse_head(text)
    assert parse_head("7:" + "AB" * 32) == Head(seq=7, hash="ab" * 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"oldest_waiting_seconds": 75.2, "is_fresh": False}, "the audit log is stale: an event waits for 75 s"),
        ({"quarantined": 2, "is_fresh": False}, "2 events could not enter the audit log"),
    ],
)
def test_verify_fails_for_an_intact_log_that_is_not_fresh(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    log = GrowingLog(3)
    whole, freshness = log.get, {**FRESH.model_dump(), **changes}
    monkeypatch.setattr(log, "get", lambda path, query: {**whole(path, query), "freshness": freshness})
    monkeypatch.setattr(audit, "regulator_api", lambda: log)
    assert run(["audit", "verify"]) == ExitCode.VERIFICATION_FAILED
    shown = capsys.readouterr()
    assert said in shown.err
    assert "verified" not in shown.out
    monkeypatch.setattr(log, "get", whole)
    assert run(["audit", "verify"]) == ExitCode.OK
    assert "3 entries verified" not in capsys.readouterr().err
