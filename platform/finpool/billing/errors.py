"""Errors of invoices, payments, credit notes and disputes."""

import unicodedata

from finpool.kernel.errors import DomainError, InvalidRequest, NotFound


class InvoiceNotFound(NotFound):
    """The tenant has no such invoice; a tenant does not see drafts."""

    code = "invoice_not_found"

    def __init__(self, invoice_id: str) -> None:
        super().__init__(f"The invoice '{invoice_id}' does not exist.", param="invoice_id")


class LineNotFound(NotFound):
    """The invoice has no line of this number."""

    code = "line_not_found"

    def __init__(self, line_no: int) -> None:
        super().__init__(f"The invoice has no line {line_no}.", param="line_no")


class RequestNotFound(NotFound):
    """The tenant has no usage record of this request."""

    code = "request_not_found"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"No usage of request '{request_id}' is recorded.", param="request_id")


class DisputeNotFound(NotFound):
    """The tenant has no such dispute."""

    code = "dispute_not_found"

    def __init__(self, dispute_id: str) -> None:
        super().__init__(f"The dispute '{dispute_id}' does not exist.", param="dispute_id")


class CharacterNotPrintable(InvalidRequest):
    """No font of the platform has a character of the document, so there is no PDF of it; CSV and JSON hold the text."""

    code = "character_not_printable"

    def __init__(self, character: str, field: str) -> None:
        name = unicodedata.name(character, "without a name")
        super().__init__(
            f"The PDF cannot show '{character}' (U+{ord(character):04X}, {name}) of {field}: no font here has it."
            " Take format=csv or the JSON, which hold the text exactly.",
            param="format",
        )


class PeriodNotInvoiceable(InvalidRequest):
    """The period has not begun, or is already invoiced."""

    code = "period_not_invoiceable"


class InvoiceNotReady(InvalidRequest):
    """The draft cannot be issued in its present state."""

    code = "invoice_not_ready"


class WrongInvoiceStatus(InvalidRequest):
    """The invoice's kind or status does not allow this action."""

    code = "wrong_invoice_status"


class UsageDoesNotAddUp(DomainError):
    """Recorded usage and its prices disagree; no invoice is drafted until an operator has found the cause."""

    status = 500
    code = "usage_does_not_add_up"

    def __init__(self, problem: str) -> None:
        super().__init__(f"No invoice was made: {problem}.")


class NotAWholeAmount(InvalidRequest):
    """The amount is not a multiple of the currency's smallest unit."""

    code = "not_a_whole_amount"

    def __init__(self, minor_unit_micros: int) -> None:
        super().__init__(
            f"The amount must be a multiple of {minor_unit_micros} micros, the currency's smallest unit.",
            param="amount_micros",
        )


class AboveWhatIsLeft(InvalidRequest):
    """The payment or credit exceeds the open amount."""

    code = "above_what_is_left"

    def __init__(self, of_what: str, left_micros: int) -> None:
        super().__init__(f"Of {of_what} only {left_micros} micros are left.", param="amount_micros")


class ReferenceUsed(InvalidRequest):
    """The reference already stands for another payment or credit."""

    code = "reference_used"

    def __init__(self, reference: str) -> None:
        super().__init__(f"The reference '{reference}' was used before with other amounts.", param="reference")


class AlreadyDisputed(InvalidRequest):
    """A dispute on the same subject is already open."""

    code = "already_disputed"

    def __init__(self) -> None:
        super().__init__("A dispute about this is open already; it is answered first.")


class AlreadyAnswered(InvalidRequest):
    """The dispute already has another answer."""

    code = "already_answered"

    def __init__(self) -> None:
        super().__init__("The dispute was answered before; an answer is never changed.")


class NotPrepaid(InvalidRequest):
    """Only prepaid tenants pay in advance."""

    code = "not_prepaid"

    def __init__(self) -> None:
        super().__init__("The tenant pays by invoice: change its contract to prepaid first.", param="tenant_id")
