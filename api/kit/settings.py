"""Declared settings; the only reader of the environment."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PREFIX = "TESSERA_"
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_LIMIT = re.compile(r"([1-9][0-9]{0,8}) per (?:([1-9][0-9]{0,3}) )?(second|minute|hour|day)s?")


@dataclass(frozen=True, slots=True, eq=False)
class Setting(Generic[T_co]):
    """One thing that an operator can set.

    `default` is a value, or a function of the other settings that gives one when it is first
    asked for. `read` makes the value from its text and raises `ValueError` with a message that
    does not repeat the text. `required` settings have no default in production.
    """

    name: str
    help: str
    default: "T_co | Callable[[Settings], T_co]"
    read: Callable[[str], T_co]
    default_text: str = ""
    secret: bool = False
    required: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return PREFIX + self.name

    def describe_default(self) -> str:
        """Return the default as the documentation shows it."""
        return self.default_text or ("none" if self.default in ("", ()) else str(self.default))


@dataclass(frozen=True, slots=True)
class Limit:
    """So much in so many seconds."""

    quota: int
    seconds: int

    def __str__(self) -> str:
        unit, length = next((u, n) for u, n in reversed(_UNITS.items()) if self.seconds % n == 0)
        many = self.seconds // length
        return f"{self.quota} per {unit}" if many == 1 else f"{self.quota} per {many} {unit}s"


class SettingsError(Exception):
    """Settings that the service refuses to start with: one line for each, naming the variable."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


class Settings:
    """The values of declared settings: `settings[PORT]`."""

    def __init__(self, declared: Iterable[Setting[Any]], environ: Mapping[str, str]) -> None:
        """Read every declared setting from `environ`.

        Raises SettingsError when a value does not fit, or a file named by `..._FILE` cannot be read.
        """
        self.declared = tuple(declared)
        self._values: dict[Setting[Any], Any] = {}
        self._sources: dict[Setting[Any], str] = {}
        self.unknown = _unknown_variables(self.declared, environ)
        errors = [error for setting in self.declared if (error := self._take(setting, environ))]
        if errors:
            raise SettingsError(errors)

    def __getitem__(self, setting: Setting[T]) -> T:
        if setting not in self._values:
            if setting not in self.declared:
                raise LookupError(f"{setting.variable} is declared by no feature that is on")
            default = setting.default
            self._values[setting] = default(self) if callable(default) else default
        return cast("T", self._values[setting])

    def source(self, setting: Setting[Any]) -> str | None:
        """Return the variable that the value came from, or None when it is the default."""
        return self._sources.get(setting)

    def show(self, setting: Setting[Any]) -> str:
        """Return the value as the operator would write it; a default that is yet to be made, in words."""
        if self.source(setting) is None and setting.default_text:
            return setting.default_text.replace("`", "")
        value = self[setting]
        return ",".join(value) if isinstance(value, tuple) else str(value)

    def _take(self, setting: Setting[Any], environ: Mapping[str, str]) -> str | None:
        try:
            found = _find(setting, environ)
            if found is not None:
                self._sources[setting], text = found
                self._values[setting] = setting.read(text)
        except ValueError as error:
            return f"{self._sources.get(setting, setting.variable)}: {error}"
        return None


def environment() -> Mapping[str, str]:
    """Return the environment variables of this process."""
    return os.environ


def _unknown_variables(declared: Iterable[Setting[Any]], environ: Mapping[str, str]) -> list[str]:
    """Return the `TESSERA_...` variables that no declared setting reads: often a slip of the pen."""
    known = {name for setting in declared for name in (setting.variable, f"{setting.variable}_FILE")}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _find(setting: Setting[Any], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return (variable, text); an empty variable counts as unset."""
    for name in (setting.variable, *setting.aliases):
        if environ.get(name):
            return name, environ[name]
    file_variable = f"{setting.variable}_FILE"
    if environ.get(file_variable):
        return file_variable, _read_file(file_variable, environ[file_variable])
    return None


def _read_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable} must name a readable text file") from error


def text(value: str) -> str:
    """Read any text."""
    return value


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Read a whole number within bounds, both included."""

    def read(value: str) -> int:
        fits = value.isascii() and value.isdigit() and len(value) <= len(str(maximum))
        if not (fits and minimum <= int(value) <= maximum):
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(value)

    return read


def limit(value: str) -> Limit:
    """Read how much may be done in which time, such as `10 per 15 minutes`."""
    match = _LIMIT.fullmatch(value)
    if match is None:
        raise ValueError("must be a limit such as: 20 per minute, 10 per 15 minutes")
    return Limit(int(match[1]), int(match[2] or 1) * _UNITS[match[3]])


def one_of(*choices: str) -> Callable[[str], str]:
    """Read one of some words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return value

    return read


def words(value: str) -> tuple[str, ...]:
    """Read words separated by commas; spaces around them do not count."""
    return tuple(word for part in value.split(",") if (word := part.strip()))


def some_of(*choices: str) -> Callable[[str], tuple[str, ...]]:
    """Read one or more of some words, separated by commas."""

    def read(value: str) -> tuple[str, ...]:
        found = words(value)
        if not found or not set(found) <= set(choices):
            raise ValueError(f"must be one or more of: {', '.join(choices)}")
        return found

    return read
