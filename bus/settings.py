"""The settings: flag > environment ``AGENCYBUS__...`` > ``.env`` > TOML file > default, each with where it came from.

`load` is called once by a command or by `bus.wiring`; everything below gets values, not settings. The traps it avoids:
a misspelt key that silently leaves a default in force (unknown keys are refused, with the near match), and a test that
picks up the developer's environment (`Settings(...)` itself reads nothing but its arguments).
"""

from __future__ import annotations

import io
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bus.errors import BusError, UsageError
from schemas import names

PREFIX = "AGENCYBUS__"
DEFAULT_FILE = Path("agencybus.toml")
_MAX_FILE = 1 << 16  # bytes; settings take a few lines
_MAX_LINE = 1_000  # characters; a dotted TOML key costs the square of its parts, and 2 GB at a hundred thousand
_MAX_DOTENV = 1 << 20  # bytes; other programs keep their own in it
_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


class Settings(BaseSettings):
    """What the bus can be told. Frozen; the constructor reads only its arguments, `load` reads the surroundings."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, use_attribute_docstrings=True, validate_default=True
    )

    bootstrap: str = "127.0.0.1:9092"
    """Kafka's address, host:port, several joined by commas. Not given: the local broker if one was started."""
    agency: str | None = None
    """The agency in whose name this process publishes."""
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("agencybus"))
    """Folder of what must survive: the local broker's records."""
    cache_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("agencybus"))
    """Folder of what can be fetched again: the broker's jars."""
    kafka_home: Path | None = None
    """An unpacked Kafka (or its folder of jars) for the local broker instead of the downloaded jars."""
    broker_repository: str | None = None
    """Address of a Maven repository to download the local broker's jars from instead of the public one."""
    publish_deadline_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds until `publish` gives up waiting for the acknowledgement and raises OutcomeUnknown."""
    session_timeout_ms: int = Field(default=10_000, ge=6_000, le=1_800_000)
    """Milliseconds until the broker gives a silent consumer's partitions away; Kafka's own floor is 6000."""
    drain_s: float = Field(default=15.0, gt=0, le=3600)
    """Seconds a worker has from SIGTERM to finish its unit, commit and leave; less than the platform's grace period."""
    recovery_s: float = Field(default=120.0, gt=0, le=86_400)
    """Seconds a worker may take to read the case store of what it was assigned; then it ends with a message."""
    handler_deadline_s: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds a subscription's handler may take before an alarm; its group waits twice that, at least 5 minutes."""

    @field_validator("bootstrap")
    @classmethod
    def _addresses(cls, text: str) -> str:
        for part in text.split(","):
            found = _ADDRESS.fullmatch(part.strip())
            if found is None or not 0 < int(found[1]) < 65536:
                raise ValueError(f"{part.strip()[:80]!r} is not host:port")
        return ",".join(part.strip() for part in text.split(","))

    @field_validator("agency")
    @classmethod
    def _agency(cls, text: str | None) -> str | None:
        return None if text is None else names.agency(text)

    @property
    def broker_dir(self) -> Path:
        """The folder of the local broker."""
        return self.data_dir / "broker"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the constructor's: `load` reads the layers and keeps their origins. Arguments: see pydantic-settings."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, per field, the source in words, e.g. ``environment AGENCYBUS__AGENCY``."""

    settings: Settings
    origins: Mapping[str, str]


def load(overrides: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Settings:
    """Read the settings from flags, environment, ``.env``, the TOML file and defaults, in this order.

    Args:
        overrides: values of flags; None entries count as not given.
        config: the TOML file; default ``agencybus.toml`` of the working directory, if there is one.

    Raises:
        UsageError: naming the variable or file and the field that is unknown or wrong.
    """
    return explain(overrides, config=config).settings


def explain(overrides: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Loaded:
    """As `load`, with the origin of each value.

    Args:
        overrides: values of flags; None entries count as not given.
        config: the TOML file; default as `load`.

    Raises:
        UsageError: naming the variable or file and the field that is unknown or wrong.
    """
    flags = {key: value for key, value in (overrides or {}).items() if value is not None}
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for source, layer in reversed([("flag", flags), *_environment(), *_file(config)]):
        for key, value in layer.items():
            if key not in Settings.model_fields:
                raise UsageError(f"{_place(source, key)} is no setting of agencybus.", remedy=_near(key))
            if isinstance(value, bool | list | dict):
                raise UsageError(f"{_place(source, key)} takes a text or a number.", remedy="Give it one value.")
            values[key] = value
            origins[key] = _place(source, key)
    settings = _validate(values, origins)
    if "bootstrap" not in values:
        running = _local_broker(settings.broker_dir)
        if running is not None:
            settings = settings.model_copy(update={"bootstrap": running})
            origins["bootstrap"] = f"local broker in {settings.broker_dir}"
    return Loaded(settings, origins)


def _place(source: str, key: str) -> str:
    """Where a value stands, in words a person can act on."""
    if source == "flag":
        return f"flag --{key.replace('_', '-')}"
    if source in {"environment", ".env"}:
        return f"{source} {PREFIX}{key.upper()}"
    return f"{source} key {key}"


def _near(key: str) -> str:
    near = get_close_matches(key, Settings.model_fields, n=1)
    return f"Did you mean {near[0]}?" if near else f"Settings: {', '.join(Settings.model_fields)}."


def _environment() -> list[tuple[str, dict[str, Any]]]:
    """The layers `environment` and `.env`, unknown names with our prefix included, so that they can be refused."""
    env = dict(EnvSettingsSource(Settings)())
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            env.setdefault(name[len(PREFIX) :].lower(), os.environ[name])
    return [("environment", env), (".env", _dotenv(Path(".env")))]


def _dotenv(path: Path) -> dict[str, Any]:
    """What a `.env` says of our names; the other lines belong to other programs.

    Nothing is expanded: pydantic-settings' own source replaces ``${NAME}``, which a few lines turn into gigabytes, and
    passes over a line it cannot read.
    """
    if not _is_file(path):
        return {}
    from dotenv.parser import parse_stream

    remedy = "Save it as UTF-8 lines NAME=value."
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_DOTENV + 1)
        text = raw.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f".env cannot be read: {error}.", remedy=remedy) from None
    if len(raw) > _MAX_DOTENV:
        raise UsageError(".env is larger than 1 MiB.", remedy=remedy)
    ours: dict[str, Any] = {}
    for found in parse_stream(io.StringIO(text)):
        name, value, line = found.key or "", found.value, found.original.line
        if name.upper().startswith(PREFIX) and value is not None:
            if "${" in value or "\0" in value:
                what = "a zero character" if "\0" in value else "${...}, which is not expanded"
                raise UsageError(f".env line {line}: {name} holds {what}.", remedy="Write the value itself.")
            ours[name[len(PREFIX) :].lower()] = value
        elif PREFIX in found.original.string.upper() and not found.original.string.lstrip().startswith("#"):
            raise UsageError(f".env line {line} cannot be read.", remedy="Write NAME=value, each quote closed.")
    return ours


def _is_file(path: Path) -> bool:
    """Whether there is such a file; not in a folder that may not be looked into."""
    try:
        return path.is_file()
    except OSError:
        return False


def _file(config: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """The layer of the TOML file; none when it was not asked for and is not there."""
    path = config or DEFAULT_FILE
    if config is None and not _is_file(path):
        return []
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", remedy="Check --config.") from None
    if len(raw) > _MAX_FILE:
        raise UsageError(f"{path} is larger than {_MAX_FILE // 1024} KiB.", remedy="Settings take a few lines.")
    try:
        text = raw.decode("utf-8-sig")
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > _MAX_LINE:
                what = f"{path}:{number}: is longer than {_MAX_LINE:,} characters."
                raise UsageError(what, remedy="A setting is one short line.")
        return [(str(path), tomllib.loads(text))]
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested to exhaust the parser
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path} is not a TOML file: {reason}.", remedy="Write lines such as agency = 'x'.") from None


def _validate(values: dict[str, Any], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False):
            key = str(detail["loc"][0])
            given = str(detail["input"])[:80]
            faults.append(f"{origins[key]} = {given!r}: {detail['msg'].removeprefix('Value error, ')}.")
        raise UsageError(" ".join(faults), remedy="See `agencybus config show --origin`.") from None


def _local_broker(directory: Path) -> str | None:
    """The address of the broker that `agencybus up` started, if it lives."""
    if not (directory / "cluster.json").is_file():
        return None
    from bus.broker import launcher

    try:
        status = launcher.status(directory)
    except BusError:  # a damaged state file is for `status` and `up` to report; other commands still have a default
        return None
    return status.bootstrap if status.running else None
