"""What a node is told before it starts.

The structs below are the one table: file keys, names in the environment, flags and the reference page all
come from their fields.  Names end in their unit where the type does not say it.  Raises ConfigError, which
says what is wrong and where.

`settling.py` reads the file, the environment and flags; `opening.py` opens what a configuration names.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from waypost.errors import ConfigError, WireError
from waypost.runtime.addresses import check_listener, has_ipv6, is_wildcard, loopback

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
    intents_s: Annotated[
        Count,
        Meta(
            description="Seconds from its signature for which a claim may wait here for a quorum, if its client asks."
        ),
    ] = 86_400
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
            description="The log's name, without spaces and plus; another one begins another log.",
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
    loop: Annotated[
        Literal["auto", "asyncio", "uvloop"],
        Meta(description="The event loop; auto: uvloop where it is installed, by the extra fast."),
    ] = "auto"
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
                raise ConfigError(f"insecure: there is no listener {name!r}", hint=did_you_mean(name, listeners))
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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # only when something is wrong

    known = list(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "there are " + ", ".join(known)
