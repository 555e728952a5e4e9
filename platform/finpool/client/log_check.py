"""The check of the audit log over the regulator API: every hash is computed here, one page at a time."""

import re
from dataclasses import dataclass

from pydantic import ValidationError

from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.audit.schemas import FIRST_PREVIOUS, Entry, Head, verify_chain
from finpool.client.api import ApiClient
from finpool.client.errors import CliError, ExitCode

PAGE_ENTRIES = 1000

_HEAD = re.compile(r"(0|[1-9][0-9]{0,15}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class CheckedLog:
    """The result of a check: the number of intact entries, the head, and the first bad entry.

    `kept_head_holds` is None without a head to compare. `freshness` is the log's at the begin of the check.
    """

    entries: int
    head: str | None
    first_bad_seq: int | None
    kept_head_holds: bool | None
    freshness: LogFreshnessView


def parse_head(text: str) -> Head:
    """Read a head as `audit verify` prints it, SEQ:HASH; raise `CliError` for any other text."""
    match = _HEAD.fullmatch(text.strip().lower())
    if match is None:
        raise CliError(
            f"{text!r} is not a head: give SEQ:HASH, the entry's number and 64 hexadecimal digits, as an earlier"
            " `finpool audit verify` printed it",
            code="usage",
            exit_code=ExitCode.USAGE,
        )
    return Head(seq=int(match[1]), hash=match[2])


def check_log(api: ApiClient, kept: Head | None) -> CheckedLog:
    """Check every entry up to the head of the first answer, and the hash of the kept head's entry.

    Each page read appends an entry to the log, so reading until the end would never finish.
    """
    head, entries, freshness = _page(api, after=None)
    seq, previous, kept_holds = 0, FIRST_PREVIOUS.hex(), None if kept is None else False
    named = None if head is None else f"{head.seq}:{head.hash}"
    while head is not None and seq <= head.seq:
        page = [entry for entry in entries if entry.seq <= head.seq]
        bad = verify_chain(page, first_seq=seq, previous=previous)
        if bad is not None or not page:
            return CheckedLog(seq if bad is None else bad, named, seq if bad is None else bad, kept_holds, freshness)
        if kept is not None and seq <= kept.seq <= page[-1].seq:
            kept_holds = page[kept.seq - seq].hash == kept.hash
        seq, previous = page[-1].seq + 1, page[-1].hash
        if seq <= head.seq:
            _, entries, _ = _page(api, after=seq - 1)
    if head is not None and previous != head.hash:
        return CheckedLog(head.seq, named, head.seq, kept_holds, freshness)
    return CheckedLog(seq, named, None, kept_holds, freshness)


def _page(api: ApiClient, *, after: int | None) -> tuple[Head | None, list[Entry], LogFreshnessView]:
    answer = api.get("/v1/entries", {"after": after, "limit": PAGE_ENTRIES})
    try:
        head = None if answer["head"] is None else Head.model_validate(answer["head"])
        freshness = LogFreshnessView.model_validate(answer["freshness"])
        return head, [Entry.model_validate(each) for each in answer["data"]], freshness
    except (KeyError, TypeError, ValidationError) as error:
        raise CliError(
            f"{api.base_url} answered with something that is no page of the log", code="bad_answer"
        ) from error
