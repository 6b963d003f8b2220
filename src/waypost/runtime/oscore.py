"""OSCORE around an engine: what comes protected goes in plain, and the answers to it leave protected.

A request that verifies reaches the engine as an ordinary one, on a path whose `who` is the context's and whose
`protection` is what its answers are bound to.  The engine keeps that path as long as it owes answers on it, so nothing
is kept here for a request.  Messages that nothing protects pass by: acknowledgements and resets always do, and are led
to the protected exchange whose message they name.

A nonce is used once, or secrecy is lost.  So an answer takes its request's nonce once at most, all else takes sequence
numbers; a request that comes again is answered with the very octets it was answered with; and nothing leaves until
its block of sequence numbers is durable.

`refused` counts by reason what did not verify; its answers are not protected, and never longer than what came three
times.  Nothing a peer sends raises, and nothing is kept for who has no key.

Outer blocks (4.1.3.4.2) are not put together, and requests to groups not read.

Source: RFC 8613, 4 to 8, appendix B.1; Echo, RFC 9175, 2.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2s
from hmac import compare_digest
from random import Random
from typing import Final, TypeVar

from waypost.coap.exchange import Duplicates
from waypost.coap.message import Message, decode
from waypost.coap.numbers import AMPLIFICATION_MAX, DUPLICATES_MAX, Code, Option, Type
from waypost.coap.oscore import Head, answer_head, carries, partial_iv, request_head, unwrap, wrap
from waypost.coap.peer import Admit, admit_all
from waypost.codec import u64
from waypost.drip.parcel import Said
from waypost.engine import Apply, Commit, Effect, Endpoint, Path, Put, Rows, Send
from waypost.errors import ConfigError, StoreError, WireError
from waypost.identity.oscore import SEQUENCE_FLOOR, SEQUENCE_ROW, SecurityContext
from waypost.record import Change, Kind
from waypost.runtime.context import Context
from waypost.runtime.host import AskableEngine

CONTEXTS_MAX: Final = 100_000
HELD_MAX: Final = 1_024  # messages that wait for the disk to reserve sequence numbers
OURS_MAX: Final = 16_384  # messages of ours whose acknowledgement or reset would be recognised
ASKED_MAX: Final = 1_024  # requests of ours whose answer may come
ECHO_SIZE: Final = 8  # octets
OVERHEAD: Final = 32  # octets that protecting adds to an answer at most: two options, the code, the tag

ROOM: Final = "oscore"
META: Final = "meta"

_CARRIERS: Final = frozenset(map(int, (Code.POST, Code.FETCH, Code.CHANGED, Code.CONTENT)))  # RFC 8613, 4.2
_CON, _NON, _ACK = int(Type.CON), int(Type.NON), int(Type.ACK)

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Protection:
    """What the answers to one protected request are bound to; `peer` is where it came from, as its driver has it."""

    context: Context
    peer: Endpoint
    number: int  # the request's
    aad: bytes
    nonce: bytes | None  # the request's, until an answer has used it
    code: int  # of the outer answers
    key: tuple[Endpoint, int] | None = None  # by which its answer is found if it comes again; None once answered


class Refusal(Enum):
    """Why a request did not verify: a word for the metrics, and its answer's code and words (RFC 8613, 7.4 and 8.2)."""

    MALFORMED = ("malformed", Code.BAD_OPTION, b"Failed to decode COSE")
    CONTEXT = ("context", Code.UNAUTHORIZED, b"Security context not found")
    REPLAY = ("replay", Code.UNAUTHORIZED, b"Replay detected")
    DECRYPTION = ("decryption", Code.BAD_REQUEST, b"Decryption failed")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of ours, under way."""

    path: Path
    partial_iv: bytes
    plain: bytes
    protected: bytes


class Oscore:
    """`engine`, and what protects its messages.  Raises ConfigError for contexts that cannot stand together.

    `admit` is asked before what did not verify is answered; what did is the engine's to admit.
    """

    def __init__(
        self, engine: AskableEngine, contexts: Sequence[SecurityContext], rng: Random, admit: Admit = admit_all
    ) -> None:
        self._engine = engine
        self._admit = admit
        self._contexts = [Context(settings, number) for number, settings in enumerate(contexts, 1)]
        self._by_id: dict[tuple[bytes | None, bytes | None], Context] = {}
        self._by_row: dict[bytes, Context] = {}
        for context in self._contexts:
            self._add(context)
        self._secret = rng.randbytes(32)  # of Echo values
        self._replies = Duplicates(DUPLICATES_MAX)  # peer, digest of a protected request -> its answer, nothing yet
        self._ours: dict[tuple[Endpoint, int], Path] = {}  # peer, message id -> its path; oldest first
        self._asked: dict[tuple[Endpoint, bytes], _Asked] = {}  # peer, token; oldest first
        self._held: list[Send] = []
        self._effects: list[Effect] = []
        self._now = 0.0
        self.unprotected = 0
        self.refused: Counter[str] = Counter()
        self.unsent = 0

    # the engine's calls

    def restore(self, rows: Rows, now: float) -> None:
        floor = rows.get(META, SEQUENCE_FLOOR)
        for row, context in self._by_row.items():
            used = rows.get(META, row) or floor
            if used is not None and len(used) != 8:
                raise StoreError(f"the sequence number of the OSCORE context {context.who.name!r} cannot be read")
            context.restore(None if used is None else int.from_bytes(used, "big"))
        self._engine.restore(rows, now)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self._now = now
        if len(data) > 4:
            if data[1] in _CARRIERS and carries(data, Option.OSCORE):
                self._unprotect(data, path, now)
                return
        elif len(data) == 4 and data[0] & 0x20:  # an acknowledgement or a reset, which nothing protects
            path = self._ours.get((path.peer, data[2] << 8 | data[3]), path)
        self._engine.receive_datagram(data, path, now)

    def apply(self, change: Change, now: float) -> None:
        self._now = now
        if change.room != ROOM:
            self._engine.apply(change, now)
            return
        assert change.value is not None
        self._by_row[change.key].durable = int.from_bytes(change.value, "big")
        held, self._held = self._held, []
        self._effects += list(self._protect_all(held))

    def take_effects(self) -> list[Effect]:
        protected = list(self._protect_all(self._engine.take_effects()))
        effects, self._effects = self._effects, []
        return effects + protected

    def hear(self, node: str, messages: Iterable[Said], now: float) -> None:
        self._now = now
        self._engine.hear(node, messages, now)

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        self._now = now
        self._engine.reached(node, is_reached, now)

    def ask(self, question: object, now: float) -> int:
        self._now = now
        return self._engine.ask(question, now)

    def answered(self, id: int, result: object, now: float) -> None:
        self._now = now
        self._engine.answered(id, result, now)

    def closed(self, path: Path, now: float) -> None:
        self._now = now
        self._engine.closed(path, now)

    def handle_timer(self, now: float) -> None:
        self._now = now
        self._engine.handle_timer(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._engine.handle_clock(now, wall_ms)

    def next_timer(self) -> float | None:
        return self._engine.next_timer()

    def check(self) -> None:
        self._engine.check()
        assert all(context.next <= context.durable <= context.reserved for context in self._contexts)
        assert len(self._held) <= HELD_MAX
        assert len(self._ours) <= OURS_MAX
        assert len(self._asked) <= ASKED_MAX

    # what comes

    def _unprotect(self, data: bytes, path: Path, now: float) -> None:
        try:
            message = decode(data)
        except WireError:
            self._engine.receive_datagram(data, path, now)  # it counts and rejects what is none
            return
        if message.code >= 0x40:
            self._unprotect_answer(message, data, path, now)
        elif message.type > _NON:
            self._engine.receive_datagram(data, path, now)  # likewise
        elif path.group:
            self.refused["group"] += 1
        else:
            self._unprotect_request(message, data, path, now)

    def _unprotect_request(self, message: Message, data: bytes, path: Path, now: float) -> None:
        key = None
        if path.message_max is None:
            key = (path.peer, int.from_bytes(blake2s(data, digest_size=16).digest(), "big"))
            reply = self._replies.get(key, now)
            if reply is not None:  # RFC 7252, 4.5: what comes again is told from a replay by where it comes from
                if reply:
                    self._effects.append(Send(path, reply))
                return
        verified = self._verify(message, path.peer)
        if isinstance(verified, Refusal):
            self._refuse(verified, message, data, path)
            return
        inner, protection = verified
        context = protection.context
        protected = self._path(path, protection)
        if context.wants_more:
            self._reserve(context)  # before anything that this brings about is written or said
        if context.open:
            context.strike_out(protection.number)
        else:
            echo = self._echo(path.peer)
            if not _brings(inner, echo):
                self.refused["unproven"] += 1
                if not self._admit(path, now):
                    self._ask_back(message, protected, protection, echo)
                return
            context.open_at(protection.number)
            protected = replace(protected, validated=True)  # what was sent to its address came back
        if key is not None:
            protection.key = key
            self._replies.expire(now)
            self._replies.put(key, b"", now)
        self.unprotected += 1
        self._engine.receive_datagram(inner.encode(), protected, now)

    def _verify(self, message: Message, peer: Endpoint) -> tuple[Message, Protection] | Refusal:
        """RFC 8613, 8.2, step by step; the window is left as it is."""
        try:
            head = request_head(message)
        except WireError:
            return Refusal.MALFORMED
        context = self._by_id.get((head.kid, head.kid_context))
        if context is None or head.kid is None:
            return Refusal.CONTEXT
        number = int.from_bytes(head.partial_iv, "big")
        if context.open and not context.unused(number):
            return Refusal.REPLAY
        aad, nonce = context.aad(head.kid, head.partial_iv), context.nonce(head.partial_iv, head.kid)
        try:
            inner = unwrap(message, context.decrypt(message.payload, aad, nonce))
        except WireError:
            return Refusal.DECRYPTION
        if not 0 < inner.code < 0x20:
            return Refusal.DECRYPTION
        code = Code.CONTENT if message.code == Code.FETCH else Code.CHANGED  # 4.2
        return inner, Protection(context, peer, number, aad, nonce, code)

    def _ask_back(self, request: Message, path: Path, protection: Protection, echo: bytes) -> None:
        """It may be older than our start: let its sender show that it is not (RFC 8613, B.1.2).  Nothing is kept."""
        protection.nonce = None  # the same request may have been answered before the start
        type = _ACK if request.type == _CON else _NON
        answer = Message(type, Code.UNAUTHORIZED, request.id, request.token, [(Option.ECHO, echo)])
        self._effects += list(self._protect_all([Send(path, answer.encode())]))

    def _unprotect_answer(self, message: Message, data: bytes, path: Path, now: float) -> None:
        """RFC 8613, 8.4: what does not verify is dropped."""
        asked = self._asked.get((path.peer, message.token))
        if asked is None:
            self._engine.receive_datagram(data, path, now)  # nobody waits for it
            return
        assert isinstance(asked.path.protection, Protection)
        context = asked.path.protection.context
        try:
            head = answer_head(message)
            aad = context.aad(context.sender_id, asked.partial_iv)
            if head.partial_iv:
                nonce = context.nonce(head.partial_iv, context.recipient_id)
            else:
                nonce = context.nonce(asked.partial_iv, context.sender_id)
            inner = unwrap(message, context.decrypt(message.payload, aad, nonce))
            if inner.code < 0x40:
                raise WireError("an answer to a request is none")
        except WireError:
            self.refused["answer"] += 1
            return
        del self._asked[path.peer, message.token]
        self.unprotected += 1
        self._engine.receive_datagram(inner.encode(), asked.path, now)

    def _refuse(self, refusal: Refusal, message: Message, data: bytes, path: Path) -> None:
        """In plain, and not to be kept by a proxy (RFC 8613, 8.2); a NON is refused in silence, as aiocoap does."""
        reason, code, words = refusal.value
        self.refused[reason] += 1
        if (message.type == _NON and path.message_max is None) or self._admit(path, self._now):
            return
        type = _ACK if message.type == _CON else _NON
        answer = Message(type, code, message.id, message.token, [(Option.MAX_AGE, b"")], words)
        if len(answer.encode()) > AMPLIFICATION_MAX * len(data):
            answer.payload = b""
        self._effects.append(Send(path, answer.encode()))

    def _path(self, path: Path, protection: Protection) -> Path:
        context = protection.context
        session = -(path.peer.session << 20 | context.number)  # apart from what is plain, and from other contexts
        size = path.message_max
        return replace(
            path,
            peer=path.peer._replace(session=session),
            who=context.who,
            message_max=size if size is None else max(1, size - OVERHEAD),
            protection=protection,
        )

    def _echo(self, peer: Endpoint) -> bytes:
        """What a peer at that address must bring back once after a restart (RFC 8613, B.1.2)."""
        text = f"{peer.host} {peer.port} {peer.scope} {peer.session}"
        return blake2s(text.encode(), key=self._secret, digest_size=ECHO_SIZE).digest()

    # what goes

    def _protect_all(self, effects: Iterable[Effect]) -> Iterator[Effect]:
        for effect in effects:
            if isinstance(effect, Send) and effect.path.protection is not None:
                message = self._protect(effect)
                if message is not None:
                    yield message
                continue
            if isinstance(effect, Commit) and effect.then:
                effect = replace(effect, then=tuple(self._protect_all(effect.then)))
            elif self._ours and isinstance(effect, Send) and not effect.data[0] & 0x20:
                self._ours.pop((effect.path.peer, effect.data[2] << 8 | effect.data[3]), None)  # its id is used anew
            yield effect

    def _protect(self, send: Send) -> Send | None:
        """What to send instead; None if it waits for a sequence number, or cannot be sent."""
        protection = send.path.protection
        assert isinstance(protection, Protection)
        data, code = send.data, send.data[1]
        if code == Code.EMPTY:
            self._keep(protection, data, last=False)
            return send
        context = protection.context
        if not context.ready:
            self._hold(send)
            return None
        if code < 0x40:
            return self._ask(send, protection)
        if protection.nonce is None:
            head = Head(partial_iv(self._take(context)))
            nonce = context.nonce(head.partial_iv, context.sender_id)
        else:
            head = Head()
            nonce, protection.nonce = protection.nonce, None
        message, plaintext = wrap(data, protection.code, head)
        message.payload = context.encrypt(plaintext, protection.aad, nonce)
        protected = message.encode()
        self._keep(protection, protected, last=True)
        if message.type == _CON or (message.type == _NON and message.options[0][0] == Option.OBSERVE):
            _put(self._ours, (protection.peer, message.id), send.path, OURS_MAX)
        return Send(send.path, protected)

    def _ask(self, send: Send, protection: Protection) -> Send:
        """A request of ours (RFC 8613, 8.1); the same octets when it is sent again."""
        context, data = protection.context, send.data
        key = (protection.peer, data[4 : 4 + (data[0] & 15)])
        asked = self._asked.get(key)
        if asked is None or asked.plain != data:
            head = Head(partial_iv(self._take(context)), context.sender_id, context.id_context)
            message, plaintext = wrap(data, Code.POST, head)
            aad = context.aad(context.sender_id, head.partial_iv)
            message.payload = context.encrypt(plaintext, aad, context.nonce(head.partial_iv, context.sender_id))
            asked = _Asked(send.path, head.partial_iv, data, message.encode())
            _put(self._asked, key, asked, ASKED_MAX)
            _put(self._ours, (protection.peer, message.id), send.path, OURS_MAX)
        return Send(send.path, asked.protected)

    def _keep(self, protection: Protection, data: bytes, *, last: bool) -> None:
        """What the request is answered with if it comes again."""
        if protection.key is not None:
            self._replies.put(protection.key, data, self._now)
            if last:
                protection.key = None

    def _hold(self, send: Send) -> None:
        """Until the disk has reserved what it needs, if there is anything left to reserve."""
        protection = send.path.protection
        assert isinstance(protection, Protection)
        if protection.context.reserving and len(self._held) < HELD_MAX:
            self._held.append(send)
        else:
            self.unsent += 1

    def _take(self, context: Context) -> int:
        number = context.take()
        if context.wants_more:
            self._reserve(context)
        return number

    def _reserve(self, context: Context) -> None:
        row = SEQUENCE_ROW + context.fingerprint
        limit = u64(context.reserve())
        durable = Change(0, Kind.PUT, ROOM, row, 0, limit, 0, cause=b"")
        self._effects.append(Commit(puts=(Put(META, row, limit),), then=(Apply(durable),)))

    def _add(self, context: Context) -> None:
        name = context.who.name
        if len(self._by_row) >= CONTEXTS_MAX:
            raise ConfigError(f"there are at most {CONTEXTS_MAX} OSCORE contexts")
        row, key = SEQUENCE_ROW + context.fingerprint, (context.recipient_id, context.id_context)
        if row in self._by_row:
            raise ConfigError(
                f"the OSCORE contexts {self._by_row[row].who.name!r} and {name!r} share a secret and the sender id",
                hint="give each peer a secret of its own, or a sender id, or an id context",
            )
        if key in self._by_id:
            raise ConfigError(
                f"the OSCORE contexts {self._by_id[key].who.name!r} and {name!r} have the same recipient id",
                hint="give each peer an id of its own, or an id context",
            )
        self._by_row[row] = self._by_id[key] = context


def _brings(message: Message, echo: bytes) -> bool:
    return any(number == Option.ECHO and compare_digest(value, echo) for number, value in message.options)


def _put(kept: dict[K, V], key: K, value: V, limit: int) -> None:
    """Put at the end; the oldest goes past `limit`."""
    kept.pop(key, None)
    if len(kept) >= limit:
        del kept[next(iter(kept))]
    kept[key] = value
