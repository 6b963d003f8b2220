"""The keys of a state directory: made at the first start, checked at each, and given to whoever shows them.

    keys/           0700, each file 0600
      node.pem      signs what this node says          Ed25519
      log.pem       signs its log's checkpoints        Ed25519
      cosigner.pem  signs others' checkpoints          Ed25519
      ca.pem ca.crt the private authority: key, root   P-256; ca.pem may be kept elsewhere between uses
      tls.pem tls.crt  what listeners show             P-256, renewed before it ends
      operator.pub  signs trust.json; its private half is given out once and is not here
      trust.json    roots and revocations              see identity/anchors.py
      revoked.json  revoked since then                 signed by the node's key
      seen.json     the highest versions of both that were taken
      issued.jsonl  what the authority has certified
      secrets.toml  pre-shared keys and OSCORE contexts, written by the operator, read at start

operator.pub is written last: a first start that was cut short is gone on with, and after it nothing that is missing
is made anew in silence.  Who lost the operator's key takes operator.pub away, and the next start makes another.
Whoever changes these files beside a running node replaces them whole, holding `lock`.

Times are integer milliseconds since 1970.  Raises ConfigError for what is not as it must be, OSError for the disk.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from waypost.engine import PutFile
from waypost.errors import ConfigError, WaypostError
from waypost.identity import certificates, keys
from waypost.identity.anchors import (
    Revoked,
    Seen,
    Trust,
    our_anchor,
    read_revoked,
    read_trust,
    require_current,
    seal_trust,
)
from waypost.identity.certificates import DAY_MS, Certificate, Subject
from waypost.identity.credentials import Credentials
from waypost.identity.pins import Pins
from waypost.identity.shared import NONE, read_shared
from waypost.storage.files import Files, Sync, make_directory
from waypost.storage.private import require_private

FOLDER: Final = "keys"
OWN_DAYS: Final = 90  # of the node's own certificate
RENEWED_MS: Final = 30 * DAY_MS  # before its end
CLOCK_MIN_MS: Final = 1_767_225_600_000  # 2026-01-01: a clock that says less was never set
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
SIGNING: Final = ("node.pem", "log.pem", "cosigner.pem")
WATCHED: Final = ("trust.json", "revoked.json", "ca.crt", "tls.crt")

T = TypeVar("T")
log = logging.getLogger(__name__)


class Marks(Struct, frozen=True, forbid_unknown_fields=True):
    """The highest versions that were seen of what one operator's key signs, and of what the node's own does."""

    operator: str = ""  # its fingerprint
    trust: Seen = Seen()
    revoked: Seen = Seen()


class Issued(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of issued.jsonl."""

    serial: str
    role: str
    name: str
    not_after_ms: int
    key: str = ""  # its fingerprint; "" in lines of before


@dataclass(frozen=True, slots=True)
class Believed:
    """What the files say of others: the operator's word, and what the node has revoked since."""

    trust: Trust
    revoked: Revoked
    marks: Marks

    @property
    def all_revoked(self) -> Revoked:
        return self.trust.revoked | self.revoked


class Keyring:
    """`operator_key` is PEM at the start that made it, and None ever after: show it and let it go."""

    def __init__(self, directory: Path, hosts: Sequence[str], sync: Sync) -> None:
        """Of a state directory whose keys there are; Keyring.open() makes them."""
        self.directory = directory
        self.folder = directory / FOLDER
        self.operator_key: bytes | None = None
        self.files = Files(directory, sync)
        self.hosts = tuple(dict.fromkeys((*LOOPBACK, *map(_spelled, hosts))))
        self.node = self.read("node.pem", keys.read_private_ed25519)
        self.log = self.read("log.pem", keys.read_private_ed25519)
        self.cosigner = self.read("cosigner.pem", keys.read_private_ed25519)
        self.operator = self.read("operator.pub", _read_operator)
        secrets = self.folder / "secrets.toml"
        self.shared = read_shared(secrets.read_bytes(), str(secrets)) if secrets.exists() else NONE
        self._watched = tuple(str(self.folder / name) for name in WATCHED)
        self._issued = str(self.folder / "issued.jsonl")
        self._stamp: tuple[tuple[int, int], ...] = ()
        self.ends_ms: dict[str, int] = {}  # of the node's certificate, its root and the trust file, as last read
        self._due_ms = 0  # when the node's own certificate is to be looked at again
        self._credentials: Credentials | None = None
        self.pins = Pins(log.error)

    @classmethod
    def open(cls, directory: Path, wall_ms: int, *, hosts: Sequence[str] = (), sync: Sync = os.fsync) -> "Keyring":
        """Make what is missing at the first start, check all of it at each; `hosts` are where listeners are reached.

        Raises ConfigError if something is missing, not ours alone to read, wrong, rolled back or expired.
        """
        folder = directory / FOLDER
        operator_key = None
        if not (folder / "operator.pub").exists():
            make_directory(folder, sync)
            require_private(folder)
            with locked(folder):
                if not (folder / "operator.pub").exists():
                    operator_key = _make_all(directory, wall_ms, sync)
        keyring = cls.open_made(directory, hosts=hosts, sync=sync)
        keyring.operator_key = operator_key
        keyring.credentials(wall_ms)
        return keyring

    @classmethod
    def open_made(cls, directory: Path, *, hosts: Sequence[str] = (), sync: Sync = os.fsync) -> "Keyring":
        """That of a directory whose first start has been; nothing is made or renewed.  Raises ConfigError."""
        folder = directory / FOLDER
        if not (folder / "operator.pub").exists():
            raise ConfigError(f"{directory} has no keys yet", hint="waypost init, or waypost run, makes them")
        require_private(folder)
        return cls(directory, hosts, sync)

    @property
    def name(self) -> str:
        """Under which the node's own certificate is made out: of its key, 16 hexadecimal digits."""
        return keys.fingerprint(self.node.public_key())[:16]

    @property
    def root(self) -> Certificate:
        """Of the private authority."""
        return self.read("ca.crt", certificates.read_certificate)

    @property
    def has_authority(self) -> bool:
        """Whether the authority's key is here, and not kept elsewhere."""
        return self.has("ca.pem")

    def credentials(self, wall_ms: int) -> Credentials:
        """The same object until one of the files is another.  What cannot be read is told once, and the last stays."""
        if self._credentials is None or wall_ms >= self._due_ms or self._stamps() != self._stamp:
            self._due_ms = wall_ms + DAY_MS
            try:
                self.renew(wall_ms)
                before, self._stamp = self._stamp, self._stamps()
                if self._credentials is None or self._stamp != before:
                    self._credentials = self._load(wall_ms)
            except (ConfigError, OSError) as error:
                if self._credentials is None:
                    raise
                self._stamp = self._stamps()
                log.error("keys changed and cannot be used: %s", error)
        return self._credentials

    def believed(self, wall_ms: int, *, expired: bool = False) -> Believed:
        """What trust.json and revoked.json say, with a mark set at what was not seen before.

        Raises ConfigError for what is older than its mark, and for what has expired unless that may be.
        """
        marks = self._marks()
        moment = 0 if expired else wall_ms
        trust = self.read("trust.json", lambda data: _current(read_trust(data, self.operator), marks.trust, moment))
        revoked, seen = Revoked(), Seen()
        if self.has("revoked.json"):
            revoked, seen = self.read("revoked.json", lambda data: read_revoked(data, self.node.public_key()))
        if seen.version < marks.revoked.version or (
            seen.version == marks.revoked.version and seen.digest != marks.revoked.digest
        ):
            version = marks.revoked.version
            raise ConfigError(f"{self.folder / 'revoked.json'}: version {version}, which was seen before, is not there")
        now = Marks(marks.operator, Seen(trust.version, trust.digest), seen)
        if now != marks:
            self._mark(now)
        return Believed(trust, revoked, now)

    def renew(self, wall_ms: int) -> bool:
        """Make the node's own certificate anew when it ends soon, or names too few hosts; whether it did.

        The key stays, where there is one: the network may know the node by it.
        """
        if not self._ends(wall_ms):
            return False
        if not self.has_authority:
            log.warning("the node's certificate should be renewed, and ca.pem is not here")
            return False
        key = self.read("tls.pem", keys.read_private) if self.has("tls.pem") else keys.make_p256()
        try:
            own = self.issue(Subject("peer", self.name, self.hosts, OWN_DAYS), key.public_key(), wall_ms)
        except ValueError as error:
            raise ConfigError(f"the node cannot be certified: {error}") from error
        # The certificate last: it is what credentials() watches, and a key that does not fit it is made anew.
        self.write({"tls.pem": keys.write_private(key), "tls.crt": own.pem})
        return True

    def issue(self, subject: Subject, public: keys.PublicKey, wall_ms: int) -> Certificate:
        """Certify a key, and keep in mind that it was.

        Raises ConfigError if the authority's key is not here, ValueError for a subject that may not be certified.
        """
        if not self.has_authority:
            raise ConfigError(f"{self.folder / 'ca.pem'} is not here", hint="bring it back for as long as it is needed")
        key, root = self.read("ca.pem", keys.read_private), self.root
        if keys.fingerprint(key.public_key()) != keys.fingerprint(root.public):
            raise ConfigError(f"{self.folder / 'ca.pem'} is not the key of ca.crt", hint="waypost ca rotate")
        made = certificates.issue(key, root, subject, public, wall_ms)
        self._remember(Issued(made.serial, subject.role, subject.name, made.not_after_ms, keys.fingerprint(public)))
        return made

    def issued(self) -> list[Issued]:
        """All that the authority has certified, oldest first."""
        return self.read("issued.jsonl", _read_issued) if self.has("issued.jsonl") else []

    @property
    def issued_stamp(self) -> tuple[int, int]:
        """Another whenever one more is issued."""
        return _stamp_of(self._issued)

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def read(self, name: str, reading: Callable[[bytes], T]) -> T:
        """Raises ConfigError, which names the file, if it is missing or not as it must be."""
        path = self.folder / name
        try:
            return reading(path.read_bytes())
        except FileNotFoundError as error:
            raise ConfigError(f"{path} is missing", hint="bring it back from a backup") from error
        except (WaypostError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{path}: {error}", hint=getattr(error, "hint", None)) from error

    def write(self, files: dict[str, bytes]) -> None:
        """Each whole and durably, in order."""
        self.files.write(PutFile(f"{FOLDER}/{name}", data) for name, data in files.items())

    def _load(self, wall_ms: int) -> Credentials:
        believed, own = self.believed(wall_ms), self.read("tls.crt", certificates.read_certificate)
        self.ends_ms = {
            "node": own.not_after_ms,
            "root": self.root.not_after_ms,
            "trust": believed.trust.expires_ms,
        }
        return Credentials(
            chain=own.pem,
            key=self.read("tls.pem", bytes),
            trust=replace(believed.trust, revoked=believed.all_revoked),
            psks=self.shared.psks,
            contexts=self.shared.contexts,
            pins=self.pins,
        )

    def _ends(self, wall_ms: int) -> bool:
        if not (self.has("tls.crt") and self.has("tls.pem")):
            return True
        own = self.read("tls.crt", certificates.read_certificate)
        fits = keys.fingerprint(self.read("tls.pem", keys.read_private).public_key()) == keys.fingerprint(own.public)
        ends_soon = own.not_after_ms - wall_ms < RENEWED_MS or not certificates.is_issued_by(own, self.root)
        return not fits or ends_soon or not {*self.hosts} <= {*own.hosts}

    def _remember(self, issued: Issued) -> None:
        with open(self.folder / "issued.jsonl", "ab", opener=_private) as stream:
            # On a line of its own, also when the power failed in the middle of the last.
            stream.write(b"\n" + msgspec.json.encode(issued) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _marks(self) -> Marks:
        """What was seen under another operator's key says nothing of what this one signs."""
        operator = keys.fingerprint(self.operator)
        marks = self.read("seen.json", msgspec.json.Decoder(Marks).decode) if self.has("seen.json") else Marks()
        return marks if marks.operator == operator else Marks(operator, Seen(), marks.revoked)

    def _mark(self, now: Marks) -> None:
        """A mark never goes back, whoever else has set one in the meantime."""
        with locked(self.folder, "seen.lock"):
            there = self._marks()
            trust = max(there.trust, now.trust, key=lambda seen: seen.version)
            revoked = max(there.revoked, now.revoked, key=lambda seen: seen.version)
            self.write({"seen.json": msgspec.json.encode(Marks(now.operator, trust, revoked))})

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        return tuple(map(_stamp_of, self._watched))


@contextmanager
def locked(folder: Path, name: str = "lock") -> Iterator[None]:
    """Alone among those who change what is in it; waits for its turn."""
    with open(folder / name, "ab", opener=_private) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _make_all(directory: Path, wall_ms: int, sync: Sync) -> bytes:
    """The operator's private key, PEM.  What is there stays: a first start is gone on with, or an operator replaced."""
    if wall_ms < CLOCK_MIN_MS:
        raise ConfigError("the clock has not been set, and certificates made now would be of the past")
    folder = directory / FOLDER
    made = {name: keys.write_private(keys.make_ed25519()) for name in SIGNING if not (folder / name).exists()}
    if (folder / "ca.crt").exists():  # its key may be kept elsewhere by now
        root = certificates.read_certificate((folder / "ca.crt").read_bytes())
    else:
        authority = keys.make_p256()
        root = certificates.make_root(authority, wall_ms)
        made["ca.pem"] = keys.write_private(authority)
    operator = keys.make_ed25519()
    trust = Trust(version=1, expires_ms=root.not_after_ms, anchors=(our_anchor(root),))
    # Each step durable before the next: no root without its key, no end of the first start without all the rest.
    steps = (
        made,
        {"ca.crt": root.pem, "trust.json": seal_trust(trust, operator)},
        {"operator.pub": keys.write_public(operator.public_key())},
    )
    files = Files(directory, sync)
    for step in steps:
        files.write(PutFile(f"{FOLDER}/{name}", data) for name, data in step.items())
    return keys.write_private(operator)


def _read_operator(data: bytes) -> Ed25519PublicKey:
    public = keys.read_public(data)
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError("the operator's key is not an Ed25519 key")
    return public


def _read_issued(data: bytes) -> list[Issued]:
    """What is no whole line was cut short by a power cut, and its certificate given to nobody."""
    found: list[Issued] = []
    for line in filter(None, data.split(b"\n")):
        with suppress(msgspec.MsgspecError):
            found.append(msgspec.json.decode(line, type=Issued))
    return found


def _spelled(host: str) -> str:
    """An address as certificates have it, or a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host


def _current(trust: Trust, seen: Seen, wall_ms: int) -> Trust:
    require_current(trust, seen, wall_ms)
    return trust


def _stamp_of(path: str) -> tuple[int, int]:
    """Another whenever the file is: each is replaced whole.  Of a path in text: it is asked for with every request."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
