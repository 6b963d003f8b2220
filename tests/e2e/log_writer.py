"""One process that appends to a log in a state directory, and says on a socket which heads are durable.

    log_writer.py DIRECTORY DESCRIPTOR [early | rows-first]

It ends with 0, or with 3 and a sentence where the disk broke its promise.  `early` says so before it is true;
`rows-first` writes the rows before the tiles: what a test must notice.
"""

import socket
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from keeping import WALL_MS, notary

from waypost.engine import Apply, Commit
from waypost.errors import WaypostError
from waypost.ledger.log import Log
from waypost.storage import Store
from waypost.storage.files import read_file

BATCHES = (3, 10, 300)  # entries of each commit: the second and the third fill bundles
BEGIN = b"begin"


def entry(index: int) -> bytes:
    return b"entry %d " % index + b"." * (index % 300)


def opened(store: Store, directory: Path) -> Log:
    log = Log(notary(partial(read_file, directory)))
    log.restore(store)
    log.may_sign = True
    return log


def commit_of(log: Log, number: int) -> Commit:
    for index in range(log.size, log.size + number):
        log.add(entry(index))
    (commit,) = log.take_effects(WALL_MS, 0.0)
    assert isinstance(commit, Commit)
    return commit


def append(store: Store, log: Log, number: int) -> None:
    commit = commit_of(log, number)
    store.commit([commit])
    settle(log, commit)


def settle(log: Log, commit: Commit) -> None:
    for effect in commit.then:
        assert isinstance(effect, Apply)
        log.applied(effect.change)


def main(directory: Path, descriptor: int, wrong: str) -> None:
    with socket.socket(fileno=descriptor) as told:
        told.send(BEGIN)
        with closing(Store.open(directory)) as store:
            log = opened(store, directory)
            for number in BATCHES:
                commit = commit_of(log, number)
                if wrong == "early":
                    told.send(b"%d %b" % (log.tree.size, log.tree.root()))
                if wrong == "rows-first":
                    store.commit([Commit(puts=commit.puts)])
                    store.commit([Commit(files=commit.files)])
                else:
                    store.commit([commit])
                settle(log, commit)
                assert log.head is not None
                told.send(b"%d %b" % (log.size, log.head.root))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), (sys.argv[3:] or [""])[0])
    except WaypostError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
