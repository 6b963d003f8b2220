"""A network of one voter and its log: real entries, trees, heads and cosignatures, and no rounds but those we call."""

from typing import Any, Final

from lone import Lone
from people import WALL_MS, key_of

from waypost.drip.book import row_key
from waypost.engine import Commit
from waypost.ledger.checkpoint import Checkpoint, Head, cosign, sign_head
from waypost.ledger.entry import commit
from waypost.ledger.index import Row, of_commit, of_statement
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.policy import Policy, quorum_of
from waypost.ledger.proof import ProofFile
from waypost.ledger.questions import (
    Enter,
    Entered,
    LedgerQuestion,
    Linked,
    Outside,
    Prove,
    Reply,
    Resume,
    Serve,
    ShowLog,
    Shown,
)
from waypost.ledger.tiles import WIDTH, Tile, encode_bundle
from waypost.ledger.tree import Tree
from waypost.record import Committed, Record

ORIGIN: Final = "waypost/anna"
WITNESSES: Final = ("berta", "carla", "dora", "emma")
TIME_S: Final = WALL_MS // 1000
EVIDENCE: Final = "e1" * 32


def vkey(person: str, name: str, algorithm: Algorithm = Algorithm.COSIGNATURE) -> Key:
    return Key(name, algorithm, key_of(person).public_key().public_bytes_raw())


KEY: Final = vkey("log", ORIGIN, Algorithm.ED25519)
COSIGNERS: Final = {name: vkey(name, f"waypost/{name}/witness") for name in WITNESSES}
POLICY: Final = Policy.of([KEY], list(COSIGNERS.values()), quorum_of(len(WITNESSES)))


class Logbook:
    """Each entry is published at once with the cosignatures of `witnesses`, unless `publishes` is False."""

    def __init__(self, mesh: Lone | None = None) -> None:
        self.mesh = mesh or Lone()
        self.entries: list[bytes] = []
        self.wall_ms = WALL_MS
        self.witnesses: tuple[str, ...] = WITNESSES
        self.publishes = True
        self.state = "signing"
        self.published: Head | None = None
        self.evidence = {EVIDENCE: b"waypost/evidence@v1\nsame size\n"}
        self.refusal: Reply | None = None  # to statements
        self.asked: list[object] = []
        self._tree = Tree()

    def put(self, *records: Record) -> Record:
        """Has them committed, and entered in the log."""
        for record in records:
            self.mesh.put(record)
            committed = self.mesh.drip.committed(record.place)
            assert committed is not None
            self.enter(committed)
        return records[-1]

    def enter(self, committed: Committed) -> int:
        index = self.add(commit(self.mesh.network, committed.encode()))
        record = committed.record
        row = Row(index, self.wall_ms).put(of_commit(row_key(record.place), record.version))
        self.mesh.rows.write(Commit(puts=(row,)))
        return index

    def add(self, entry: bytes) -> int:
        self.entries.append(entry)
        self._tree.append(entry)
        if self.publishes:
            self.publish()
        return len(self.entries) - 1

    def publish(self) -> None:
        self.published = self.head
        for name in self.witnesses:
            line = cosign(self.published, COSIGNERS[name], key_of(name).sign, self.wall_ms // 1000)
            self.published = Head(self.published.checkpoint, self.published.note.signed(line))

    @property
    def head(self) -> Head:
        return sign_head(Checkpoint(ORIGIN, self._tree.size, self._tree.root()), KEY, key_of("log").sign)

    async def ask(self, question: Any) -> object:
        if not isinstance(question, LedgerQuestion):
            return await self.mesh.ask(question)
        self.asked.append(question)
        match question:
            case ShowLog():
                return self._shown()
            case Resume():
                self.state = "signing"
                return self._shown()
            case Prove(index=index):
                return self._proof(index)
            case Enter(statement=statement):
                return self.refusal or self._enter(statement)
            case Serve(method="GET", path=path) if path.startswith("tile/entries/"):
                tile = Tile.decode(path)
                assert tile.is_within(len(self.entries))
                start = tile.index * WIDTH
                return Reply(200, encode_bundle(self.entries[start : start + tile.width]))
            case Serve(method="GET", path=path):
                found = self.evidence.get(path.removeprefix("evidence/"))
                return Reply(404) if found is None else Reply(200, found)
            case _:
                raise AssertionError(question)

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return self.mesh.after(table, key, limit)

    def _enter(self, statement: bytes) -> Entered:
        index = self.add(statement)
        self.mesh.rows.write(Commit(puts=(Row(index, self.wall_ms).put(of_statement(statement)),)))
        return Entered(index, self.head)

    def _proof(self, index: int) -> bytes | None:
        head = self.published
        if head is None or index >= head.size:
            return None
        return ProofFile(index, self._tree.inclusion(index, head.size), head, self.entries[index]).encode()

    def _shown(self) -> Shown:
        berta = vkey("berta's log", "waypost/berta", Algorithm.ED25519)
        return Shown(
            ORIGIN,
            KEY,
            vkey("anna", f"{ORIGIN}/witness"),
            self.state,
            len(self.entries),
            self.head if self.entries else None,
            self.published,
            quorum_of(len(self.witnesses)),
            tuple(COSIGNERS[name].name for name in self.witnesses) if self.published else (),
            (Linked("berta", "waypost/berta", berta, COSIGNERS["berta"], 9, 8, 7, None),),
            (Outside(vkey("outside", "example.com/witness"), "https://example.com/witness"),),
            tuple(self.evidence),
            "2026-11-20",
        )
