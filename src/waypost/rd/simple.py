"""Simple registration: the directory fetches the links from the device that wants to be registered.

The device sends an empty POST; the directory GETs its /.well-known/core, registers what it finds, and only
then answers.  The document is kept while it is fresh, so a device with one buffer, which cannot serve
while it waits, asks again and is answered at once.

What a stranger may make us send: the sender of a POST can be forged, so until it has shown to be at its
address it is sent one GET of FETCH_SIZE octets, once, charged to the three times of its POST
(coap.peer.fetch).  An answer brings back our random token, which went to that address alone: that shows
as much as an Echo value, and what follows (blocks, their repetitions) is sent as to anybody.  So
devices that know nothing of Echo register with one exchange.  No answer in time is 4.01 with an Echo value:
who brings it back is fetched from with repetitions.

That a host answers does not show that it meant to register: who forges the address of a CoAP server can
have its links listed.  Where strangers reach the directory but not the devices, `freshness = "echo"` asks
for an Echo value before anything is fetched (RFC 9176, 5.1: SHOULD verify), or `simple = "off"` turns
it off.

Source: RFC 9176, 5.1; RFC 9175, 2.4; RFC 7252, 5.6.1 (freshness).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.coap.request import Response
from waypost.coap.transfer import Call, Failure
from waypost.engine import Ask, Endpoint
from waypost.identity.admission import prefix_of
from waypost.rd.questions import Busy, Fetch, Probe, Reason, Refused, Register

CALL: Final = Call(Code.GET, (".well-known", "core"), accept=LINK_FORMAT)

FETCHES_MAX: Final = 256  # under way; half of them for those who have not shown to be at their address
FETCHES_PER_SOURCE_MAX: Final = 32
WAITING_MAX: Final = 8  # registrations that wait for one fetch
BUSY_RETRY: Final = 5  # seconds
FRESH_DEFAULT: Final = 60  # seconds, where the document does not say (RFC 7252, 5.10.5)
FRESH_MAX: Final = 3_600  # seconds
CACHED_MAX: Final = 1_024  # documents
CACHED_OCTETS_MAX: Final = 4 << 20

Ready = tuple[int, Register | Refused | Busy]  # whose question, and what has become of it


@dataclass(slots=True)
class _Fetching:
    peer: Endpoint
    source: str
    waiting: list[tuple[int, Probe]] = field(default_factory=list)


class Simple:
    def __init__(self, ids: Iterator[int], octets_max: int) -> None:
        self._ids = ids
        self._octets_max = octets_max
        self._cached: dict[Endpoint, tuple[float, bytes]] = {}  # until when; oldest first
        self._octets = 0
        self._fetching: dict[int, _Fetching] = {}
        self._by_peer: dict[Endpoint, _Fetching] = {}
        self._of_source: dict[str, int] = {}
        self._effects: list[Ask] = []

    def probe(self, id: int, question: Probe, now: float) -> Register | Busy | None:
        """The registration with its links, if they are at hand; None: it follows by answered()."""
        peer = question.path.peer
        until, links = self._cached.get(peer, (now, b""))
        if until > now:
            return replace(question.register, links=links)
        fetching = self._by_peer.get(peer)
        if fetching is None:
            source = prefix_of(peer.host)
            total = FETCHES_MAX if question.verified else FETCHES_MAX // 2
            if len(self._fetching) >= total or self._of_source.get(source, 0) >= FETCHES_PER_SOURCE_MAX:
                return Busy(BUSY_RETRY, "too many simple registrations are under way: come back later")
            fetching = self._begin(id, question, source)
        elif len(fetching.waiting) >= WAITING_MAX:
            return Busy(BUSY_RETRY, "your links are being fetched: come back later")
        fetching.waiting.append((id, question))
        return None

    def waits_for(self, id: int) -> bool:
        return id in self._fetching

    def answered(self, id: int, result: object, now: float) -> list[Ready]:
        """What becomes of those who waited for the fetch `id`."""
        fetching = self._fetching.pop(id)
        del self._by_peer[fetching.peer]
        left = self._of_source.pop(fetching.source) - 1
        if left:
            self._of_source[fetching.source] = left
        assert isinstance(result, Response | Failure), f"{result!r} is no answer to a fetch"
        links = judged(result)
        if isinstance(links, bytes):
            assert isinstance(result, Response)
            self._keep(fetching.peer, links, now, result.max_age)
        ready: list[Ready] = []
        for waiting_id, question in fetching.waiting:
            if isinstance(links, bytes):
                ready.append((waiting_id, replace(question.register, links=links)))
            elif result is Failure.TIMEOUT and not question.verified:
                ready.append((waiting_id, Refused(Reason.UNVERIFIED, "")))
            else:
                ready.append((waiting_id, links))
        return ready

    def take_effects(self) -> list[Ask]:
        effects, self._effects = self._effects, []
        return effects

    def gauges(self) -> dict[str, int]:
        return {"fetches_under_way": len(self._fetching), "fetched_documents": len(self._cached)}

    def check(self) -> None:
        assert len(self._fetching) == len(self._by_peer) == sum(self._of_source.values()) <= FETCHES_MAX
        assert self._octets == sum(len(links) for _, links in self._cached.values()) <= CACHED_OCTETS_MAX
        assert len(self._cached) <= CACHED_MAX

    def _begin(self, id: int, question: Probe, source: str) -> _Fetching:
        number = next(self._ids)
        peer = question.path.peer
        fetching = self._fetching[number] = self._by_peer[peer] = _Fetching(peer, source)
        self._of_source[source] = self._of_source.get(source, 0) + 1
        self._effects.append(Ask(number, Fetch(question.path, CALL, id, self._octets_max)))
        return fetching

    def _keep(self, peer: Endpoint, links: bytes, now: float, max_age: int | None) -> None:
        self._drop(peer)
        fresh_s = min(FRESH_DEFAULT if max_age is None else max_age, FRESH_MAX)
        if fresh_s and len(links) <= CACHED_OCTETS_MAX:
            self._cached[peer] = (now + fresh_s, links)
            self._octets += len(links)
        while len(self._cached) > CACHED_MAX or self._octets > CACHED_OCTETS_MAX:
            self._drop(next(iter(self._cached)))

    def _drop(self, peer: Endpoint) -> None:
        kept = self._cached.pop(peer, None)
        if kept is not None:
            self._octets -= len(kept[1])


def judged(result: Response | Failure) -> bytes | Refused | Busy:
    """The links, or why there are none."""
    match result:
        case Failure.BUSY:
            return Busy(BUSY_RETRY, "the directory is asking too many others: come back later")
        case Failure.TIMEOUT:
            return Refused(Reason.UNREACHABLE, "you did not answer GET /.well-known/core in time")
        case Failure.TOO_LARGE:
            return Refused(Reason.BAD_REQUEST, "your /.well-known/core is too large")
        case Failure():
            return Refused(Reason.UNUSABLE, f"GET /.well-known/core at your address: {result.value}")
        case Response(code=Code.CONTENT, content_format=int(number)) if number != LINK_FORMAT:
            return Refused(Reason.UNUSABLE, f"your /.well-known/core has Content-Format {number}, not 40")
        case Response(code=Code.CONTENT, payload=payload):
            return payload
        case Response(code=code):
            return Refused(Reason.UNUSABLE, f"your /.well-known/core answered {code >> 5}.{code & 31:02d}")
