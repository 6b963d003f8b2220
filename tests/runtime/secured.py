"""What the tests of secured transports share: credentials of a node and of its clients, and associations by hand."""

from dataclasses import dataclass
from random import Random

from waypost.engine import Path, Send
from waypost.identity import Identity, keys
from waypost.identity.anchors import Trust, our_anchor
from waypost.identity.certificates import DAY_MS, Certificate, Subject, issue, make_root
from waypost.identity.credentials import Credentials, SharedKey
from waypost.runtime.associations import Associations, Ended, Failed, Limits, Opened, Received, Session
from waypost.runtime.dtls import Association
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.secure import Acceptor, Connector
from waypost.sim import udp_path

LAMP = bytes(range(7, 39))
OTHER_LAMP = bytes(range(107, 139))


@dataclass(frozen=True)
class Authority:
    key: keys.PrivateKey
    root: Certificate

    @property
    def trust(self) -> Trust:
        return Trust(1, self.root.not_after_ms, (our_anchor(self.root),))

    def certify(
        self, role: str, name: str, *, days_ago: int = 0, key: keys.PrivateKey | None = None, **psks: bytes
    ) -> Credentials:
        own = key or keys.make_p256()
        wall_ms = wall_clock_ms() - days_ago * DAY_MS
        made = issue(self.key, self.root, Subject(role, name, days=30), own.public_key(), wall_ms)
        return Credentials(made.pem, keys.write_private(own), self.trust, shared(**psks))


def authority() -> Authority:
    key = keys.make_p256()
    return Authority(key, make_root(key, wall_clock_ms() - 100 * DAY_MS))


def shared(**psks: bytes) -> dict[bytes, SharedKey]:
    return {name.encode(): SharedKey(key, Identity("psk", name, ("device",))) for name, key in psks.items()}


def holding(**psks: bytes) -> Credentials:
    """Of who has pre-shared keys and nothing else."""
    return Credentials(b"", b"", Trust(), shared(**psks))


class Server:
    """Associations whose datagrams reach clients by hand."""

    def __init__(self, credentials: Credentials, limits: Limits | None = None) -> None:
        self.credentials = credentials
        acceptor = Acceptor(lambda: self.credentials, wall_clock_ms, datagrams=True)
        self.associations = Associations(acceptor.accept, Random(1), limits or Limits())
        self.opened: list[Session] = []
        self.ended: list[Session] = []
        self.received: list[bytes] = []
        self.failures: list[str] = []

    def receive(self, data: bytes, path: Path, now: float) -> list[tuple[Path, bytes]]:
        """What it sends at that."""
        self.associations.receive_datagram(data, path, now)
        return self.take()

    def take(self) -> list[tuple[Path, bytes]]:
        sent: list[tuple[Path, bytes]] = []
        for effect in self.associations.take_effects():
            match effect:
                case Send():
                    sent.append((effect.path, effect.data))
                case Opened(session):
                    self.opened.append(session)
                case Received(_, data):
                    self.received.append(data)
                case Ended(session):
                    self.ended.append(session)
                case Failed(_, detail):
                    self.failures.append(detail)
        self.associations.check()
        return sent


class Client:
    def __init__(
        self,
        server: Server,
        credentials: Credentials,
        port: int = 4001,
        host: str = "192.0.2.1",
        *,
        suites: bytes | None = None,
    ) -> None:
        self.server = server
        self.path = udp_path(host, port)
        self.association = Association(Connector(credentials, wall_clock_ms, datagrams=True, suites=suites).connect())
        self.heard: list[bytes] = []
        self.sizes: list[int] = []  # of the datagrams that the server sent

    @property
    def who(self) -> Identity | None:
        return self.association.channel.who

    @property
    def ended(self) -> str | None:
        return self.association.channel.ended

    def handshake(self, now: float = 0.0) -> "Client":
        """As far as it goes without a retransmission."""
        self.association.start(now)
        self.exchange(now)
        return self

    def say(self, data: bytes, now: float = 0.0) -> None:
        self.association.send(data)
        self.exchange(now)

    def exchange(self, now: float = 0.0) -> None:
        """Until neither has anything to send."""
        while datagrams := self.association.take_output():
            for datagram in datagrams:
                self.hear(self.server.receive(datagram, self.path, now), now)

    def hear(self, sent: list[tuple[Path, bytes]], now: float = 0.0) -> None:
        for path, data in sent:
            if path == self.path:
                self.sizes.append(len(data))
                self.heard += self.association.receive(data, now)
