"""Telling observers: when, in which kind of message, and until when.

While a confirmable notification waits for its acknowledgement the news wait too: what is told next is
the newest state, not every state.  However many observe one name, a bounded number of them is told in
one go.

Source: RFC 7641, 3 and 4.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from waypost.coap import reply
from waypost.coap.block import Snapshots, snapshot_key
from waypost.coap.numbers import AMPLIFICATION_MAX, Code, Type
from waypost.coap.observe import Key, Observation, Observations
from waypost.coap.outbox import Outbox
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path

TOLD_MAX: Final = 64  # observers told in one call

Judge = Callable[[Path, Hashable], Response | None]  # who observes, and what; an error, if they may no longer


class Observing:
    def __init__(self, outbox: Outbox, snapshots: Snapshots) -> None:
        self._outbox = outbox
        self._snapshots = snapshots
        self._untold: dict[Key, None] = {}  # observations with news that need not wait
        self._news: dict[Hashable, tuple[Response, Iterator[Observation]]] = {}  # by name, and who is still to get it
        self._tell_at: float | None = None
        self.observations = Observations()
        self.notifications = 0

    def begin(
        self, path: Path, size: int, head: reply.Head, request: Request, response: Response, now: float
    ) -> bytes | None:
        """The first notification, if the client asks to observe and may; else None, and its observation ends.

        `size` is that of the request in octets.
        """
        if request.observe != 0 or response.code != Code.CONTENT or response.observe is None:
            self.observations.remove((path.peer, head.token))  # RFC 7641, 3.6 and 4.1
            return None
        head.observe = 0
        limit = self._outbox.limit(path, AMPLIFICATION_MAX * size // 2, now)
        data = self.fitted(path, head, request, response, limit, now)
        if data is not None:
            again = Request(0, request.method, request.path, request.query, accept=request.accept)
            credit = AMPLIFICATION_MAX * size - len(data)
            observation = Observation(path, head.token, again, response.observe, size, credit, confirmed_at=now)
            observation.stranger = not self._outbox.validated(path, now)
            if self.observations.add(observation):
                return data
        head.observe = None
        return None

    def changed(self, name: Hashable, news: Response, now: float) -> None:
        self._news[name] = news, iter(self.observations.of(name))
        self.handle_timer(now)

    def review(self, judge: Judge, now: float) -> None:
        """An observation that `judge` has an error for is told that and nothing else, and ends."""
        for observation in self.observations:
            error = judge(observation.path, observation.name)
            if error is not None:
                self._inform(observation, error)
        self.handle_timer(now)

    def handle_timer(self, now: float) -> None:
        """Tell those who are to be told, a bounded number of them."""
        self._hand_out()
        for _ in range(min(TOLD_MAX, len(self._untold))):
            key = next(iter(self._untold))
            del self._untold[key]
            self._tell(self.observations.get(key), now)
        self._tell_at = now if self._untold or self._news else None

    def next_timer(self) -> float | None:
        return self._tell_at

    def on_acknowledged(self, owner: Hashable, now: float) -> None:
        observation = self.observations.get(owner) if isinstance(owner, tuple) else None
        if observation is not None:
            observation.waiting = False
            self.observations.validate(observation)
            observation.credit = AMPLIFICATION_MAX * observation.size
            self._tell(observation, now)

    def on_reset(self, owner: Hashable, peer: Endpoint, message_id: int) -> None:
        if isinstance(owner, tuple):
            self.observations.remove(owner)
        else:
            self.observations.reset(peer, message_id)

    def on_given_up(self, owner: Hashable) -> None:
        if isinstance(owner, tuple):
            self.observations.remove_source(owner[0])

    def _inform(self, observation: Observation, news: Response) -> None:
        if observation.news is not None and observation.news.code != Code.CONTENT:
            return  # an error is the last that it hears
        observation.news = news
        if not observation.waiting:
            self._untold[observation.key] = None

    def _hand_out(self) -> None:
        """The news, to a bounded number of observers: thousands may observe one name."""
        left = TOLD_MAX
        while self._news and left:
            name = next(iter(self._news))
            news, observers = self._news[name]
            for observation in itertools.islice(observers, left):
                left -= 1
                self._inform(observation, news)
            if left:
                del self._news[name]

    def _tell(self, observation: Observation | None, now: float) -> None:
        if observation is None or observation.news is None or observation.waiting:
            return  # it has ended, or knows
        response, observation.news = observation.news, None
        path = observation.path
        validated = self._outbox.validated(path, now)
        confirm = observation.confirm(validated, now)
        # A stranger's acknowledgement renews its credit, so its message id must not be guessed from another's.
        id = self._outbox.next_message_id(path) if validated else self._outbox.random_message_id(path)
        head = reply.Head(Type.CON if confirm else Type.NON, id, observation.token)
        limit = self._outbox.limit(path, observation.credit, now)
        if response.code != Code.CONTENT:  # RFC 7641, 4.2: an error is the last notification
            self.observations.remove(observation.key)
            head.type = Type.NON
            self._outbox.send(path, reply.cut(head, response, limit))
            return
        observation.sequence = head.observe = observation.sequence + 1 & 0xFFFFFF
        data = self.fitted(path, head, observation.request, response, limit, now)
        if data is None or (confirm and self._outbox.retransmissions.full()):
            self.observations.remove(observation.key)  # 4.5: it cannot be told reliably any more
            return
        observation.credit -= len(data)
        self.notifications += 1
        self.observations.sent(observation, head.id)
        if confirm:
            observation.waiting, observation.unconfirmed, observation.confirmed_at = True, 0, now
            self._outbox.send_confirmable(path, head.id, data, observation.key, now, once=not validated)
            return
        observation.unconfirmed += 1
        self._outbox.send(path, data)

    def fitted(
        self, path: Path, head: reply.Head, request: Request, response: Response, limit: int | None, now: float
    ) -> bytes | None:
        """`response` whole, or its first block; None if not even that fits into `limit` octets."""
        data = reply.whole(head, response)
        small = path.message_max is not None or len(response.payload) <= reply.BLOCK_MAX
        if small and (limit is None or len(data) <= limit):
            return data
        tag = self._snapshots.put(snapshot_key(path, request), response, now).tag
        return reply.fitted_block(head, response, tag, None, limit, None)
