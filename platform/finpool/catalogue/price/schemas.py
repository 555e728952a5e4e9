"""Prices: a token's price, its schedule by tier and hour, and the body that schedules one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from finpool.catalogue.model.schemas import CurrencyCode, Model, Price, TokenUsage, price_version_name
from finpool.kernel.money import Picos
from finpool.kernel.written_time import WrittenTime

FOR_EVER = datetime.max.replace(tzinfo=UTC)
BASIS_POINTS = 10_000
PRICE_MAX = 1_000_000_000_000
"""The largest price to schedule, in micros per million tokens: one currency unit per token."""


class Tier(StrEnum):
    """A tier of a model's prices. Off-peak is standard service at the off-peak hours."""

    STANDARD = "standard"
    BATCH = "batch"
    OFF_PEAK = "off_peak"


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The price of a token in picos of `currency`. `price_version` is derived from the amounts."""

    price_version: str
    model_id: str
    currency: CurrencyCode
    input_picos: int
    cached_input_picos: int
    output_picos: int

    @classmethod
    def of(cls, model_id: str, price: Price) -> Self:
        """Return the declared price in picos per token; micros per million tokens are the same number."""
        return cls(
            price_version=price_version_name(model_id, price),
            model_id=model_id,
            currency=price.currency,
            input_picos=price.input_micros_per_million_tokens,
            cached_input_picos=price.cached_input_micros_per_million_tokens,
            output_picos=price.output_micros_per_million_tokens,
        )

    def declared(self) -> Price:
        """Return the price in the catalogue's form."""
        return Price(
            currency=self.currency,
            input_micros_per_million_tokens=self.input_picos,
            cached_input_micros_per_million_tokens=self.cached_input_picos,
            output_micros_per_million_tokens=self.output_picos,
        )

    def is_named_rightly(self) -> bool:
        """Tell whether `price_version` is the name derived from these amounts."""
        try:
            return price_version_name(self.model_id, self.declared()) == self.price_version
        except ValidationError:
            return False

    def discounted(self, basis_points: int) -> "TokenPrice":
        """Return the price less a discount of 0 to 10000 basis points; each amount is rounded down once, in the bank's
        favour.
        """
        if basis_points == 0:
            return self
        rest = BASIS_POINTS - basis_points
        price = Price(
            currency=self.currency,
            input_micros_per_million_tokens=self.input_picos * rest // BASIS_POINTS,
            cached_input_micros_per_million_tokens=self.cached_input_picos * rest // BASIS_POINTS,
            output_micros_per_million_tokens=self.output_picos * rest // BASIS_POINTS,
        )
        return TokenPrice.of(self.model_id, price)

    def cost(self, usage: TokenUsage) -> Picos:
        """Return the exact cost of these tokens in picos."""
        fresh = usage.input_tokens - usage.cached_input_tokens
        return Picos(
            fresh * self.input_picos
            + usage.cached_input_tokens * self.cached_input_picos
            + usage.output_tokens * self.output_picos
        )


@dataclass(frozen=True, slots=True)
class OffPeakHours:
    """Hours of the day (UTC), from one minute up to and without another; they may pass midnight."""

    from_minute: int
    until_minute: int

    def hold_at(self, at: datetime) -> bool:
        """Tell whether `at` lies within the hours."""
        moment = at.astimezone(UTC)
        minute = moment.hour * 60 + moment.minute
        if self.from_minute < self.until_minute:
            return self.from_minute <= minute < self.until_minute
        return minute >= self.from_minute or minute < self.until_minute

    def next_edge(self, at: datetime) -> datetime:
        """Return the next time after `at` at which the hours begin or end."""
        midnight = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
        edges = (
            midnight + timedelta(days=day, minutes=minute)
            for day in (0, 1)
            for minute in (self.from_minute, self.until_minute)
        )
        return min(edge for edge in edges if edge > at)


@dataclass(frozen=True, slots=True)
class ScheduledPrice:
    """A price of a model's tier from `valid_from` on; None ends the tier. `schedule_id` orders rows of equal time."""

    schedule_id: int
    model_id: str
    tier: Tier
    valid_from: datetime
    price: TokenPrice | None
    off_peak: OffPeakHours | None


@dataclass(frozen=True, slots=True)
class PriceHeld:
    """A price with the time until which it certainly holds."""

    price: TokenPrice
    tier: Tier
    until: datetime


class PriceBook:
    """Every scheduled price. A model's declared price is its standard price until its first scheduled one begins."""

    def __init__(self, rows: Iterable[ScheduledPrice]) -> None:
        self._rows: dict[tuple[str, Tier], list[ScheduledPrice]] = {}
        for row in sorted(rows, key=lambda each: (each.valid_from, each.schedule_id)):
            self._rows.setdefault((row.model_id, row.tier), []).append(row)

    def rows(self, model_id: str) -> list[ScheduledPrice]:
        """Return a model's scheduled prices by tier, each tier in order of `valid_from`."""
        return [row for tier in Tier for row in self._rows.get((model_id, tier), [])]

    def in_force(self, model_id: str, tier: Tier, at: datetime) -> ScheduledPrice | None:
        """Return the tier's row in force at `at`, or None; that row may be one that ended the tier."""
        begun = [row for row in self._rows.get((model_id, tier), ()) if row.valid_from <= at]
        return begun[-1] if begun else None

    def held(self, model: Model, tier: Tier, at: datetime) -> PriceHeld | None:
        """Return the price of a request at `at` for standard or batch service; None without a batch price."""
        if tier is Tier.BATCH:
            batch = self.in_force(model.id, Tier.BATCH, at)
            if batch is None or batch.price is None:
                return None
            return PriceHeld(batch.price, Tier.BATCH, self.next_start(model.id, (Tier.BATCH,), at))
        until = self.next_start(model.id, (Tier.STANDARD, Tier.OFF_PEAK), at)
        off_peak = self.in_force(model.id, Tier.OFF_PEAK, at)
        if off_peak is not None and off_peak.price is not None and off_peak.off_peak is not None:
            until = min(until, off_peak.off_peak.next_edge(at))
            if off_peak.off_peak.hold_at(at):
                return PriceHeld(off_peak.price, Tier.OFF_PEAK, until)
        standard = self.in_force(model.id, Tier.STANDARD, at)
        price = standard.price if standard is not None else None
        return PriceHeld(price or TokenPrice.of(model.id, model.price), Tier.STANDARD, until)

    def next_start(self, model_id: str, tiers: tuple[Tier, ...], at: datetime) -> datetime:
        """Return the start of the next scheduled price of these tiers after `at`, or `FOR_EVER`."""
        starts = (row.valid_from for tier in tiers for row in self._rows.get((model_id, tier), ()))
        return min((start for start in starts if start > at), default=FOR_EVER)


Amount = Annotated[int, Field(ge=0, le=PRICE_MAX)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""Hours and minutes in UTC, such as 22:00."""


class Amounts(BaseModel):
    """Prices in micros per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_micros_per_million_tokens: Amount
    cached_input_micros_per_million_tokens: Amount
    output_micros_per_million_tokens: Amount

    @model_validator(mode="after")
    def _cached_input_is_not_dearer(self) -> Self:
        if self.cached_input_micros_per_million_tokens > self.input_micros_per_million_tokens:
            raise ValueError("cached_input_micros_per_million_tokens is above input_micros_per_million_tokens")
        return self


class NewScheduledPrice(BaseModel):
    """Body that schedules a price of a tier, in the catalogue's currency; a null price ends batch or off-peak."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: Tier
    price: Amounts | None
    valid_from: WrittenTime | None = Field(None, description="When it begins; at once if left out.")
    off_peak_from: TimeOfDay | None = None
    off_peak_until: TimeOfDay | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.price is None and self.tier is Tier.STANDARD:
            raise ValueError("a model always has a standard price; only batch and off_peak can be ended")
        hours = (self.off_peak_from is not None, self.off_peak_until is not None)
        if hours != ((self.tier is Tier.OFF_PEAK and self.price is not None),) * 2:
            raise ValueError("off_peak_from and off_peak_until go with an off_peak price, and only with one")
        if self.off_peak_from is not None and self.off_peak_from == self.off_peak_until:
            raise ValueError("off_peak_from and off_peak_until are the same: for the whole day set a standard price")
        return self

    @property
    def hours(self) -> OffPeakHours | None:
        """The off-peak hours, or None for another tier."""
        if self.off_peak_from is None or self.off_peak_until is None:
            return None
        return OffPeakHours(_minute(self.off_peak_from), _minute(self.off_peak_until))


def _minute(time_of_day: str) -> int:
    hour, _, minute = time_of_day.partition(":")
    return int(hour) * 60 + int(minute)
