"""What a stage may be told: frozen, keyword-only, checked when it is made, written to TOML and read back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from scrimp.errors import NotFound, SettingError, UnknownName


class Settings(BaseModel):
    """Base of every stage's settings: an unknown or impossible value is refused with its name and value."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(type(self), error) from None

    def but(self, **changes: Any) -> Self:
        """The same settings with some changed, checked again."""
        return type(self)(**{**self.model_dump(), **changes})


def _explain(owner: type[BaseModel], error: ValidationError) -> SettingError:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    name = ".".join(where)
    if first["type"] == "extra_forbidden":
        return UnknownName(f"{owner.__name__.lower()} setting", name, _known_names(owner, where[:-1]))
    own = first.get("ctx", {}).get("error")  # of our own validators, which word the whole message
    if isinstance(own, SettingError):
        return own
    given = f", not {first['input']!r}" if first["type"] != "missing" else ""
    return SettingError(f"{owner.__name__}.{name}: {first['msg'].lower()}{given}.")


def _known_names(owner: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        inner = owner.model_fields[part].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            owner = inner
    return list(owner.model_fields)


def to_toml(settings: BaseModel) -> str:
    """The settings as TOML; fields that are None are left out, since TOML has no null."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `NotFound`, or `SettingError` with the line that does not parse."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"No plan file at '{path}'.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"'{path}' is not valid TOML: {error}.") from None
