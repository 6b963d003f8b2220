"""A device that shares a security context with the node, by aiocoap's hands; and an engine that does as told."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from random import Random
from typing import Final

from aiocoap import Message as AiocoapMessage
from aiocoap import oscore
from aiocoap.message import Direction

from waypost.coap.message import Message, decode
from waypost.drip.parcel import Said
from waypost.engine import Apply, Commit, Effect, Endpoint, Path, Put, Rows, Send
from waypost.errors import WireError
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.oscore import SecurityContext
from waypost.record import Change
from waypost.runtime.host import AskableEngine
from waypost.runtime.oscore import Oscore

SECRET: Final = bytes(range(100, 116))
NODE: Final = Endpoint("192.0.2.1", 5683)
LAMP: Final = SecurityContext(Identity("oscore", "lamp-4", ("device",)), SECRET, b"\x01", b"\x02", b"salt")


def udp(host: str = "192.0.2.7", port: int = 4000) -> Path:
    return Path("udp", Endpoint(host, port), NODE, 1, ANONYMOUS, validated=False)


HOME: Final = udp()


class Keys(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]
    """The device's side of a context: the ids the other way round."""

    def __init__(self, settings: SecurityContext) -> None:
        self.alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
        self.hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]
        self.sender_id, self.recipient_id = settings.recipient_id, settings.sender_id
        self.id_context = settings.id_context
        self.derive_keys(settings.master_salt, settings.master_secret)
        self.sender_sequence_number = 0
        self.echo_recovery = None
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        pass


class Device:
    def __init__(self, settings: SecurityContext = LAMP) -> None:
        self._keys = Keys(settings)
        self._requests: dict[bytes, object] = {}  # of its own, by token

    def protect(self, message: Message) -> bytes:
        """A request, or the answer to a request of the node's that read() has read."""
        plain = AiocoapMessage.decode(message.encode())
        plain.direction = Direction.OUTGOING
        answered = self._requests[message.token] if message.code >= 0x40 else None
        protected, request = self._keys.protect(plain, answered)
        self._requests[message.token] = request
        protected.mtype, protected.mid, protected.token = plain.mtype, plain.mid, plain.token
        return bytes(protected.encode())

    def unprotect(self, data: bytes) -> Message:
        """An answer.  Raises aiocoap's errors for one that is not the node's."""
        return self._read(data, self._requests[decode(data).token])

    def read(self, data: bytes) -> Message:
        """A request of the node's."""
        return self._read(data, None)

    def _read(self, data: bytes, request: object) -> Message:
        outer = AiocoapMessage.decode(data)
        outer.direction = Direction.INCOMING
        inner, request = self._keys.unprotect(outer, request)
        self._requests[outer.token] = request
        inner.opt.observe = None  # aiocoap has the Partial IV there, which does not fit into the option
        inner.mtype, inner.mid, inner.token = outer.mtype, outer.mid, outer.token
        inner.direction = Direction.OUTGOING
        return decode(inner.encode())


class Disk:
    """Rows in a dict; carries effects out, and commits unless it is stuck."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}
        self.commits: list[Commit] = []
        self.sent: list[Send] = []
        self.stuck = False

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.rows.get((table, key))

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from sorted((key, value) for (name, key), value in self.rows.items() if name == table and key > after)

    def carry_out(self, engine: Oscore, now: float) -> None:
        while effects := engine.take_effects():
            for effect in effects:
                if isinstance(effect, Commit):
                    self.commits.append(effect)
                elif isinstance(effect, Send):
                    self.sent.append(effect)
            if not self.stuck:
                self.commit(engine, now)

    def commit(self, engine: Oscore, now: float) -> None:
        commits, self.commits = self.commits, []
        for commit in commits:
            for put in commit.puts:
                self._put(put)
            for effect in commit.then:
                if isinstance(effect, Apply):
                    engine.apply(effect.change, now)
                elif isinstance(effect, Send):
                    self.sent.append(effect)

    def _put(self, put: Put) -> None:
        if put.value is None:
            self.rows.pop((put.table, put.key), None)
        else:
            self.rows[put.table, put.key] = put.value


class Script:
    """An engine that notes what comes, and says what a test puts into `effects`."""

    def __init__(self) -> None:
        self.received: list[tuple[Message, Path]] = []
        self.raw: list[bytes] = []
        self.effects: list[Effect] = []

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self.raw.append(data)
        with suppress(WireError):
            self.received.append((decode(data), path))

    def restore(self, rows: Rows, now: float) -> None:
        pass

    def hear(self, node: str, messages: Iterable[Said], now: float) -> None:
        raise AssertionError("there is no network")

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        raise AssertionError("there is no network")

    def closed(self, path: Path, now: float) -> None:
        pass

    def ask(self, question: object, now: float) -> int:
        return 1

    def answered(self, id: int, result: object, now: float) -> None:
        pass

    def apply(self, change: Change, now: float) -> None:
        pass

    def handle_timer(self, now: float) -> None:
        pass

    def handle_clock(self, now: float, wall_ms: int) -> None:
        pass

    def next_timer(self) -> float | None:
        return None

    def take_effects(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def check(self) -> None:
        pass


class Node:
    """An engine, OSCORE around it, and its disk."""

    def __init__(self, engine: AskableEngine, *contexts: SecurityContext, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.oscore = Oscore(engine, contexts or (LAMP,), Random(1))
        self.oscore.restore(self.disk, 0.0)
        self.oscore.handle_clock(0.0, 1_800_000_000_000)
        self.disk.carry_out(self.oscore, 0.0)

    def receive(self, data: bytes, path: Path = HOME, now: float = 1.0) -> list[bytes]:
        """What is sent because of it."""
        self.oscore.receive_datagram(data, path, now)
        return self.flush(now)

    def flush(self, now: float = 1.0) -> list[bytes]:
        self.disk.carry_out(self.oscore, now)
        self.oscore.check()
        sent, self.disk.sent = self.disk.sent, []
        return [send.data for send in sent]
