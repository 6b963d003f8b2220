"""A disk of rows and files, and a notary whose keys are as good as nothing, for the stories of the ledger."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from waypost.engine import Apply, Commit, Effect, unmet
from waypost.errors import StoreError
from waypost.ledger.log import Log
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.questions import Notary, ReadFile

WALL_MS: Final = 1_790_000_000_000


def public_of(name: str) -> bytes:
    return sha256(b"key of " + name.encode()).digest()


def sign_as(public: bytes, message: bytes) -> bytes:
    digest = sha256(public + message).digest()
    return digest + digest


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    return signature == sign_as(public, message)


def notary(read: ReadFile, name: str = "anna") -> Notary:
    origin = f"waypost/{name}"
    key = Key(origin, Algorithm.ED25519, public_of(origin))
    cosigner = Key(f"{origin}/witness", Algorithm.COSIGNATURE, public_of(f"{origin}/witness"))
    node = public_of(name)
    return Notary(
        name,
        origin,
        key,
        lambda message: sign_as(key.public, message),
        cosigner,
        lambda message: sign_as(cosigner.public, message),
        lambda message: sign_as(node, message),
        verify,
        read,
    )


class Disk:
    """What was committed: rows by table, files by name."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}
        self.files: dict[str, bytes] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self.tables.get(table, {}).items() if row[0] > after))

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, commit: Commit) -> None:
        if (found := unmet([commit], self.get)) is not None:
            raise StoreError(f"a row of {found.table} is not as this node left it")
        for file in commit.files:
            self.files[file.name] = file.data
        for put in commit.puts:
            table = self.tables.setdefault(put.table, {})
            if put.value is None:
                table.pop(put.key, None)
            else:
                table[put.key] = put.value


class Kept:
    """A log on a disk, whose commits are carried out one at a time."""

    def __init__(self, disk: Disk | None = None, name: str = "anna") -> None:
        self.disk = Disk() if disk is None else disk
        self.log = Log(notary(self.disk.read, name), read=(b"read ",))
        self.log.restore(self.disk)
        self.log.may_sign = True
        self.seen: list[Effect] = []  # what left

    def settle(self) -> None:
        while effects := self.log.take_effects(WALL_MS, 0.0):
            for effect in effects:
                self.carry(effect)

    def carry(self, commit: Effect) -> None:
        assert isinstance(commit, Commit)
        self.disk.write(commit)
        for effect in commit.then:
            if isinstance(effect, Apply):
                assert self.log.applied(effect.change)
            else:
                self.seen.append(effect)
        self.log.check()

    def enter(self, *entries: bytes) -> None:
        for entry in entries:
            self.log.add(entry)
        self.settle()

    def entries(self, start: int, stop: int) -> list[bytes]:
        """The disk is whole."""
        entries = self.log.entries(start, stop)
        assert entries is not None
        return entries

    def again(self) -> "Kept":
        """After a restart."""
        return Kept(self.disk)
