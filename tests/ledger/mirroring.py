"""A mirror on a disk of its own, and the logs that it follows, for stories by hand."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from waypost.engine import Answer, Apply, Ask, Commit
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.mirror import Mirror
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.questions import Call, Notary, Reply
from waypost.ledger.tiles import ENTRIES, Tile, encode_bundle
from waypost.ledger.tree import Tree
from waypost.sim import Disk
from waypost.sim.people import fast, public_of

Responder = Callable[[str], Reply | None]


def key_of(name: str) -> Key:
    return Key(name, Algorithm.ED25519, bytes.fromhex(public_of(name)))


class History:
    """A log somewhere else, and how its node serves it; `calls` are the paths it was asked for."""

    def __init__(self, node: str, entries: list[bytes]) -> None:
        self.node, self.origin = node, f"waypost/{node}"
        self.tree, self.entries = Tree(), entries
        self.tree.extend(entries)
        self.calls: list[str] = []
        self.gone: set[str] = set()

    def grow(self, entries: list[bytes]) -> None:
        self.entries = [*self.entries, *entries]
        self.tree.extend(entries)

    def head(self, size: int | None = None) -> Head:
        size = len(self.entries) if size is None else size
        checkpoint = Checkpoint(self.origin, size, self.tree.root(size))
        return sign_head(checkpoint, key_of(self.origin), fast(self.origin).sign)

    def serve(self, path: str) -> Reply:
        self.calls.append(path)
        tile = Tile.decode(path)
        if path in self.gone or not tile.is_within(len(self.entries)):
            return Reply(404)
        if tile.level == ENTRIES:
            start = 256 * tile.index
            return Reply(200, encode_bundle(self.entries[start : start + tile.width]))
        return Reply(200, self.tree.tile(tile.level, tile.index, tile.width))


@dataclass
class Stop:
    size: int


@dataclass(frozen=True)
class Owner:
    node: str


class Logs:
    def __init__(self, nodes: list[str]) -> None:
        self.known = {name: Owner(name) for name in nodes}

    def of_origin(self, origin: str) -> Owner | None:
        return self.known.get(origin.removeprefix("waypost/"))


class Story:
    """Anna's mirror of what others keep; `nodes` answer her, and `calls` counts what she asked of each."""

    def __init__(self, *histories: History, others: tuple[str, ...] = (), read: tuple[bytes, ...] = (b"",)) -> None:
        self.disk = Disk(Random(1))
        self.heads: dict[str, Head] = {}
        self.frozen: dict[str, Stop] = {}
        self.nodes: dict[str, Responder] = {history.node: history.serve for history in histories}
        self.logs = Logs([*self.nodes, *others])
        self.asked: list[Call] = []
        self.waiting: list[Ask] = []
        self.now = 0.0
        self.most_written = 0
        self.writing: list[Commit] = []
        self.is_slow = False  # the disk
        self.read: list[tuple[str, list[tuple[int, bytes]]]] = []
        self.reads = True  # what is given to be read is taken
        self.begins = read  # how what is read does
        self.start()

    def start(self) -> None:
        """Again, from the disk."""
        self.disk.recover()
        own = [Key("waypost/anna", kind, bytes.fromhex(public_of(f"anna/{kind}"))) for kind in Algorithm]
        notary = Notary(
            name="anna",
            origin="waypost/anna",
            key=own[0],
            sign=fast("anna/1").sign,
            cosigner=own[1],
            cosign=fast("anna/4").sign,
            sign_as_node=fast("anna").sign,
            verify=fast("anna").verify,
            read=self.disk.read_file,
        )
        self.mirror = Mirror(
            notary,
            itertools.count(1),
            heads=self.heads,
            logs=self.logs,
            frozen=lambda origin: self.frozen.get(origin),
            read=self.begins,
        )
        self.mirror.restore(self.disk, self.now)
        self.waiting.clear()

    def follow(self, *heads: Head) -> None:
        self.heads.update({head.origin: head for head in heads})
        self.mirror.follow(self.now)
        self.run()

    def run(self, steps: int = 100_000) -> None:
        """Answer what is asked, one at a time."""
        for _ in range(steps):
            self.carry_out()
            while self.reads and (read := self.mirror.take_read()):
                self.read += read
                self.carry_out()
            if not self.waiting:
                return
            ask = self.waiting.pop(0)
            assert isinstance(ask.body, Call)
            responder = self.nodes.get(ask.body.node)
            assert self.mirror.answered(ask.id, responder(ask.body.path) if responder else None, self.now)

    def carry_out(self) -> None:
        for effect in self.mirror.take_effects():
            match effect:
                case Commit():
                    self.most_written = max(self.most_written, sum(len(file.data) for file in effect.files))
                    self.writing.append(effect)
                    if not self.is_slow:
                        self.finish()
                case Ask(body=Call() as call):
                    self.asked.append(call)
                    self.waiting.append(effect)
                case _:
                    assert not isinstance(effect, Answer)

    def finish(self) -> None:
        """What is being written is durable."""
        commits, self.writing = self.writing, []
        for commit in commits:
            self.disk.begin([commit])
            self.disk.finish()
            for then in commit.then:
                assert isinstance(then, Apply)
                assert self.mirror.applied(then.change, self.now)
        self.carry_out()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = self.mirror.next_timer()
        if due is not None and due <= self.now:
            self.mirror.handle_timer(self.now)
        self.run()

    def holds(self, history: History) -> bool:
        size = self.mirror.size(history.origin)
        same = self.mirror.entries(history.origin, 0, size) == history.entries[:size]
        return same and size == len(history.entries)


def entries(count: int, first: int = 0) -> list[bytes]:
    return [b"entry %d" % number for number in range(first, first + count)]


def digest_of(history: History) -> str:
    return sha256(history.origin.encode()).hexdigest()
