"""A node: the assembly with sockets and files around it.

    async with Node("state") as node:
        print(node.listeners)
        await node.wait()

Starting opens the state directory, restores what it holds and then opens the listeners, so whoever
reaches one gets whole answers.  Stopping closes the listeners, makes durable what was taken, and
lets go of the directory.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from waypost.api.asking import Asking, only_peers
from waypost.api.joining import Joining
from waypost.api.literal import Literal
from waypost.api.mesh import Hearing
from waypost.api.newcomers import Newcomers
from waypost.api.renewing import Renewing
from waypost.api.routes import PEER_ROUTES
from waypost.api.server import application
from waypost.api.tiles import Tiles
from waypost.assembly.engine import Assembly
from waypost.assembly.installation import Installation, Introduce, Introduced, Reach
from waypost.assembly.questions import Review
from waypost.config import Config
from waypost.config.opening import open_keys, open_network
from waypost.drip.messages import PARCEL_MAX
from waypost.engine import Ask, Endpoint
from waypost.errors import ConfigError
from waypost.identity.admission import Gate
from waypost.identity.anchors import Revoked
from waypost.identity.credentials import Credentials
from waypost.identity.pins import Pins
from waypost.identity.requests import Signatures
from waypost.identity.token import Created, FirstToken
from waypost.ledger.questions import Call
from waypost.rd.engine import Settings
from waypost.runtime import associations, local
from waypost.runtime.addresses import listen_address, reached_at, speaks_from
from waypost.runtime.coaps import DtlsDriver, open_dtls, open_tls, require_keys
from waypost.runtime.contacts import Contacts
from waypost.runtime.figures import Figures, Labelled, LastError, by_reason, each
from waypost.runtime.host import Host, wall_clock_ms
from waypost.runtime.http import Begin, HttpServer, Secured, serve, serve_locally
from waypost.runtime.literal import calling
from waypost.runtime.logs import Logs
from waypost.runtime.loop import kind_of
from waypost.runtime.mdns import announcing
from waypost.runtime.peers import Peers
from waypost.runtime.places import Places
from waypost.runtime.protecting import counters, protect
from waypost.runtime.tcp import TcpServer, open_tcp
from waypost.runtime.tls import Contexts
from waypost.runtime.udp import UdpDriver, open_udp
from waypost.runtime.websocket import WebSockets
from waypost.runtime.writer import Writer
from waypost.storage import Reader, Store
from waypost.storage.files import place_of
from waypost.storage.former import set_aside
from waypost.storage.network import remember_network
from waypost.storage.policy import NAME as POLICY
from waypost.storage.policy import open_policy, read_policy
from waypost.storage.revoked import subjects

# A directory of many small objects that stay: the old are looked at seldom, and the young in portions that keep
# nobody waiting, 1 ms for the first generation and 10 ms for the second.
GC_THRESHOLDS: Final = (20_000, 10, 1_000)

CREDENTIALS_EVERY_S: Final = 1.0  # between two looks at the keys' files, for what comes on other nodes' connections
REVOCATIONS_EVERY_S: Final = 2.0  # between two looks at whose certificates are revoked

T = TypeVar("T")
log = logging.getLogger("waypost")


class Node:
    """`name` and `listeners` are there once it runs.

    The keys are "coap", "coap+tcp", "coaps", "coaps+tcp", "http", "coap+ws", "https", "peers", then "coap2", …; a value
    is as "127.0.0.1:5683".  "local" is the path of the node's own socket.
    """

    def __init__(self, config: Config | str | os.PathLike[str]) -> None:
        self._config = config if isinstance(config, Config) else Config(dir=Path(config))
        self._udp: dict[str, UdpDriver] = {}  # by listener
        self._dtls: dict[str, DtlsDriver] = {}
        self._tls: dict[str, TcpServer] = {}
        self._https: dict[str, HttpServer] = {}
        self._places: dict[str, Places] = {}
        self._last_error = LastError()
        self._started = 0.0  # of the loop's clock
        self._recent: Credentials | None = None
        self._recent_until = 0.0
        self.name = ""
        self.listeners: dict[str, str] = {}
        self.operator_key: bytes | None = None  # PEM, at the one start that made it: keep it offline, it is not stored

    async def __aenter__(self) -> Self:
        """Raises ConfigError for a directory or an address that cannot be had, StoreError for a broken disk."""
        async with AsyncExitStack() as undo:
            await self._start(undo)
            self._undo = undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._undo.aclose()

    @property
    def url(self) -> str:
        """Of the HTTP API."""
        return f"http://{self.listeners['http']}"

    @property
    def local_url(self) -> str:
        """The same on the node's own socket, where whoever asks is the operator."""
        return f"unix://{self.listeners['local']}"

    async def first_token(self) -> str | None:
        """An administrator's, once in the life of a state directory; it is stored as a hash, and never shown again."""
        created = await self.ask(FirstToken())
        return created.shown.text if isinstance(created, Created) else None

    async def ask(self, question: object) -> object:
        """The outcome of a question, as the rooms define them.  Raises StateError once the node has stopped."""
        return await self._host.ask(question)

    async def take_policy(self) -> None:
        """Go by the policy file as it is now; what it does not allow any more ends.

        Raises ConfigError for one that is wrong, and nothing has changed; StateError once the node has stopped.
        """
        self._policy.adopt(await asyncio.to_thread(read_policy, self._config.dir / POLICY))
        await self.ask(Review())

    async def revoke(self, subject: str) -> None:
        """Allow `subject`, as "psk:lamp-3", nothing any more, until the node stops; what it observes or watches ends.

        Raises StateError.
        """
        self._policy.revoke(subject)
        await self.ask(Review())

    async def _follow_revocations(self) -> None:
        """Whose certificates are revoked is so in the sessions that go on, too; until they have another."""
        gone: frozenset[str] = frozenset()
        before: object = (Revoked(), None)
        while True:
            await asyncio.sleep(REVOCATIONS_EVERY_S)
            all_revoked = self._credentials().trust.revoked
            revoked = all_revoked.certificates
            now = (all_revoked, self._keys.issued_stamp if revoked else None)
            if now == before:
                continue
            before = now
            for driver in self._dtls.values():
                driver.revoke(all_revoked)
            for server in self._tls.values():
                server.revoke(all_revoked)
            try:
                issued = await asyncio.to_thread(self._keys.issued)
            except ConfigError as error:
                log.warning("who was certified cannot be read: %s", error)
                continue
            now_gone = subjects(issued, revoked, wall_clock_ms())
            for subject in now_gone - gone:
                self._policy.revoke(subject)
            for subject in gone - now_gone:
                self._policy.reinstate(subject)
            if now_gone != gone:
                gone = now_gone
                await self.ask(Review())

    async def _introduce(self, url: str) -> str:
        """Tell the network where this node is; its id, which is remembered beside the keys."""
        introduced = await self.ask(Introduce(url, (self._credentials().pin,)))
        assert isinstance(introduced, Introduced)
        await asyncio.to_thread(remember_network, self._keys, introduced.founding)
        return introduced.network

    async def wait(self) -> None:
        """Until the node has stopped; raises what made it fail."""
        await self._host.wait()

    async def _start(self, undo: AsyncExitStack) -> None:
        config = self._config
        self._started = asyncio.get_running_loop().time()
        log.addHandler(self._last_error)
        undo.callback(log.removeHandler, self._last_error)
        store = await asyncio.to_thread(Store.open, config.dir)
        undo.callback(store.close)
        rows = Reader(config.dir)  # of the loop's thread: what others ask for
        undo.callback(rows.close)
        self._keys = await asyncio.to_thread(open_keys, config)
        self.operator_key = self._keys.operator_key
        self._policy = await asyncio.to_thread(open_policy, config.dir)
        self._gate = Gate(config.limits.requests_per_second, config.limits.requests_burst)
        assembly = Assembly(
            SystemRandom(),
            Settings(
                registrations_max=config.rd.registrations_max,
                registrations_per_source=config.rd.registrations_per_source,
                registrations_per_second=config.rd.registrations_per_second,
                burst=config.rd.registrations_burst,
                grace_s=config.rd.grace_s,
                document_octets_max=config.rd.document_octets_max,
                brake_share=config.rd.brake_percent / 100,
                brake_hold_s=config.rd.brake_hold_s,
                default_sector=config.rd.default_sector or None,
                simple=config.rd.simple == "on",
                freshness=config.rd.freshness,
            ),
            self._policy.decide,
            self._gate,
            installation := open_network(config, self._keys, rows.after),
        )
        await asyncio.to_thread(self._make_way, store, installation)
        self._oscore = protect(assembly, self._keys.shared.contexts, SystemRandom(), self._gate)
        self._writer = Writer(store)
        self._host = Host(self._oscore or assembly, self._writer)
        hear, reached, source = self._host.hear, self._host.reached, speaks_from(config.peers.listen)
        signs = self._keys.node.sign if config.peers.signatures == "on" else None
        self._peers = Peers(installation.name, self._recent_credentials, hear, reached, source, signs)
        undo.push_async_callback(self._peers.close)
        contacts = Contacts(self._keys, self.ask, self._peers.outside)
        self._logs = Logs(installation.name, self._recent_credentials, self._host.answered, source, signs)
        undo.push_async_callback(self._logs.close)
        self._host.outside = partial(_hand_out, contacts, self._logs, self._keys.pins)
        listeners = await undo.enter_async_context(AsyncExitStack())  # after the host: what was taken is still answered
        undo.push_async_callback(self._host.stop)
        await self._host.start(store)
        renewing = Renewing(self._keys, self._credentials, self._peers.urls)
        for follow in (self._follow_revocations, renewing.follow, contacts.follow):
            undo.callback(asyncio.create_task(follow()).cancel)
        self.name = installation.name
        await self._listen_to_coap(listeners)
        await self._listen_to_coaps(listeners)
        network = await self._introduce("")
        await self._listen_to_http(network, undo)
        await self._introduce(config.peers.url or reached_at(self.listeners.get("peers"), self._keys.hosts))
        urls = {peer.name: peer.url for peer in config.peers.drip_02 if peer.url}
        await undo.enter_async_context(calling(urls, self.ask, self._credentials, self.name, self._keys.node.sign))
        found_at = {name: listen_address(text) for name, text in self.listeners.items() if name != "local"}
        await undo.enter_async_context(announcing(config.mdns.name, self.name, found_at, config.mdns.interfaces))

    def _make_way(self, store: Store, installation: Installation) -> None:
        """For the log of a node that goes by another origin than it did."""
        if installation.notary is not None:
            former = set_aside(store, self._config.dir, installation.notary.origin)
            if former is not None:
                log.warning("this node's log begins anew; the one of %s is kept as a copy", former)

    async def _listen_to_coap(self, undo: AsyncExitStack) -> None:
        transports = self._config.coap.transports
        for number, address in enumerate(map(listen_address, self._config.coap.listen), 1):
            if "udp" in transports:
                driver = open_udp(self._host, address.host, address.port, interfaces=self._config.coap.multicast)
                undo.callback(driver.close)
                self._udp[self._listening("coap", number, driver.address)] = driver
            if "tcp" in transports:
                server = await open_tcp(self._host, address.host, address.port)
                undo.push_async_callback(server.close)
                self._places[self._listening("coap+tcp", number, server.address)] = server.places

    async def _listen_to_coaps(self, undo: AsyncExitStack) -> None:
        config = self._config.coaps
        limits = associations.Limits(config.sessions_max, config.sessions_per_source, idle_s=config.idle_s)
        if config.listen:
            require_keys()
        for number, address in enumerate(map(listen_address, config.listen), 1):
            if "dtls" in config.transports:
                driver = open_dtls(self._host, self._credentials, address.host, address.port, limits)
                undo.callback(driver.close)
                name = self._listening("coaps", number, driver.udp.address)
                self._dtls[name], self._udp[name] = driver, driver.udp
            if "tls" in config.transports:
                server = await open_tls(self._host, self._credentials, address.host, address.port)
                undo.push_async_callback(server.close)
                name = self._listening("coaps+tcp", number, server.address)
                self._tls[name], self._places[name] = server, server.places

    def _credentials(self) -> Credentials:
        """As they are now: certificates are renewed, and anchors changed, while the node runs."""
        return self._keys.credentials(wall_clock_ms())

    def _recent_credentials(self) -> Credentials:
        """As they were a moment ago: for what other nodes say, many times a second."""
        now = asyncio.get_running_loop().time()
        if self._recent is None or now >= self._recent_until:
            self._recent, self._recent_until = self._credentials(), now + CREDENTIALS_EVERY_S
        return self._recent

    async def _listen_to_http(self, network: str, undo: AsyncExitStack) -> None:
        config = self._config
        reader = Reader(config.dir)
        undo.callback(reader.close)
        asking = Asking(self.ask, self._credentials)
        identify = asking.identify
        joining = Joining(self.ask, self._keys)
        made = partial(
            application, self.ask, self._ready, measure=self._measure, joining=joining, hosts=config.http.hosts
        )
        app = made(identify, self._policy.decide, self._gate, rows=reader)
        tiles = partial(Tiles, self.ask, partial(place_of, config.dir))
        tiles(identify, self._policy.decide, self._gate).serve_in(app)
        over_websocket = "ws" in config.coap.transports
        if over_websocket:
            WebSockets(self._host, identify).serve_in(app)
        path = config.dir / local.NAME
        own = await serve_locally(app, path)
        undo.push_async_callback(own.close)
        undo.callback(path.unlink, missing_ok=True)
        self.listeners["local"] = str(path)
        self._places["local"] = own.places
        await self._serve("http", config.http.listen, app, None, undo)
        if over_websocket:
            numbered = [name for name in self.listeners if name.startswith("http")]
            self.listeners |= {name.replace("http", "coap+ws"): self.listeners[name] for name in numbered}
        secured = Contexts(self._credentials).current
        await self._serve("https", config.https.listen, app, secured, undo)
        only = partial(only_peers, identify)
        called = filter(None, (*config.http.hosts, urlsplit(config.peers.url).hostname))  # as others call this node
        peers = made(
            only, self._policy.decide, self._gate, routes=PEER_ROUTES, body_max=PARCEL_MAX, hosts=tuple(called)
        )
        keys = {peer.name: bytes.fromhex(peer.key) or None for peer in config.peers.drip_02}
        literal = Literal(self.name, keys, self.ask, identify, self._policy.decide, self._gate)
        signatures = Signatures(self._peers.key_of) if config.peers.signatures == "on" else None
        newcomers = Newcomers(asking.newcomer, self.ask, self._keys, self._policy.decide, network)
        hearing = Hearing(
            only, self._policy.decide, self._host.hear, network, literal.serve, signatures, self.name, newcomers.take
        )
        hearing.serve_in(peers)
        literal.serve_in(peers)
        tiles(hearing.identify, self._policy.decide, self._gate, network).serve_in(peers)
        brief = hearing.brief(peers, Asking(self.ask, self._recent_credentials, decides=False).certified)
        await self._serve("peers", config.peers.listen, peers, secured, undo, brief)

    async def _serve(
        self,
        kind: str,
        listen: Sequence[str],
        app: web.Application,
        secured: Secured | None,
        undo: AsyncExitStack,
        begin: Begin | None = None,
    ) -> None:
        for number, address in enumerate(map(listen_address, listen), 1):
            server = await serve(app, address.host, address.port, secured=secured, begin=begin)
            undo.push_async_callback(server.close)
            name = self._listening(kind, number, server.address)
            self._places[name] = server.places
            if secured is not None:
                self._https[name] = server

    def _ready(self) -> dict[str, bool]:
        return {"store": self._host.running, "listeners": True}

    def _measure(self) -> Figures:
        return Figures(
            uptime_s=asyncio.get_running_loop().time() - self._started,
            loop=kind_of(asyncio.get_running_loop()),
            listeners=self.listeners,
            last_error=self._last_error.text,
            counters={
                "datagrams_overflowed": self._host.overflowed,
                "datagrams_unsent": self._host.unsent,
                **counters(self._oscore),
                **self._peers.counters(),
                "peers_other_key": self._keys.pins.refused,
                **self._logs.counters(),
                "dtls_dropped": by_reason(self._dtls, lambda driver: driver.associations.dropped),
                "dtls_sessions_ended": by_reason(self._dtls, lambda driver: driver.associations.ended),
                "secure_handshakes": Labelled(
                    ("listener",),
                    {
                        **each(self._dtls, lambda driver: driver.associations.done).values,
                        **each(self._tls, lambda server: server.done).values,
                        **each(self._https, lambda server: server.done).values,
                    },
                ),
                "secure_handshakes_failed": Labelled(
                    ("listener", "reason"),
                    {
                        **by_reason(self._dtls, lambda driver: driver.associations.failed).values,
                        **by_reason(self._tls, lambda server: server.failed).values,
                        **by_reason(self._https, lambda server: server.failed).values,
                    },
                ),
                "udp_dropped": each(self._udp, lambda driver: driver.dropped),
                "udp_errors": Labelled(
                    ("listener", "error"),
                    {(name, error): n for name, driver in self._udp.items() for error, n in driver.errors.items()},
                ),
                "connections_refused": each(self._places, lambda places: places.refused),
            },
            gauges={
                "certificate_left_seconds": Labelled(
                    ("certificate",),
                    {(name,): (ends - wall_clock_ms()) // 1_000 for name, ends in self._keys.ends_ms.items()},
                ),
                **self._peers.gauges(),
                **self._logs.gauges(),
                "commits_waiting": self._writer.pending,
                "connections": each(self._places, lambda places: places.taken),
                "dtls_handshakes": each(self._dtls, lambda driver: driver.associations.handshakes),
                "dtls_sessions": each(self._dtls, lambda driver: len(driver.associations)),
                "udp_receive_buffer_bytes": each(self._udp, lambda driver: driver.receive_buffer),
            },
            distributions={"commit_batch_commits": self._writer.sizes, "commit_seconds": self._writer.seconds},
        )

    def _listening(self, kind: str, number: int, address: Endpoint) -> str:
        """The listener's name."""
        host = f"[{address.host}]" if ":" in address.host else address.host
        name = kind if number == 1 else f"{kind}{number}"
        self.listeners[name] = f"{host}:{address.port}"
        return name


def _hand_out(contacts: Contacts, logs: Logs, pins: Pins, ask: Ask) -> None:
    """What the engine asks of the world, to whoever brings it there."""
    if isinstance(ask.body, Reach):
        pins.of = ask.body.pins
    if isinstance(ask.body, Call | Reach):
        logs.outside(ask)
    if not isinstance(ask.body, Call):
        contacts.outside(ask.body)


def settle_memory() -> None:
    """For a process that is a node and nothing else, and has started with the collector off.

    What was restored stays: no collection looks at it.  To look even once takes seconds with a million registrations.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
