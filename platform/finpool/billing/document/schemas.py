"""File formats of invoices, and the input of the renderer."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from finpool.billing.invoice.schemas import InvoiceView, TokenKind

Month = Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]


class DocumentFormat(StrEnum):
    """The format of one invoice: PDF for people, CSV of its lines for spreadsheets."""

    PDF = "pdf"
    CSV = "csv"


class FocusFormat(StrEnum):
    """The format of a FOCUS 1.3 Cost and Usage file over any number of invoices."""

    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES = {
    "pdf": "application/pdf",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


class Rendering(BaseModel):
    """The renderer's input: invoices with all data of their file. `focus` selects a FOCUS file over a document."""

    model_config = ConfigDict(frozen=True)

    name: str
    format: DocumentFormat | FocusFormat
    focus: bool
    invoices: tuple[InvoiceView, ...]
    project_names: dict[str, str] = {}
    list_picos: dict[str, dict[TokenKind, int]] = {}


class MissingGlyph(Exception):
    """No font has this character of a document's field."""

    def __init__(self, character: str, field: str) -> None:
        super().__init__(character, field)
        self.character = character
        self.field = field


class RenderedFile(BaseModel):
    """A rendered file with its name and media type."""

    model_config = ConfigDict(frozen=True)

    name: str
    media_type: str
    content: bytes


class DocumentQuery(BaseModel):
    """Query of an invoice's document."""

    model_config = ConfigDict(extra="forbid")

    format: DocumentFormat = Field(DocumentFormat.PDF, description="For people (pdf), or the lines (csv).")


class FocusQuery(BaseModel):
    """Query of a FOCUS file: documents whose periods end in the months from `from` to `to`."""

    model_config = ConfigDict(extra="forbid")

    start: Month = Field(alias="from", description="First month, such as 2026-10.")
    end: Month = Field(alias="to", description="Last month.")
    format: FocusFormat = Field(FocusFormat.CSV, description="csv or parquet.")

    @field_validator("end")
    @classmethod
    def _ends_after_it_begins(cls, end: str, info: ValidationInfo) -> str:
        if end < info.data.get("start", end):
            raise PydanticCustomError("order", "must not be earlier than `from`")
        return end


class OwnFocusQuery(FocusQuery):
    """Query of a tenant's own FOCUS file."""

    draft: bool = Field(
        False, description="Also the charges that no invoice has yet, if their period ends in these months."
    )
