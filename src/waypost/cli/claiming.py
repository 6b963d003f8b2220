"""What the verbs that have a record voted on share: which key is meant, whose key signs, and how long they go on.

A record is signed once and sent until it is known what became of it; to send it again is safe.

Source: notes on DRiP, 4.4 (client contract).
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from msgspec import to_builtins

from waypost.api import claims
from waypost.api.calls import RefusedError
from waypost.api.logged import Version
from waypost.api.sync import SyncClient
from waypost.api.voted import Claimed, Next
from waypost.cli.ending import Exit
from waypost.cli.keys import operator_key, wall_ms, write_new
from waypost.cli.output import emit, fields, note
from waypost.cli.trusting import configuration_directory
from waypost.errors import ConfigError, DeniedError, UnreachableError, WaypostError
from waypost.record import ROSTER, Cited, Committed, Place, Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMESPACE: Final = "names"
HOLDER_KEY: Final = "holder.pem"  # in the configuration directory
DEADLINE_S: Final = 30.0
PAUSE_S: Final = 0.25  # before what could not be done is tried again, if the node does not say when
EXITS: Final = {"committed": Exit.OK, "unknown": Exit.UNREACHABLE, "pending": Exit.UNREACHABLE}  # else DENIED

F = TypeVar("F", bound=Callable[..., Any])
Draft = Callable[[Next, Committed | None], Record]


@dataclass(frozen=True, slots=True, repr=False)
class Author:
    """Who signs."""

    key: "Ed25519PrivateKey"

    @property
    def public(self) -> str:
        return self.octets.hex()

    @property
    def octets(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def sign(
        self,
        next: Next,
        place: Place,
        value: str | None,
        holder: str,
        *,
        cites: Sequence[Cited] = (),
        taken: str = "",
    ) -> Record:
        """The next version of a key, with a transaction id that no other record has."""
        return claims.next_version(
            next,
            place,
            value,
            author=self.octets,
            sign=self.key.sign,
            holder=holder,
            wall_ms=wall_ms(),
            txid=secrets.token_hex(16),
            cites=cites,
            taken=taken,
        )


def key_argument(function: F) -> F:
    """KEY and `--namespace`; the verb gets `place`."""
    namespace = click.option("--namespace", help=f"Of the key, which may have slashes then. [default: {NAMESPACE}]")
    return click.argument("key", metavar="[NAMESPACE/]KEY")(namespace(function))


def author_option(function: F) -> F:
    return click.option(
        "--key",
        "file",
        envvar="WAYPOST_HOLDER_KEY",
        type=click.Path(path_type=Path),
        help="The holder's key, PEM. [holder.pem in the configuration directory, made at first use]",
    )(function)


def deadline_option(function: F) -> F:
    return click.option(
        "--deadline",
        "deadline_s",
        type=click.FloatRange(min=0),
        default=DEADLINE_S,
        show_default=True,
        help="Seconds for which to go on while it is not known what became of it.",
    )(function)


def queue_option(function: F) -> F:
    return click.option(
        "--queue", is_flag=True, help="If no quorum is in reach, leave it with the node, which sends it once one is."
    )(function)


def place_in(key: str, namespace: str | None) -> Place:
    if namespace is not None:
        return namespace, key
    before, slash, after = key.partition("/")
    return (before, after) if slash else (NAMESPACE, key)


def author_of(file: Path | None) -> Author:
    """The holder's key; the default one is made if it is not there.  Raises ConfigError."""
    path = file or configuration_directory() / HOLDER_KEY
    if file is None and not path.exists():
        from waypost.identity.keys import make_ed25519, write_private

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new({path: write_private(make_ed25519())})
        note(f"made a holder's key: {path}.  Whoever has it may change what it holds: keep a copy in a safe place")
    author = Author(operator_key(path))
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"others may read {path}", hint=f"chmod 600 {path}")
    return author


def before(node: SyncClient, place: Place) -> tuple[Next, Committed | None]:
    """What the next version of a key needs, and what is committed now.  Raises RemoteError."""
    try:
        standing = node.record(*place)
    except RefusedError as error:
        missing = claims.contested(error) if error.code == 404 else None
        if missing is None or missing.next is None:
            raise
        return missing.next, None
    return standing.next, Committed(standing.record, standing.certificate)


def put(node: SyncClient, record: Record, deadline_s: float, *, queue: bool = False) -> Claimed:
    """What became of a record, or unknown when the deadline has passed; pending if it may `queue` at the node.

    Raises DeniedError if it may not be, and the last refusal if it was never taken.
    """
    until = time.monotonic() + deadline_s
    is_out = False  # some node may have it
    failure: WaypostError | None = None
    while True:
        pause_s = PAUSE_S
        try:
            claimed = node.outcome(*record.place, record.version, record.txid) if is_out else None
            if claimed is None or claimed.state == "unknown":
                claimed = node.claim(record, queue=queue)
            if claimed.state != "unknown":
                return claimed
            is_out = True
        except UnreachableError:
            is_out = True
        except RefusedError as error:
            if error.code not in (429, 503):
                return _refused(record, error, is_out=is_out)
            failure, pause_s = error, float(error.retry_s or pause_s)
        if time.monotonic() + pause_s > until:
            if failure is not None and not is_out:
                raise failure
            return Claimed("unknown", *record.place, record.version, record.txid)
        time.sleep(pause_s)


def _refused(record: Record, error: RefusedError, *, is_out: bool) -> Claimed:
    told = claims.contested(error)
    current = told.current if told else None
    if told is not None and (told.state == "lost" or error.code == 412):
        return Claimed("lost", *record.place, record.version, record.txid, str(error), current=current)
    if is_out:  # what was sent before may have been taken
        return Claimed("unknown", *record.place, record.version, record.txid, str(error))
    if told is None or told.state is None:
        raise error
    if current is not None:
        raise DeniedError(f"{error}: {_name(record.place)} is held by {current.record.holder}") from error
    raise DeniedError(
        str(error), hint=f"an operator may allow it: waypost peers allow {record.namespace}/ {record.author}"
    ) from error


def tell(claimed: Claimed, output: str) -> Exit:
    """Emits it; returns the exit code, and says what can be done."""
    place = (claimed.namespace, claimed.key)
    shown: dict[str, Any] = {"key": _name(place), "state": claimed.state, "version": claimed.version}
    if claimed.current is not None:
        current = claimed.current.record
        now = {"version now": current.version} if current.version != claimed.version else {}
        value = {} if place == ROSTER else {"value": current.value}
        shown |= {"holder": current.holder} | value | now
    shown["txid"] = claimed.txid
    emit(claimed, output, fields(shown))
    if output == "table":
        for line in _advice(claimed, place):
            note(line)
    return EXITS.get(claimed.state, Exit.DENIED)


def _advice(claimed: Claimed, place: Place) -> Iterator[str]:
    if claimed.state == "unknown":
        yield "nobody can say yet, and it may still be committed; ask again with"
        yield f"  waypost claim --outcome {claimed.version}/{claimed.txid} {_name(place)}"
    elif claimed.state == "pending":
        until = "" if claimed.expires_ms is None else f", until {at(claimed.expires_ms)} UTC"
        yield f"it waits at the node, and is sent once a quorum of voters is in reach{until}; ask for it with"
        yield f"  waypost claim --outcome {claimed.version}/{claimed.txid} {_name(place)}"
        yield "and take it back with --cancel, while nothing was sent"
    elif claimed.state == "lost" and claimed.current is not None:
        current = claimed.current.record
        yield f"lost: {_name(place)} is at version {current.version}, held by {current.holder}"


def _name(place: Place) -> str:
    return "/".join(place)


def shown(committed: Committed) -> dict[str, Any]:
    """A row of a table."""
    record: dict[str, Any] = to_builtins(committed.record)
    certificate = committed.certificate
    moment = at(committed.record.hlc.wall_ms)
    voters = " ".join(mark.voter for mark in certificate.marks) if certificate else ""
    gone = {"value": "(nothing)"} if committed.record.value is None else {}
    return record | gone | {"key": _name(committed.record.place), "time": moment, "voters": voters}


def logged(version: Version) -> dict[str, Any]:
    """Where the log has it: more of the row."""
    return {"entry": version.index, "logged": None if version.logged_ms is None else at(version.logged_ms)}


def at(wall_ms: int) -> str:
    """In UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wall_ms / 1000))
