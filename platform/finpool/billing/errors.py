"""Why something cannot be billed, paid, credited or disputed."""

from finpool.kernel.errors import DomainError, InvalidRequest, NotFound


class InvoiceNotFound(NotFound):
    """No such invoice of this tenant; a draft is unknown to the tenant."""

    code = "invoice_not_found"

    def __init__(self, invoice_id: str) -> None:
        super().__init__(f"The invoice '{invoice_id}' does not exist.", param="invoice_id")


class LineNotFound(NotFound):
    """The invoice has no line of this number."""

    code = "line_not_found"

    def __init__(self, line_no: int) -> None:
        super().__init__(f"The invoice has no line {line_no}.", param="line_no")


class RequestNotFound(NotFound):
    """No usage of the tenant was recorded under this id."""

    code = "request_not_found"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"No usage of request '{request_id}' is recorded.", param="request_id")


class DisputeNotFound(NotFound):
    """No such dispute of this tenant."""

    code = "dispute_not_found"

    def __init__(self, dispute_id: str) -> None:
        super().__init__(f"The dispute '{dispute_id}' does not exist.", param="dispute_id")


class PeriodNotInvoiceable(InvalidRequest):
    """The period lies ahead, or was invoiced already."""

    code = "period_not_invoiceable"


class InvoiceNotReady(InvalidRequest):
    """The draft cannot be issued as it is."""

    code = "invoice_not_ready"


class WrongInvoiceStatus(InvalidRequest):
    """What was asked for is not possible with an invoice of this kind or status."""

    code = "wrong_invoice_status"


class UsageDoesNotAddUp(DomainError):
    """Recorded usage and its prices disagree: no invoice is made until someone has found out why."""

    status = 500
    code = "usage_does_not_add_up"

    def __init__(self, problem: str) -> None:
        super().__init__(f"No invoice was made: {problem}.")


class NotAWholeAmount(InvalidRequest):
    """The amount cannot be paid in the currency's smallest unit."""

    code = "not_a_whole_amount"

    def __init__(self, minor_unit_micros: int) -> None:
        super().__init__(
            f"The amount must be a multiple of {minor_unit_micros} micros, the currency's smallest unit.",
            param="amount_micros",
        )


class AboveWhatIsLeft(InvalidRequest):
    """More was to be paid or credited than is open."""

    code = "above_what_is_left"

    def __init__(self, of_what: str, left_micros: int) -> None:
        super().__init__(f"Of {of_what} only {left_micros} micros are left.", param="amount_micros")


class ReferenceUsed(InvalidRequest):
    """The reference stands for another payment or credit already."""

    code = "reference_used"

    def __init__(self, reference: str) -> None:
        super().__init__(f"The reference '{reference}' was used before with other amounts.", param="reference")


class AlreadyDisputed(InvalidRequest):
    """A dispute about the same is open already."""

    code = "already_disputed"

    def __init__(self) -> None:
        super().__init__("A dispute about this is open already; it is answered first.")


class AlreadyAnswered(InvalidRequest):
    """The dispute has another answer already."""

    code = "already_answered"

    def __init__(self) -> None:
        super().__init__("The dispute was answered before; an answer is never changed.")


class NotPrepaid(InvalidRequest):
    """Only prepaid tenants pay in advance."""

    code = "not_prepaid"

    def __init__(self) -> None:
        super().__init__("The tenant pays by invoice: change its contract to prepaid first.", param="tenant_id")
