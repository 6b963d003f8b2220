"""What is set, and by what: the file, then the environment, then flags; the later wins.  Raises ConfigError."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec import NODEFAULT, Struct, ValidationError, convert, inspect, structs

from waypost.config import (
    Coap,
    Coaps,
    Config,
    Http,
    Https,
    Ledger,
    Limits,
    Log,
    Mdns,
    Peers,
    Rd,
    did_you_mean,
)
from waypost.errors import ConfigError
from waypost.runtime.local import default_directory

FILE_NAME: Final = "config.toml"  # read from the state directory when it is there
PREFIX: Final = "WAYPOST_"
# Read by the commands, not by the node
NOT_KEYS: Final = ("WAYPOST_CA", "WAYPOST_CONFIG", "WAYPOST_TOKEN", "WAYPOST_TOKEN_FILE", "WAYPOST_URL")
KUBERNETES: Final = re.compile(r"WAYPOST_(PORT|SERVICE_(HOST|PORT))(_|$)")  # set for a service named waypost


@dataclass(frozen=True, slots=True)
class Key:
    """One setting; `default` is NODEFAULT for the state directory, whose default is the platform's.

    `stated` says in words a default that is not the same everywhere.
    """

    section: str  # "" at the top
    name: str
    type: Any  # an annotation
    default: Any
    stated: str | None
    description: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def environment(self) -> str:
        return PREFIX + self.path.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        return "--" + self.path.replace(".", "-").replace("_", "-")

    @property
    def many(self) -> bool:
        return isinstance(self.default, tuple)

    @property
    def expected(self) -> str:
        """What may stand there, after "must be"."""
        kind = inspect.type_info(self.type)
        while isinstance(kind, inspect.Metadata):
            kind = kind.type
        match kind:
            case inspect.IntType(ge=low, le=high):
                return f"a whole number from {low} to {high}"
            case inspect.LiteralType(values=values):
                return "one of " + ", ".join(map(str, values))
            case inspect.VarTupleType(item_type=inspect.LiteralType(values=values)):
                return "a list of " + ", ".join(map(str, values))
            case inspect.VarTupleType(item_type=inspect.StructType()):
                return f"tables [[{self.path}]] of the file"
            case inspect.VarTupleType():
                return "a list of texts"
            case inspect.StrType(max_length=most):
                return "a text" if most is None else f"a text of at most {most} characters"
            case _:
                return "a path"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a key is set to, and by what: "default", a file's path, a name in the environment or a flag."""

    key: Key
    value: Any
    source: str


def load(flags: Mapping[str, str], environ: Mapping[str, str], file: Path | None = None) -> Config:
    """`flags` go by key, as in "coap.listen"; lists are separated by commas there and in the environment."""
    return build(settle(flags, environ, file).values())


def build(settings: Iterable[Setting]) -> Config:
    document: dict[str, Any] = {}
    for setting in settings:
        section = setting.key.section
        (document.setdefault(section, {}) if section else document)[setting.key.name] = setting.value
    return convert(document, Config)


def settle(flags: Mapping[str, str], environ: Mapping[str, str], file: Path | None = None) -> dict[str, Setting]:
    """Every key's setting, in the order of the table."""
    given = _from_flags(flags)
    environment = _from_environment(environ)
    named = file or (Path(environ["WAYPOST_CONFIG"]) if environ.get("WAYPOST_CONFIG") else None)
    stated: dict[str, Setting] = {}
    if named is not None:
        stated = _from_file(named)
    else:
        above = given.get("dir") or environment.get("dir")
        beside = (above.value if above else default_directory(environ)) / FILE_NAME
        if beside.exists():
            stated = _from_file(beside)
            if "dir" in stated:
                raise ConfigError(f"{beside}: dir cannot be set by the file that lies in it", hint="use --dir")
    settled: dict[str, Setting] = {}
    for path, key in KEYS.items():
        default = default_directory(environ) if key.default is NODEFAULT else key.default
        settled[path] = given.get(path) or environment.get(path) or stated.get(path) or Setting(key, default, "default")
    return settled


def _from_flags(flags: Mapping[str, str]) -> dict[str, Setting]:
    for path in flags:
        if path not in KEYS:
            raise ConfigError(f"there is no key {path}", hint=did_you_mean(path, KEYS))
    return {path: _setting(KEYS[path], _split(KEYS[path], text), KEYS[path].flag) for path, text in flags.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    names = {key.environment: key for key in KEYS.values()}
    settings: dict[str, Setting] = {}
    for name, text in environ.items():
        if name in names:
            settings[names[name].path] = _setting(names[name], _split(names[name], text), name)
        elif name.startswith(PREFIX) and name not in NOT_KEYS and not KUBERNETES.match(name):
            hint = did_you_mean(name, [*names, *NOT_KEYS])
            raise ConfigError(f"{name} in the environment belongs to no key", hint=hint)
    return settings


def _from_file(file: Path) -> dict[str, Setting]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    settings: dict[str, Setting] = {}
    for name, value in document.items():
        if name in SECTIONS and isinstance(value, dict):
            entries = {f"{name}.{key}": item for key, item in value.items()}
        else:
            entries = {name: value}
        for path, item in entries.items():
            if path not in KEYS:
                raise _unknown(file, path, item)
            settings[path] = _setting(KEYS[path], item, str(file))
    return settings


def _unknown(file: Path, path: str, value: object) -> ConfigError:
    section, _, name = path.rpartition(".")
    if isinstance(value, dict) and not section:
        hint = did_you_mean(name, [known for known in SECTIONS if known])
        return ConfigError(f"{file}: there is no section [{name}]", hint=hint)
    if name in SECTIONS and not section:
        return ConfigError(f"{file}: {name} is a section, not a key", hint=f"write [{name}] and its keys below it")
    where = f"in [{section}]" if section else "at the top"
    known = [key.name for key in KEYS.values() if key.section == section]
    return ConfigError(f"{file}: there is no key {name} {where}", hint=did_you_mean(name, known))


def _setting(key: Key, value: object, source: str) -> Setting:
    from_text = source in (key.flag, key.environment)  # there "15" is a number; in the file it is a text
    try:
        value = convert(value, key.type, strict=not from_text, dec_hook=_path)
    except ValidationError as error:
        where = source if from_text else f"{source}: {key.path}"
        raise ConfigError(f"{where} must be {key.expected}, not {value!r}") from error
    return Setting(key, value, source)


def _path(_: type, value: object) -> Path:
    if not isinstance(value, str):
        raise TypeError
    return Path(value).expanduser().absolute()


def _split(key: Key, text: str) -> str | list[str]:
    return [item.strip() for item in text.split(",") if item.strip()] if key.many else text


SECTIONS: Final[dict[str, type[Struct]]] = {
    "": Config,
    "log": Log,
    "coap": Coap,
    "coaps": Coaps,
    "http": Http,
    "https": Https,
    "peers": Peers,
    "limits": Limits,
    "mdns": Mdns,
    "rd": Rd,
    "ledger": Ledger,
}


def _keys() -> Iterable[Key]:
    for section, struct in SECTIONS.items():
        for entry in structs.fields(struct):
            if entry.name in SECTIONS:
                continue
            meta = next(meta for meta in entry.type.__metadata__ if meta.description)
            default = entry.default if entry.default_factory is NODEFAULT else entry.default_factory()
            stated = (meta.extra or {}).get("default")
            yield Key(section, entry.name, entry.type, default, stated, meta.description)


KEYS: Final[dict[str, Key]] = {key.path: key for key in _keys()}
