"""The settings of every process, read from the environment (`FINPOOL_<NAME>`). docs/settings.md lists them."""

import re
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import SLUG_PATTERN

SECRET_LENGTH_MIN = 32
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class Settings(BaseSettings):
    """Settings of one process. Units are the last word of each name."""

    model_config = SettingsConfigDict(env_prefix="FINPOOL_", extra="ignore", frozen=True)

    home: Path = Field(Path(".finpool"), description="Directory that holds all state of a one-machine installation.")
    host: str = Field(
        "127.0.0.1",
        description="Address the apps listen on; loopback unless a cluster isolates them. `::` is every address, IPv6"
        " and IPv4.",
    )
    port: int = Field(
        8000,
        ge=1024,
        le=65500,
        description="Inference and tenant port. Operator API: +1; regulator API: +2; Ray Serve: +10.",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level that is logged.")
    log_bytes_max: int = Field(
        16_777_216, ge=65_536, description="Size of a log in HOME at which it is moved to NAME.1 and begun anew."
    )
    replica_id: str = Field(
        "local",
        pattern=SLUG_PATTERN,
        description="Name of this inference replica, stable over restarts: it owns a spool and its leases.",
    )

    owner_database_url: SecretStr | None = Field(None, description="Role that owns the schema; only `migrate` uses it.")
    inference_database_url: SecretStr | None = Field(None, description="Role of the inference path.")
    tenant_database_url: SecretStr | None = Field(None, description="Role of the tenant API.")
    operator_database_url: SecretStr | None = Field(None, description="Role of the operator API.")
    regulator_database_url: SecretStr | None = Field(None, description="Role of the regulator API.")
    pool_database_url: SecretStr | None = Field(None, description="Role of the pool on one machine.")
    worker_database_url: SecretStr | None = Field(None, description="Role of the recorder and the sequencer.")
    database_pool_connections_max: int = Field(5, ge=1, le=100, description="Connections one process may open.")
    caller_requests_max: int = Field(8, ge=1, description="Requests of a bank or token at a time, beside inference.")
    caller_requests_waiting_max: int = Field(16, ge=0, description="Further ones that wait; one more is a 429.")
    caller_documents_max: int = Field(1, ge=1, description="Files made for one bank or token at a time.")
    caller_wait_seconds_max: float = Field(10, gt=0, description="Longest wait of such a request, before a 429.")
    documents_max: int = Field(2, ge=1, description="Files one door makes at a time, each in a process of its own.")

    secrets_dir: Path | None = Field(
        None,
        description="Directory with `key_pepper`, `engine_token` and keys of remote engines; by default HOME/secrets.",
    )
    spool_dir: Path | None = Field(
        None, description="Directory of this replica's spool, on a volume of its own; by default HOME/spool."
    )
    spool_bytes_max: int = Field(
        1_073_741_824, ge=1_048_576, description="Size in bytes at which the spool is full and new work is refused."
    )
    catalogue_dir: Path | None = Field(
        None, description="Directory of model declarations (YAML); by default those that come with the package."
    )
    weights_dir: Path | None = Field(None, description="Directory of model weights; by default HOME/weights.")
    hub_url: str | None = Field(
        None, description="Base URL of a Hugging Face style hub, for models whose weights come from one."
    )
    serve_url: str | None = Field(
        None, description="Base URL of Ray Serve, as the inference app reaches it; by default loopback, PORT + 10."
    )

    snapshot_age_max_seconds: float = Field(
        60, gt=0, description="Keys, policy and limits older than this are not trusted: requests get 503."
    )
    body_bytes_max: int = Field(1_048_576, ge=1024, description="Largest request body in bytes; larger is a 413.")
    head_bytes_max: int = Field(
        65_536, ge=4096, description="Largest request line and headers together in bytes; larger is a 431."
    )
    request_arrival_seconds_max: float = Field(
        30, gt=0, description="A request whose head and body have not arrived after this gets a 408."
    )
    connections_max: int = Field(
        2048, ge=1, description="Connections one door serves at a time; a request on one more gets a 503."
    )
    connections_per_address_max: int = Field(
        512, ge=1, description="Connections of one client address at one door; a request on one more gets a 429."
    )
    requests_per_key_max: int = Field(
        512, ge=1, description="Requests of one key under way at one door at a time; one more gets a 429."
    )
    trusted_proxies: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None,
        description="Networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`, separated by"
        " commas.",
    )
    answer_read_seconds_max: float = Field(
        60, gt=0, description="A client that takes less than 16 KiB of a waiting answer in this time is cut off."
    )
    keep_alive_seconds: int = Field(
        75, ge=1, description="An idle connection is closed after this. Clients and proxies should close theirs sooner."
    )
    cors_origins: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None,
        description="Origins of web pages that may call the inference and tenant API, such as"
        " `https://chat.bank.example`, separated by commas; never `*`.",
    )
    engine_start_timeout_seconds: float = Field(120, gt=0, description="Wait for the first byte of an engine's answer.")
    engine_read_timeout_seconds: float = Field(60, gt=0, description="Longest pause within an engine's answer.")
    engine_failures_max: int = Field(
        5, ge=1, description="Failures in a row after which a model is not asked for a while; requests get 503 at once."
    )
    engine_open_seconds: float = Field(
        5, gt=0, description="How long a model that failed is not asked; then one request tries it again."
    )
    engine_drain_seconds: float = Field(
        600,
        gt=0,
        description="Longest wait for running requests when an engine ends; requests that are cut off are settled.",
    )
    engine_upscale_seconds: float = Field(
        10, gt=0, le=600, description="How long an engine must be overloaded before the pool adds an engine replica."
    )
    pool_cpus: int | None = Field(
        None, ge=1, description="CPU cores that engines may take together; by default twice what models declare."
    )
    queue_timeout_seconds: float = Field(30, gt=0, description="Longest wait in the fair queue before a 429.")
    queue_requests_max: int = Field(64, ge=1, description="Requests one tenant may have waiting for one model.")
    idempotency_keys_max: int = Field(
        100_000, ge=1, description="Keys of one tenant that are kept for 24 hours; a request with one more gets a 429."
    )
    idempotency_tenant_bytes_max: int = Field(
        1_073_741_824, ge=1024, description="Bytes of one tenant's kept answers at which its new keys get a 429."
    )
    idempotency_answer_bytes_max: int = Field(
        8_388_608, ge=1024, description="Largest answer in bytes that is kept for a repetition."
    )
    lease_share_of_rest: float = Field(
        0.1, gt=0, le=1, description="Share of a tenant's remaining budget that one replica leases at a time."
    )
    lease_idle_seconds: float = Field(2, gt=0, description="An unused lease goes back to the tenant after this.")
    audit_waiting_seconds_max: float = Field(
        60, gt=0, description="An event that waits longer for its entry makes the audit log stale."
    )
    recorder_interval_seconds: float = Field(0.2, gt=0, description="Pause of the recorder when the spool is empty.")

    invoice_seller_name: str = Field(
        "FinPool", min_length=1, description="Who issues the invoices, as printed on them."
    )
    invoice_tax_label: str = Field("Tax", min_length=1, description="Name of the tax on invoices, such as VAT.")
    invoice_tax_basis_points: int = Field(
        0, ge=0, le=10_000, description="Tax on every invoice line, in hundredths of a percent."
    )

    otlp_endpoint: str | None = Field(
        None, description="OpenTelemetry collector (OTLP over HTTP); without one, traces and metrics stay off."
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        """Split the origins at commas; each is a scheme and a host, and a port if it is not the scheme's own."""
        found = _parts_of(value)
        if isinstance(found, list | tuple):
            for origin in found:
                if not _ORIGIN.fullmatch(str(origin)):
                    raise ValueError(
                        f"{origin!r} is no origin: write scheme, host and port, as https://chat.bank.example"
                    )
        return found

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        """Split the networks at commas; an address alone is a network of one."""
        found = _parts_of(value)
        if isinstance(found, list | tuple):
            for network in found:
                try:
                    ip_network(str(network))
                except ValueError as error:
                    raise ValueError(f"{network!r} is no network: write it as 10.0.0.0/8") from error
        return found

    @property
    def secrets_path(self) -> Path:
        """Directory of secret files."""
        return self.secrets_dir or self.home / "secrets"

    @property
    def log_path(self) -> Path:
        """Directory of the logs that `finpool up` writes."""
        return self.home / "log"

    @property
    def spool_path(self) -> Path:
        """Directory of this replica's spool."""
        return self.spool_dir or self.home / "spool"

    @property
    def weights_path(self) -> Path:
        """Directory of model weights."""
        return self.weights_dir or self.home / "weights"

    @property
    def serve_base_url(self) -> str:
        """Base URL of Ray Serve, without a trailing slash."""
        return (self.serve_url or f"http://127.0.0.1:{self.port + 10}").rstrip("/")

    def secret(self, name: str) -> bytes:
        """Return the secret in the file `name`; raise `ConfigurationError` if it is missing or too short."""
        path = self.secrets_path / name
        try:
            value = path.read_bytes().strip()
        except OSError as error:
            raise ConfigurationError(f"cannot read the secret {path}: {error.strerror}") from error
        if len(value) < SECRET_LENGTH_MIN:
            raise ConfigurationError(f"the secret {path} is shorter than {SECRET_LENGTH_MIN} characters")
        return value

    def database_url(self, role: str) -> str:
        """Return the URL of a database role (`owner`, ...); raise `ConfigurationError` if it cannot be used."""
        url: SecretStr | None = getattr(self, f"{role}_database_url")
        if url is None:
            raise ConfigurationError(f"FINPOOL_{role.upper()}_DATABASE_URL is not set")
        text = url.get_secret_value()
        try:
            DatabaseUrl.parse(text)
        except ConfigurationError as error:
            raise ConfigurationError(f"FINPOOL_{role.upper()}_DATABASE_URL: {error}") from None
        return text


def _parts_of(value: object) -> object:
    """Split a text at commas; leave any other value to the validation."""
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


def python_version_supported() -> bool:
    """Tell whether the locked requirements were resolved for this Python version."""
    return (3, 11) <= sys.version_info[:2] <= (3, 12)
