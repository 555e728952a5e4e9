"""Contracts, quotes and the pool's cost: values in memory, request bodies and answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from finpool.billing.contract.models import Contract
from finpool.catalogue.price.schemas import BASIS_POINTS, Tier, TokenPrice
from finpool.kernel.ids import TenantId
from finpool.kernel.written_time import WrittenTime
from finpool.quota.schemas import PaymentTerms

SERVICE_WEIGHT_MAX = 1000
AMOUNT_MAX = 9_000_000_000_000_000
"""The largest amount or weight, which every JSON client reads exactly."""


@dataclass(frozen=True, slots=True)
class Quote(TokenPrice):
    """The price of one tenant's request in picos per token after its discount, and the tier of that price."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a contract that affect requests, invoices and the pool's fees."""

    discount_basis_points: int = 0
    commitment_micros: int = 0
    pool_weight: int = 0
    service_weight: int = 1
    service_share_min_basis_points: int = 0


NO_CONTRACT = Terms()
"""The terms of a tenant without a contract: list prices, no commitment, no pool fee, weight 1."""


class NewContract(BaseModel):
    """Body that sets a tenant's contract from a moment on. Every term about money is required, so that none is kept by
    accident. The terms of service default to those of a tenant without a contract.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    valid_from: WrittenTime | None = Field(None, description="When it begins; at once if left out.")
    payment: PaymentTerms | None = Field(None, description="How the tenant pays from now on; as before if left out.")
    discount_basis_points: int = Field(ge=0, le=BASIS_POINTS, strict=True, description="Off every price of a token.")
    commitment_micros: int = Field(ge=0, le=AMOUNT_MAX, strict=True, description="Least amount of a full month.")
    pool_weight: int = Field(
        ge=0, le=AMOUNT_MAX, strict=True, description="Weight in the shares of the pool's cost; 0: no member."
    )

    service_weight: int = Field(
        1, ge=1, le=SERVICE_WEIGHT_MAX, strict=True, description="Share of a busy engine beside the others' weights."
    )
    service_share_min_basis_points: int = Field(
        0, ge=0, le=BASIS_POINTS, strict=True, description="Share of a busy engine that the tenant gets at the least."
    )

    @property
    def terms(self) -> Terms:
        """The terms alone."""
        return Terms(
            self.discount_basis_points,
            self.commitment_micros,
            self.pool_weight,
            self.service_weight,
            self.service_share_min_basis_points,
        )


class ContractView(BaseModel):
    """A contract in a response. `payment` is its change of the payment terms, null without one."""

    object: Literal["contract"] = "contract"
    version: int
    valid_from: datetime
    payment: PaymentTerms | None
    discount_basis_points: int
    commitment_micros: int
    pool_weight: int
    service_weight: int
    service_share_min_basis_points: int
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, row: Contract) -> Self:
        """Return the response for a row."""
        return cls.model_validate(row.model_dump())


class ContractList(BaseModel):
    """All contracts of a tenant, the latest first."""

    object: Literal["list"] = "list"
    data: list[ContractView]


class OwnContractView(BaseModel):
    """The current terms of a tenant, and the terms that begin later, the nearest first."""

    object: Literal["organization.contract"] = "organization.contract"
    payment: PaymentTerms
    discount_basis_points: int
    commitment_micros: int
    pool_weight: int
    service_weight: int
    service_share_min_basis_points: int
    valid_from: datetime | None
    upcoming: list["UpcomingContractView"]


class UpcomingContractView(BaseModel):
    """Terms that begin later."""

    valid_from: datetime
    discount_basis_points: int
    commitment_micros: int
    pool_weight: int
    service_weight: int
    service_share_min_basis_points: int


class OwnPriceView(BaseModel):
    """A price in force for a tenant, in micros of the currency per million tokens; `until` is null without an end."""

    model: str
    service_tier: Literal["default", "flex"]
    tier: Tier
    price_version: str
    currency: str
    input_micros_per_million_tokens: int
    cached_input_micros_per_million_tokens: int
    output_micros_per_million_tokens: int
    until: datetime | None


class OwnPriceList(BaseModel):
    """The prices in force for a tenant at a moment."""

    object: Literal["list"] = "list"
    at: datetime
    data: list[OwnPriceView]


class NewPoolCost(BaseModel):
    """Body that sets the pool's cost of a month."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    amount_micros: int = Field(ge=0, le=AMOUNT_MAX)
    equal_share_basis_points: int = Field(
        ge=0, le=BASIS_POINTS, description="Part that members share equally; the rest goes by pool_weight."
    )


class Fee(BaseModel):
    """One member's fee of a month."""

    tenant_id: str
    pool_weight: int
    fee_micros: int


class PoolMonthView(BaseModel):
    """The pool's cost of a month and its members' fees. The fees sum to the amount if there is any member."""

    object: Literal["pool_month"] = "pool_month"
    month: date
    version: int
    currency: str
    amount_micros: int
    equal_share_basis_points: int
    fees: list[Fee]


def membership_fees(amount: int, equal_share_basis_points: int, weights: Mapping[TenantId, int]) -> dict[TenantId, int]:
    """Divide a whole `amount` among members by their positive weights, by the largest-remainder method.

    One part is divided equally, the rest in proportion to the weights. Each member gets the whole units of its exact
    part. The left units go one each to the largest remainders, then to the larger weight, then by id. So the parts sum
    to the amount. Without members the result is empty. Raises ValueError for a weight that is not positive.
    """
    if not weights:
        return {}
    if min(weights.values()) <= 0:
        raise ValueError("a member's weight is above 0")
    members, total = len(weights), sum(weights.values())
    by_weight = (BASIS_POINTS - equal_share_basis_points) * members
    whole = BASIS_POINTS * members * total
    exact = {
        member: amount * (equal_share_basis_points * total + by_weight * weight) for member, weight in weights.items()
    }
    parts = {member: numerator // whole for member, numerator in exact.items()}
    order = sorted(weights, key=lambda member: (-(exact[member] % whole), -weights[member], member))
    for member in order[: amount - sum(parts.values())]:
        parts[member] += 1
    return parts
