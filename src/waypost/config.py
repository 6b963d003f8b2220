"""What a node is told before it starts: the file, then the environment, then flags; the later wins.

The structs below are the one table: file keys, names in the environment, flags and the reference page all
come from their fields.  Names end in their unit where the type does not say it.  Raises ConfigError, which
says what is wrong and where.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import NODEFAULT, Meta, Struct, ValidationError, convert, field, inspect, structs

from waypost.errors import ConfigError, WireError
from waypost.runtime.addresses import check_listener, has_ipv6, is_wildcard, loopback
from waypost.runtime.local import default_directory

FILE_NAME: Final = "config.toml"  # read from the state directory when it is there
PREFIX: Final = "WAYPOST_"
# Read by the commands, not by the node
NOT_KEYS: Final = ("WAYPOST_CA", "WAYPOST_CONFIG", "WAYPOST_TOKEN", "WAYPOST_TOKEN_FILE", "WAYPOST_URL")
KUBERNETES: Final = re.compile(r"WAYPOST_(PORT|SERVICE_(HOST|PORT))(_|$)")  # set for a service named waypost
HOST: Final = re.compile(r"[a-z0-9._-]*[a-z0-9]|[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*")  # as the API compares it

Count = Annotated[int, Meta(ge=1, le=10**9)]
Natural = Annotated[int, Meta(ge=0, le=10**9)]


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least important message shown.")
    ] = "info"
    format: Annotated[Literal["human", "json"], Meta(description="Lines for people, or JSON lines.")] = "human"


class Coap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CoAP (RFC 7252, RFC 8323): registration and lookup for devices."""

    listen: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses and ports, for UDP and TCP; port 0 takes free ones; empty turns CoAP off.",
            extra={"default": '["127.0.0.1:5683", "[::1]:5683"], the second where there is IPv6'},
        ),
    ] = field(default_factory=lambda: loopback(5683, ipv6=has_ipv6()))
    transports: Annotated[
        tuple[Literal["udp", "tcp", "ws"], ...],
        Meta(description="What carries it; ws, CoAP over WebSocket, is at /.well-known/coap of the HTTP listener."),
    ] = ("udp", "tcp", "ws")
    multicast: Annotated[
        tuple[str, ...],
        Meta(description="Interfaces on which discovery by multicast is answered; listen on 0.0.0.0 or [::] for it."),
    ] = ()


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an identity or a stranger's address may take; a network may take eight times as much, the loopback any."""

    requests_per_second: Annotated[
        Natural, Meta(description="CoAP messages and HTTP requests in the long run; 0 for any number.")
    ] = 2_000
    requests_burst: Annotated[Count, Meta(description="The same at once, after a rest.")] = 10_000


class Coaps(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CoAP over DTLS and TLS: a pre-shared key of keys/secrets.toml or a certificate says who asks."""

    listen: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses and ports, for DTLS and TLS; port 0 takes free ones; empty turns both off.",
            extra={"default": '["127.0.0.1:5684", "[::1]:5684"], the second where there is IPv6'},
        ),
    ] = field(default_factory=lambda: loopback(5684, ipv6=has_ipv6()))
    transports: Annotated[tuple[Literal["dtls", "tls"], ...], Meta(description="What carries it.")] = ("dtls", "tls")
    sessions_max: Annotated[
        Count, Meta(description="DTLS sessions held at once; the one silent longest makes room.")
    ] = 10_000
    sessions_per_source: Annotated[Count, Meta(description="DTLS sessions held for one source.")] = 1_000
    idle_s: Annotated[Count, Meta(description="Seconds of silence after which a DTLS session is ended.")] = 86_400


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP API under /v1/, health and metrics."""

    listen: Annotated[
        tuple[str, ...], Meta(description="Addresses and ports; port 0 takes a free one; empty turns HTTP off.")
    ] = ("127.0.0.1:8480",)
    hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names, without ports, that a request's Host may have besides the loopback's."),
    ] = ()


class Https(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same over TLS 1.3, with the node's certificate; a token or a client's certificate says who asks."""

    listen: Annotated[
        tuple[str, ...], Meta(description="Addresses and ports; port 0 takes a free one; empty turns HTTPS off.")
    ] = ()


class Drip02(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A peer that speaks the draft and nothing else."""

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
    url: Annotated[str, Meta(pattern=r"\A(https://[^/?#@\s]+)?\Z", max_length=255)] = ""
    key: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""


class Peers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What nodes say to each other, over TLS 1.3 with certificates on both sides; others may join here."""

    listen: Annotated[
        tuple[str, ...], Meta(description="Addresses and ports; port 0 takes a free one; empty turns it off.")
    ] = ("127.0.0.1:8481",)
    url: Annotated[
        str,
        Meta(description="Where the other nodes reach this one, as https://node-2.example:8481; empty: as it listens."),
    ] = ""
    signatures: Annotated[
        Literal["on", "off"], Meta(description="Requests are signed, too: for nodes behind a proxy that ends TLS.")
    ] = "off"
    organisation: Annotated[
        str, Meta(max_length=64, description="Whose node it is; repair asks nodes of two different ones.")
    ] = ""
    drip_02: Annotated[
        tuple[Drip02, ...],
        Meta(
            max_length=64,
            description="Peers that learn by the draft alone: name; url if they listen; hexadecimal key of their JWTs.",
        ),
    ] = ()


class Mdns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Announcing the directory by DNS-SD over multicast DNS (RFC 9176, 4.1.2); it needs the extra `mdns`."""

    interfaces: Annotated[tuple[str, ...], Meta(description="Where it is announced, as in eth0; empty: nowhere.")] = ()
    name: Annotated[
        str, Meta(min_length=1, max_length=63, description="What people see; one that is taken gets a number.")
    ] = "Resource directory"


class Rd(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resource directory (RFC 9176)."""

    carrier: Annotated[
        Literal["embedded", "mesh"],
        Meta(description="Who keeps the registrations: this node alone, or all nodes of its network."),
    ] = "embedded"
    registrations_max: Annotated[Count, Meta(description="Registrations held at once.")] = 1_000_000
    registrations_per_source: Annotated[
        Natural, Meta(description="Registrations held for one source, expired ones too; 0 for any number.")
    ] = 100_000
    registrations_per_second: Annotated[
        Natural, Meta(description="Registrations taken from one source, in the long run; 0 for any number.")
    ] = 200
    registrations_burst: Annotated[
        Count, Meta(description="Registrations taken from one source at once, after a rest.")
    ] = 2_000
    grace_s: Annotated[
        Natural, Meta(description="Seconds after its end in which a registration can still be renewed.")
    ] = 86_400
    document_octets_max: Annotated[
        int, Meta(ge=1, le=1 << 20, description="Octets of the links of one registration.")
    ] = 65_536
    brake_percent: Annotated[
        int,
        Meta(
            ge=0, le=100, description="Of the registrations, that may expire in five minutes; the rest is held; 0: all."
        ),
    ] = 15
    brake_hold_s: Annotated[Natural, Meta(description="Seconds that a registration is held past its end.")] = 900
    default_sector: Annotated[str, Meta(max_length=63, description="Sector of those that name none.")] = ""
    simple: Annotated[
        Literal["on", "off"],
        Meta(description="Simple registration: fetch the links from the device that asks for it."),
    ] = "on"
    freshness: Annotated[
        Literal["off", "echo"],
        Meta(description="Ask over UDP for an Echo value with each registration, update and removal."),
    ] = "off"


class OutsideWitness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A witness that is no node of the network: its cosigner's key, and what stands before /add-checkpoint."""

    key: Annotated[str, Meta(max_length=4_096)]
    url: Annotated[str, Meta(pattern=r"\Ahttps?://[^/?#@\s]+(/[^?#\s]*)?\Z", max_length=255)]


class Ledger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node's log of what was committed, the witnesses that cosign it, and the logs that it witnesses."""

    origin: Annotated[
        str,
        Meta(
            pattern=r"\A[^\s+\x00-\x1f\x7f]{0,255}\Z",
            description="The log's name, for ever; it has no spaces and no plus.",
            extra={"default": "waypost/ and the node's name"},
        ),
    ] = ""
    round_s: Annotated[
        Count, Meta(description="Seconds after a new entry in which the other nodes and witnesses are asked to cosign.")
    ] = 10
    idle_round_s: Annotated[Count, Meta(description="The same while nothing is entered.")] = 600
    quorum: Annotated[
        int,
        Meta(ge=0, le=32, description="Witnesses that should cosign each head; 0: as many as their number asks for."),
    ] = 0
    witnesses: Annotated[
        tuple[OutsideWitness, ...],
        Meta(max_length=32, description="Witnesses that are no nodes of the network, each with key (a vkey) and url."),
    ] = ()
    witnessed: Annotated[
        tuple[Annotated[str, Meta(max_length=4_096)], ...],
        Meta(max_length=1_024, description="Logs of others that this node cosigns too, by their keys (vkeys)."),
    ] = ()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node as a whole."""

    dir: Annotated[
        Path,
        Meta(
            description="State directory: waypost.db, keys/ and config.toml.",
            extra={"default": "$XDG_DATA_HOME/waypost or ~/.local/share/waypost"},
        ),
    ]
    insecure: Annotated[
        tuple[str, ...], Meta(description="Listeners that other machines may reach without authentication.")
    ] = ()
    log: Log = Log()
    coap: Coap = Coap()
    coaps: Coaps = Coaps()
    http: Http = Http()
    https: Https = Https()
    peers: Peers = Peers()
    limits: Limits = Limits()
    mdns: Mdns = Mdns()
    rd: Rd = Rd()
    ledger: Ledger = Ledger()

    def __post_init__(self) -> None:
        for name in self.http.hosts:
            if not HOST.fullmatch(name):
                raise ConfigError(f"http.hosts: {name!r} is not a name in lower case, without a port")
        listeners = {"coap": self.coap.listen, "http": self.http.listen}
        for name in self.insecure:
            if name not in listeners:
                raise ConfigError(f"insecure: there is no listener {name!r}", hint=_did_you_mean(name, listeners))
        for name, listen in listeners.items():
            check_listener(name, listen, declared=name in self.insecure)
        # Who speaks there has shown who they are, or is a stranger who was told who we are.
        for name, authenticated in (("coaps", self.coaps), ("https", self.https), ("peers", self.peers)):
            check_listener(name, authenticated.listen, declared=True)
        _check_literal(self.peers.drip_02)
        _check_ledger(self.ledger)
        if self.coap.multicast and not ("udp" in self.coap.transports and any(map(is_wildcard, self.coap.listen))):
            raise ConfigError(
                "coap.multicast: no UDP listener hears groups",
                hint='listen = ["0.0.0.0:5683", "[::]:5683"], or one of them',
            )


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
            raise ConfigError(f"there is no key {path}", hint=_did_you_mean(path, KEYS))
    return {path: _setting(KEYS[path], _split(KEYS[path], text), KEYS[path].flag) for path, text in flags.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    names = {key.environment: key for key in KEYS.values()}
    settings: dict[str, Setting] = {}
    for name, text in environ.items():
        if name in names:
            settings[names[name].path] = _setting(names[name], _split(names[name], text), name)
        elif name.startswith(PREFIX) and name not in NOT_KEYS and not KUBERNETES.match(name):
            hint = _did_you_mean(name, [*names, *NOT_KEYS])
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
        hint = _did_you_mean(name, [known for known in SECTIONS if known])
        return ConfigError(f"{file}: there is no section [{name}]", hint=hint)
    if name in SECTIONS and not section:
        return ConfigError(f"{file}: {name} is a section, not a key", hint=f"write [{name}] and its keys below it")
    where = f"in [{section}]" if section else "at the top"
    known = [key.name for key in KEYS.values() if key.section == section]
    return ConfigError(f"{file}: there is no key {name} {where}", hint=_did_you_mean(name, known))


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


def _check_literal(peers: tuple[Drip02, ...]) -> None:
    if not peers:
        return
    from waypost.identity.keys import is_sound  # the library behind it takes a while

    names = [peer.name for peer in peers]
    for peer in peers:
        if names.count(peer.name) > 1:
            raise ConfigError(f"peers.drip_02: {peer.name} is there twice")
        if peer.key and not is_sound(bytes.fromhex(peer.key)):
            raise ConfigError(f"peers.drip_02: the key of {peer.name} is no Ed25519 key")


def _check_ledger(ledger: Ledger) -> None:
    witnesses = [witness.key for witness in ledger.witnesses]
    if not witnesses and not ledger.witnessed:
        return
    from waypost.ledger.note import Algorithm

    _check_vkeys("ledger.witnesses", witnesses, (Algorithm.COSIGNATURE, Algorithm.MLDSA_44))
    _check_vkeys("ledger.witnessed", ledger.witnessed, (Algorithm.ED25519,))


def _check_vkeys(where: str, texts: Iterable[str], algorithms: Sequence[int]) -> None:
    from waypost.identity.keys import is_sound
    from waypost.ledger.note import Algorithm, Key

    names: set[str] = set()
    for text in texts:
        try:
            key = Key.decode(text)
        except WireError as error:
            raise ConfigError(f"{where}: {error}", hint="a vkey is as name+1a2b3c4d+AbCd…") from error
        if key.algorithm not in algorithms or (key.algorithm != Algorithm.MLDSA_44 and not is_sound(key.public)):
            raise ConfigError(f"{where}: the key of {key.name} is not of the right kind, or not sound")
        if key.name in names:
            raise ConfigError(f"{where}: {key.name} is there twice")
        names.add(key.name)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # only when something is wrong

    known = list(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "there are " + ", ".join(known)


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
