"""A state directory made of a backup.

It is built beside the place where it is to be, durably, and takes that place by a rename: whenever the power fails,
there is what was there before, or the whole of the new; or, where another was to be replaced and only in the moment
between two renames, neither, and both lie beside it.

What is restored is older than what others have seen of this node, so it goes on as another:

    feed id            is another: whoever follows the changes starts anew (design, Contracts 3)
    incarnation        is gone, and with it what this node had joined, promised and accepted as a voter: it votes again
                       only when a roster names its new incarnation (Contracts 7).  PAST keeps the number of the old
                       one: the new one is higher, whatever the clock says.  Also where it was the only voter: whether
                       that is still so only the operator can know
    ballots            that it used as an initiator stay used
    intents            are gone: since the backup they may have been taken back, or sent
    log                signs nothing before another node has said which head of it it saw last: others may have seen
                       more of it than is here (opening.py)
    OSCORE             sequence numbers go on far above those that it can have used since, or nonces would come twice

Raises ProofError for a damaged backup, ConfigError and StateError for what cannot be done, StoreError and OSError for
the disk.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from waypost.codec import u64
from waypost.drip import intents
from waypost.drip.book import INSTANCES, RECORDS, row_key
from waypost.drip.roster import EPOCHS, NODE, PAST, SELF, Self
from waypost.engine import Commit, Put
from waypost.errors import ConfigError, ProofError, StateError, StoreError, WireError
from waypost.identity.oscore import SEQUENCE_FLOOR, SEQUENCE_ROW
from waypost.ledger.log import NODE as LEDGER
from waypost.ledger.opening import RESTORED
from waypost.record import ROSTER, Committed, Roster, roster_in
from waypost.record.feed import FEED_ID, META
from waypost.record.wire import encode
from waypost.storage.archive import Manifest, Taker, unpack
from waypost.storage.backup import FOUNDING, keys_of
from waypost.storage.files import Sync, make_directory, sync_directory
from waypost.storage.keyring import FOLDER
from waypost.storage.schema import Connection
from waypost.storage.store import DATABASE, LOCK, Store, connect

BEFORE: Final = ".before"  # after a directory's name: what was replaced
LEAP: Final = 1 << 34  # OSCORE sequence numbers: 2.7 years at 200 a second, and a 64th of all there are

SEQUENCES: Final = 1 << 40  # RFC 8613, 7.2.1: past the last, a context protects nothing any more

Connect = Callable[[Path], Connection]


@dataclass(frozen=True, slots=True)
class Restored:
    """`feed` is the new one's id, in hexadecimal; `has_keys`: a node can start there.

    `is_lone`: the network had no other voter, so only the operator can have it vote again.
    """

    manifest: Manifest
    feed: str
    has_keys: bool
    is_lone: bool
    before: Path | None


def restore(
    file: Path,
    directory: Path,
    *,
    rng: Random,
    replace: bool = False,
    connect: Connect = connect,
    sync: Sync = os.fsync,
) -> Restored:
    """Make `directory`, which is empty or missing unless another may be replaced; that one stays beside it.

    Without keys in the backup, those of the replaced directory are taken.
    """
    with ExitStack() as undo:
        undo.enter_context(_free(directory, replace=replace))
        new, before = directory.with_name(f".{directory.name}.new"), directory.with_name(directory.name + BEFORE)
        shutil.rmtree(new, ignore_errors=True)
        make_directory(new, sync)
        undo.callback(shutil.rmtree, new, ignore_errors=True)
        manifest = _unpack(file, new, sync)
        if not manifest.keys and replace:
            _write(new, {f"{FOLDER}/{name}": data for name, data in keys_of(directory).items()}, sync)
        feed = rng.randbytes(16)
        is_lone = _go_on(new, feed, connect, sync)
        is_full = directory.exists() and any(directory.iterdir())
        if is_full:
            directory.rename(before)
        try:
            new.rename(directory)
        except OSError:
            if is_full:
                with suppress(OSError):
                    before.rename(directory)
            raise
        sync_directory(directory.parent, sync)
    return Restored(manifest, feed.hex(), (directory / FOLDER).exists(), is_lone, before if is_full else None)


@contextmanager
def _free(directory: Path, *, replace: bool) -> Iterator[None]:
    """No node runs there, and none starts; nothing is there, or it may be replaced."""
    if not directory.exists():
        yield
        return
    if not directory.is_dir():
        raise ConfigError(f"{directory} is a file")
    if not any(directory.iterdir()):
        yield
        return
    if not replace:
        raise StateError(
            f"{directory} is not empty",
            hint=f"--replace keeps it beside, as {directory.name}{BEFORE}; or choose another",
        )
    if directory.with_name(directory.name + BEFORE).exists():
        raise StateError(f"{directory}{BEFORE} is there from an earlier time", hint="move it away")
    with open(directory / LOCK, "ab", opener=_private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"a node runs in {directory}", hint="stop it first") from None
        yield


def _unpack(file: Path, new: Path, sync: Sync) -> Manifest:
    """All that is in the backup, durable."""
    folders = {new: None}
    with ExitStack() as last:

        def place(name: str, _: int) -> Taker:
            last.close()
            path = new / name
            if path.parent not in folders:
                make_directory(path.parent, sync)
                folders[path.parent] = None
            stream = last.enter_context(open(path, "xb", buffering=0, opener=_private))
            last.callback(lambda: sync(stream.fileno()))

            def take(data: bytes) -> None:
                rest = memoryview(data)
                while rest:
                    rest = rest[stream.write(rest) :]

            return take

        manifest = unpack(file, place)
    if not (new / DATABASE).exists():
        raise ProofError(f"{file} has no {DATABASE} in it")
    for folder in reversed(folders):
        sync_directory(folder, sync)
    return manifest


def _go_on(new: Path, feed: bytes, connect: Connect, sync: Sync) -> bool:
    """As another from here on; whether it was the only voter.  The database is brought up to date on the way."""
    store = Store.open(new, connect=connect, sync=sync)
    try:
        data, roster = store.get(NODE, SELF), _roster(store)
        me = msgspec.json.decode(data, type=Self) if data else None
        puts = [Put(META, FEED_ID, feed), *_sequences(store), Put(NODE, SELF, None), Put(NODE, EPOCHS, None)]
        puts += [Put(table, key, None) for table in (INSTANCES, intents.TABLE) for key, _ in store.scan(table)]
        puts.append(Put(LEDGER, RESTORED, b"1"))
        if me is not None:
            puts.append(Put(NODE, PAST, encode(me.incarnation)))
        store.commit([Commit(puts=tuple(puts))])
    except (msgspec.MsgspecError, WireError) as error:
        raise StoreError("what the backup says of the node's network cannot be read") from error
    finally:
        store.close()
    return me is not None and roster is not None and [each.incarnation for each in roster.voters] == [me.incarnation]


def _roster(store: Store) -> Roster | None:
    """The last one that it knew."""
    data = store.get(RECORDS, row_key(ROSTER)) or store.get(NODE, FOUNDING)
    return roster_in(msgspec.json.decode(data, type=Committed).record) if data else None


def _sequences(store: Store) -> list[Put]:
    used = {key: value for key, value in store.scan(META) if key.startswith(SEQUENCE_ROW)}
    highest = max(int.from_bytes(value, "big") for value in (store.get(META, SEQUENCE_FLOOR) or b"", *used.values()))
    floor = u64(min(highest + LEAP, SEQUENCES))
    return [Put(META, SEQUENCE_FLOOR, floor), *(Put(META, key, None) for key in used)]


def _write(new: Path, files: dict[str, bytes], sync: Sync) -> None:
    for name, data in files.items():
        make_directory((new / name).parent, sync)
        with open(new / name, "xb", opener=_private) as stream:
            stream.write(data)
            stream.flush()
            sync(stream.fileno())
    if files:
        sync_directory(new / FOLDER, sync)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
