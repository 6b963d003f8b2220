"""A backup as a file: a tar archive that any tar reads, and no octet of which changes unnoticed.

    waypost.db       the database, whole: it has no write-ahead log beside it
    config.toml policy.toml  where the state directory has them
    keys/...         each file of keys/, unless they were left out
    tiles/...        what the node's log and its copies of others have at the moment of the database
    manifest.json    Manifest
    SHA256SUMS       of all the others, as `sha256sum -c` reads it

Names, sizes and hashes are in the manifest, its hash is in SHA256SUMS, and for whatever else is in the file there is
one spelling: each header is the one that write() makes of a name and a size, and padding is zeros.

Raises ProofError for a file that is damaged or is no backup, OSError for the disk.
"""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from waypost.errors import ConfigError, ProofError, WaypostError
from waypost.storage.files import NAME, Sync, sync_directory

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
BLOCK: Final = tarfile.BLOCKSIZE
PIECE: Final = 1 << 20  # octets read at once
SYNCED: Final = 4 << 20  # octets after which they are brought to the disk: no other commit waits for more
FILES_MAX: Final = 100_000  # a log has two for each 256 entries
SMALL_MAX: Final = 32 << 20  # octets of the manifest, or the sums

Taker = Callable[[bytes], object]


class Part(Struct, frozen=True):
    """A file in the backup; `sha256` in hexadecimal."""

    name: str
    size: int
    sha256: str


class Manifest(Struct, frozen=True):
    """`schema` is the database's version, `network` the id of its mesh, `feed` that of its change feed in hexadecimal;
    None if there was none yet.  `seq` is the last change."""

    format: int
    waypost: str
    made_ms: int
    schema: int
    network: str | None
    feed: str | None
    seq: int
    keys: bool
    files: tuple[Part, ...]

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


@dataclass(frozen=True, slots=True)
class Source:
    """What goes into a backup under `name`."""

    name: str
    open: Callable[[], BinaryIO]
    size: int


def write(
    target: Path, sources: Iterable[Source], finish: Callable[[tuple[Part, ...]], Manifest], sync: Sync
) -> Manifest:
    """Durably, 0600, named once it is whole; `finish` makes the manifest.  ConfigError for a name that is taken."""
    require_new(target)
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(fd, "wb", buffering=0) as stream:
            unsynced = 0

            def put(data: bytes) -> None:
                nonlocal unsynced
                rest = memoryview(data)
                while rest:
                    rest = rest[stream.write(rest) :]
                unsynced += len(data)
                if unsynced >= SYNCED:
                    sync(fd)
                    unsynced = 0

            parts = []
            for source in sources:
                with source.open() as content:
                    parts.append(_put(put, source.name, source.size, _pieces(content, source.size)))
            manifest = finish(tuple(parts))
            encoded = manifest.encode()
            last = _put(put, MANIFEST, len(encoded), [encoded])
            sums = _sums((*parts, last))
            _put(put, SUMS, len(sums), [sums])
            put(bytes(2 * BLOCK))
            sync(fd)
        require_new(target)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent, sync)
    return manifest


def require_new(target: Path) -> None:
    """Raises ConfigError for a name that is taken."""
    if target.exists():
        raise ConfigError(f"{target} is there already", hint="name a file that is not, or a directory")


def unpack(file: Path, place: Callable[[str, int], Taker]) -> Manifest:
    """Hand each file's octets on as they are read; nothing of it is to be believed before this returns.

    `place` gets a name and a size, and says where the octets go.
    """
    with _damaged(file), open(file, "rb") as stream:
        parts: list[Part] = []
        names: set[str] = set()
        small: dict[str, bytes] = {}
        while SUMS not in small:
            name, size = _header(_exactly(stream, BLOCK))
            if len(names) > FILES_MAX or name in names:
                raise ProofError("it has too many files")
            names.add(name)
            kept = bytearray()
            is_small = name in (MANIFEST, SUMS)
            if is_small and size > SMALL_MAX:
                raise ProofError(f"{name} is too large")
            take = kept.extend if is_small else place(name, size)
            digest = sha256()
            for piece in _pieces(stream, size):
                digest.update(piece)
                take(piece)
            if any(_exactly(stream, -size % BLOCK)):
                raise ProofError("there is something between its files")
            if is_small:
                small[name] = bytes(kept)
            if name != SUMS:
                parts.append(Part(name, size, digest.hexdigest()))
        if stream.read(2 * BLOCK + 1) != bytes(2 * BLOCK):
            raise ProofError("it does not end where it should")
        return _judged(parts, small)


def _judged(parts: list[Part], small: dict[str, bytes]) -> Manifest:
    if MANIFEST not in small or parts[-1].name != MANIFEST or small[SUMS] != _sums(parts):
        raise ProofError(f"its files are not those of {SUMS}")
    manifest = msgspec.json.decode(small[MANIFEST], type=Manifest)
    if manifest.format > FORMAT:
        raise ConfigError(
            f"the backup has format {manifest.format}, and this Waypost knows {FORMAT}", hint="use a newer Waypost"
        )
    if manifest.files != tuple(parts[:-1]):
        raise ProofError("its files are not those of its manifest")
    return manifest


def _put(put: Taker, name: str, size: int, pieces: Iterable[bytes]) -> Part:
    put(_head(name, size))
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
        put(piece)
    put(bytes(-size % BLOCK))
    return Part(name, size, digest.hexdigest())


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _header(block: bytes) -> tuple[str, int]:
    """A name that stays inside the directory, and a size."""
    info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    if not NAME.fullmatch(info.name) or info.size < 0 or _head(info.name, info.size) != block:
        raise ProofError("the header of a file in it is not as it was written")
    return info.name, info.size


def _sums(parts: Iterable[Part]) -> bytes:
    return "".join(f"{part.sha256}  {part.name}\n" for part in parts).encode()


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, PIECE))
        if not piece:
            raise ProofError("it ends too early")
        size -= len(piece)
        yield piece


def _exactly(stream: BinaryIO, size: int) -> bytes:
    return b"".join(_pieces(stream, size))


@contextmanager
def _damaged(file: Path) -> Iterator[None]:
    try:
        yield
    except ProofError as error:
        raise ProofError(f"{file} is damaged, or no backup: {error}", hint="use another backup") from error
    except WaypostError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(f"{file} is not there") from error
    except (tarfile.TarError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ProofError(f"{file} is damaged, or no backup", hint="use another backup") from error
