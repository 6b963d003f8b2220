"""What a node serves below /log/: its log, its mirrors of others' logs, and what it does for them as a witness.

On the listeners for people and programs whoever may read the log does so, and may ask for a cosignature.  On that for
peers nodes are answered, by what says who they are there; they alone tell of heads and of evidence.

Tiles that are full are read as the files that they are, beside the node, as far as the log of the last checkpoint goes;
what is newer the node is asked for.  A tile, full or partial, never changes; a checkpoint does at any time.

Source: C2SP tlog-tiles 0.1.0, tlog-witness 1.0.0; notes on the ledger, 2 and 5.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp import web

from waypost.api.answers import put, require
from waypost.api.asking import Identify
from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.api.server import HEADERS, STALL_S
from waypost.errors import WireError
from waypost.identity import Identity
from waypost.identity.admission import Gate
from waypost.identity.policy import THE_NODE, Action, Decide, Target
from waypost.ledger.checkpoint import read_head
from waypost.ledger.questions import Reply, Serve
from waypost.ledger.tiles import ENTRIES, WIDTH, Tile, decode_bundle, encode_bundle
from waypost.runtime.nodes import NETWORK

LOG: Final = Target("log")
PREFIX: Final = "/log/"
ORIGIN: Final = "{origin:[0-9a-f]{64}}"  # SHA-256 of it
PAGES: Final = (
    "keys",
    "checkpoint",
    "tile/{tile:.+}",
    f"witness/{ORIGIN}/checkpoint",
    f"mirror/{ORIGIN}/checkpoint",
    f"mirror/{ORIGIN}/tile/{{tile:.+}}",
    "evidence",
    "evidence/{digest:[0-9a-f]{64}}",
)
SUBMIT: Final = "add-checkpoint"
OF_NODES: Final = ("heads", "evidence")
BODY_MAX: Final = 1 << 17  # octets of what is posted by others than nodes: a checkpoint and a proof
SIZES_MAX: Final = 1_024  # logs whose size is remembered
UNCHANGING: Final = "max-age=31536000, immutable"
CHANGING: Final = "no-cache"
HASH_SIZE: Final = 32
CHUNK: Final = 1 << 16  # octets that are read at once

Name = Callable[[str], Path]  # of a file in the state directory


class Tiles:
    """`place` says where a file lies; `ask` puts questions to the node.

    With the id of a `network` it is nodes of it that ask, and `gate` holds nobody back; None: it is everybody.
    """

    def __init__(
        self, ask: Ask, place: Name, identify: Identify, decide: Decide, gate: Gate, network: str | None = None
    ) -> None:
        self._ask = ask
        self._place = place
        self._identify = identify
        self._decide = decide
        self._gate = gate
        self._network = network
        self._sizes: dict[str, int] = {}  # that the logs have at least, by what stands before their paths

    def serve_in(self, app: web.Application) -> None:
        for page in PAGES:
            app.router.add_get(PREFIX + page, self.show)  # and HEAD
        for call in (SUBMIT, *(OF_NODES if self._network is not None else ())):
            app.router.add_post(PREFIX + call, self.take)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Raises Refusal."""
        node = await self._admit(request)
        path, found = request.path.removeprefix(PREFIX), request.match_info
        if "tile" in found:
            log = f"mirror/{found['origin']}/" if "origin" in found else ""
            file = await self._file(node, log, f"tile/{found['tile']}")
            if file is not None:
                return await _send(request, file)
        reply = await put(self._ask, Serve("GET", path, node=node), Reply)
        response = _response(reply)
        if reply.status == 200:
            tag = sha256(reply.body).hexdigest()[:32]
            response.headers["ETag"] = f'"{tag}"'
            stays = "tile" in found or "digest" in found
            response.headers["Cache-Control"] = UNCHANGING if stays else CHANGING
            if any(known.value in ("*", tag) for known in request.if_none_match or ()):
                return web.Response(status=304, headers=response.headers)
        return response

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Raises Refusal."""
        node = await self._admit(request)
        body = await request.read()
        if not node and len(body) > BODY_MAX:
            raise Refusal(413, f"a checkpoint and its proof have {BODY_MAX} octets at most")
        return _response(await put(self._ask, Serve("POST", request.path.removeprefix(PREFIX), body, node), Reply))

    async def _admit(self, request: web.Request) -> str:
        """The node that asks, "" for anybody else.  Raises Refusal."""
        who = await self._identify(request)
        if self._network is None:
            self._require_time(who, request)
            if require(self._decide, who, Action.READ, LOG) is not None:
                raise Refusal(403, f"a log is read as a whole, and {who.subject} may read it in part only")
            return ""
        require(self._decide, who, Action.PEER, THE_NODE)
        if request.headers.get(NETWORK) != self._network:
            raise Refusal(403, f"this node is of the network {self._network[:16]}…, and the request is not")
        return who.name

    def _require_time(self, who: Identity, request: web.Request) -> None:
        retry_s = self._gate.take(who, request.remote or "", asyncio.get_running_loop().time())
        if retry_s:
            raise Refusal(429, "too many requests: come back later", retry_s=retry_s)

    async def _file(self, node: str, log: str, path: str) -> "_File | None":
        """Of a tile, if the full one is part of the log before whose paths `log` stands."""
        try:
            tile = Tile.decode(path)
        except WireError:
            return None
        if not (tile.full.is_within(self._sizes.get(log, 0)) or await self._has_grown(node, log, tile)):
            return None
        place = self._place(f"tiles/{log or 'log/'}{tile.full.path}")
        return await asyncio.to_thread(_open if tile.width == WIDTH else _cut, place, tile)

    async def _has_grown(self, node: str, log: str, tile: Tile) -> bool:
        """Whether the log has the full tile by now."""
        reply = await put(self._ask, Serve("GET", f"{log}checkpoint", node=node), Reply)
        if reply.status != 200:
            return False
        size = read_head(reply.body).size
        if len(self._sizes) >= SIZES_MAX and log not in self._sizes:
            self._sizes.clear()
        self._sizes[log] = max(size, self._sizes.get(log, 0))
        return tile.full.is_within(size)


@dataclass(frozen=True, slots=True)
class _File:
    """`start` is what it begins with; `rest` is open where it has more, and whoever has it closes it."""

    size: int
    start: bytes
    rest: BinaryIO | None


def _open(path: Path, _: Tile) -> _File | None:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return None
    size, start = os.fstat(stream.fileno()).st_size, stream.read(CHUNK)
    if len(start) < size:
        return _File(size, start, stream)
    stream.close()
    return _File(size, start, None)


def _cut(path: Path, tile: Tile) -> _File | None:
    """The partial tile that was there before the full one."""
    try:
        whole = path.read_bytes()
        if tile.level == ENTRIES:
            part = encode_bundle(decode_bundle(whole, WIDTH)[: tile.width])
        else:
            part = whole[: HASH_SIZE * tile.width]
    except (FileNotFoundError, WireError):  # what is damaged the node finds out itself
        return None
    rest = BytesIO(part)
    return _File(len(part), rest.read(CHUNK), rest if len(part) > CHUNK else None)


async def _send(request: web.Request, file: _File) -> web.StreamResponse:
    """Piece by piece: the largest bundles have 16 MiB, and nobody else waits for one."""
    headers = {"Content-Type": "application/octet-stream", "Cache-Control": UNCHANGING}
    if file.rest is None:
        return web.Response(body=file.start, headers=headers)
    response, piece = web.StreamResponse(headers=HEADERS | headers), file.start
    response.content_length = file.size
    try:
        await response.prepare(request)
        while piece and request.method != "HEAD":
            async with asyncio.timeout(STALL_S):
                await response.write(piece)
            piece = await asyncio.to_thread(file.rest.read, CHUNK)
        await response.write_eof()
    except (OSError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()  # or it would wait for what does not come
    finally:
        file.rest.close()
    return response


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.media})
