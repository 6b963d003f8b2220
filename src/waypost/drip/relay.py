"""Votes by way of others, where a node cannot reach another itself.

The transport says whom it cannot reach.  What this node has to say about votes to such a one goes into envelopes to
RELAYS others that are there; if nobody at all hears of it, it is down, and nothing is relayed.  Who is asked to pass
an envelope on does so once, straight to its target and within an allowance for each sender, after it has verified it:
so whoever brings one that does not verify is to blame itself.

Whoever an envelope is for hears it as if from its sender, and as it cannot know yet whether the straight way back is
cut, answers both ways for DOUBT_S.  It hears none twice: of each sender it remembers the last
WINDOW counts, and what is older than FRESH_MS is not heard at all.

Times are seconds of the caller's monotonic clock, wall-clock times milliseconds since 1970.

Source: notes on DRiP, 1.9 (G8) and 4.3; the window after RFC 4303, appendix A2.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from waypost.drip.allowance import Allowance
from waypost.drip.envelope import ENVELOPE_MAX, RELAYED, Envelope, Pass, Relayed
from waypost.drip.gossip import Author
from waypost.drip.messages import MESSAGES_MAX
from waypost.drip.outbox import Tell
from waypost.engine import Ask, Commit, Effect
from waypost.record import Member, Roster, Verify
from waypost.record.wire import encode

RELAYS: Final = 2  # others that are given each envelope
CUT_S: Final = 60.0  # without another word of the transport, a node is tried directly again
DOUBT_S: Final = 5.0  # within which the transport has found out
FRESH_MS: Final = 30_000
WINDOW: Final = 1_024  # envelopes of one sender that may overtake each other
FORGET_S: Final = 2 * FRESH_MS / 1_000  # what was heard so long ago is not fresh on any clock that we go by
COUNTS_A_MS: Final = 1_000  # envelopes; so that no restart of this node counts again what it counted before
KIBIBYTES_A_SECOND: Final = 2_000  # that are passed on for one sender
KIBIBYTES_MAX: Final = 8_000  # at once


@dataclass(slots=True)
class Window:
    """`bits` says which of the last WINDOW counts were heard, that of `last` first."""

    last: int = 0
    bits: int = 0
    at: float = 0.0

    def holds(self, count: int, now: float) -> bool:
        """Whether it was heard, or may have been."""
        if now - self.at > FORGET_S:
            return False
        return self.last - count >= WINDOW or (count <= self.last and self.bits >> (self.last - count) & 1 == 1)

    def add(self, count: int, now: float) -> None:
        if now - self.at > FORGET_S:
            self.last, self.bits = count, 0
        ahead = count - self.last
        if ahead > 0:
            self.bits = (self.bits << ahead if ahead < WINDOW else 0) & ((1 << WINDOW) - 1)
            self.last = count
        self.bits |= 1 << (self.last - count)
        self.at = now


class Relay:
    """`alive` tells which other nodes are there.

    `counts`: envelopes sent, passed on, heard, and those that were dropped, by the reason.
    """

    def __init__(
        self, rng: Random, ids: Iterator[int], author: Author, verify: Verify, alive: Callable[[], Collection[str]]
    ) -> None:
        self._rng = rng
        self._ids = ids
        self._me = author
        self._verify = verify
        self._alive = alive
        self._members: dict[str, Member] = {}
        self._cut: dict[str, float] = {}  # until when we believe it
        self._doubted: dict[str, float] = {}  # until when what they hear goes both ways
        self._windows: dict[str, Window] = {}
        self._allowances: dict[str, Allowance] = {}
        self._count = 0
        self._out: list[Effect] = []
        self.counts: dict[str, int] = {}

    def set_roster(self, roster: Roster) -> None:
        self._members = {member.name: member for member in roster.voters + roster.learners}
        self._cut, self._doubted = (
            {name: until for name, until in each.items() if name in self._members}
            for each in (self._cut, self._doubted)
        )
        self._windows = {name: each for name, each in self._windows.items() if name in self._members}
        self._allowances = {name: each for name, each in self._allowances.items() if name in self._members}

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        """The transport could bring something to the node, or could not."""
        if is_reached:
            self._cut.pop(node, None)
            self._doubted.pop(node, None)
        elif node in self._members:
            self._cut[node] = now + CUT_S

    def cut(self, now: float) -> tuple[str, ...]:
        """Who cannot be reached from here."""
        return tuple(name for name in self._cut if self._is_cut(name, now))

    def has_way(self, node: str, now: float) -> bool:
        """Whether it cannot be reached from here, and yet by way of others, as it seems."""
        alive = self._alive() if self._is_cut(node, now) else ()
        return node in alive and bool(self._others(node, alive, now))

    def routed(self, effects: list[Effect], now: float, wall_ms: int) -> list[Effect]:
        """What is to be done, with envelopes to others instead of what cannot go straight."""
        self._doubted = {name: until for name, until in self._doubted.items() if until > now}
        return self._routed(effects, self._alive(), now, wall_ms) if self._cut or self._doubted else effects

    def receive(self, node: str, envelope: Envelope, now: float, wall_ms: int) -> tuple[Relayed, ...]:
        """From a node whom the transport has identified; what the envelope's sender says to us, if it is for us."""
        reason, signed = self._objection(node, envelope, now, wall_ms)
        is_ours = envelope.target == self._me.node
        if not reason and is_ours and self._window(envelope).holds(envelope.count, now):
            reason = "again"
        if not reason and not is_ours and not self._allowance(node, now).take(1 + len(signed) // 1_024, now):
            reason = "flooded"
        if not reason and not self._is_signed(envelope, signed):
            reason = "forged"
        self._note(reason or ("heard" if is_ours else "passed_on"))
        if reason:
            return ()
        if is_ours:
            window = self._window(envelope)
            if now - window.at > FORGET_S or not window.bits:
                self._doubted[envelope.sender] = now + DOUBT_S
            window.add(envelope.count, now)
            return envelope.messages
        self._out.append(Ask(next(self._ids), Pass(envelope.target, envelope)))
        return ()

    def take_effects(self) -> list[Effect]:
        """Envelopes of others, to pass on."""
        out, self._out = self._out, []
        return out

    def check(self) -> None:
        for table in (self._cut, self._doubted, self._windows, self._allowances):
            assert table.keys() <= self._members.keys()
        assert all(window.bits < 1 << WINDOW for window in self._windows.values())

    def _is_cut(self, node: str, now: float) -> bool:
        return self._cut.get(node, now) > now

    def _routed(self, effects: Iterable[Effect], alive: Collection[str], now: float, wall_ms: int) -> list[Effect]:
        routed: list[Effect] = []
        messages_to: dict[str, list[Relayed]] = {}
        for effect in effects:
            match effect:
                case Commit(then=then):
                    routed.append(replace(effect, then=tuple(self._routed(then, alive, now, wall_ms))))
                case Ask(body=Tell(node=node, message=message)) if (
                    type(message) in RELAYED and node in alive and self._is_around(node, alive, now)
                ):
                    messages_to.setdefault(node, []).append(message)  # type: ignore[arg-type]
                    if not self._is_cut(node, now):
                        routed.append(effect)
                case _:
                    routed.append(effect)
        for node, messages in messages_to.items():
            routed += self._through_others(node, messages, alive, now, wall_ms)
        return routed

    def _is_around(self, node: str, alive: Collection[str], now: float) -> bool:
        """Whether what is for that node goes by way of others, too or only."""
        return self._is_cut(node, now) or (node in self._doubted and bool(self._others(node, alive, now)))

    def _through_others(
        self, node: str, messages: list[Relayed], alive: Collection[str], now: float, wall_ms: int
    ) -> list[Effect]:
        others = self._others(node, alive, now)
        relays = self._rng.sample(others, min(RELAYS, len(others)))
        if not relays:
            return [Ask(next(self._ids), Tell(node, message)) for message in messages]
        tells: list[Effect] = []
        for part in _parts(messages):
            self._count = self._count + 1 if self._count else wall_ms * COUNTS_A_MS
            me = self._me
            envelope = Envelope(me.node, me.incarnation, node, self._count, wall_ms, part, "")
            envelope = envelope.signed(me.network, me.sign)
            tells += [Ask(next(self._ids), Pass(relay, envelope)) for relay in relays]
            self._note("sent")
        return tells

    def _others(self, node: str, alive: Collection[str], now: float) -> list[str]:
        """Who may pass on what is for that node."""
        return [name for name in alive if name != node and name in self._members and not self._is_cut(name, now)]

    def _objection(self, node: str, envelope: Envelope, now: float, wall_ms: int) -> tuple[str, bytes]:
        """Why an envelope is dropped, or "" and what should be signed; all that costs little."""
        sender = self._members.get(envelope.sender)
        if sender is None or sender.incarnation != envelope.incarnation or envelope.sender == self._me.node:
            return "strangers", b""
        if envelope.target != self._me.node:
            if envelope.sender != node:
                return "second_hand", b""  # it was passed on already: once is all
            if envelope.target not in self._members or self._is_cut(envelope.target, now) or envelope.target == node:
                return "out_of_reach", b""
        if abs(wall_ms - envelope.sent_ms) > FRESH_MS:
            return "stale", b""
        return "", envelope.to_sign(self._me.network)

    def _is_signed(self, envelope: Envelope, signed: bytes) -> bool:
        key = bytes.fromhex(self._members[envelope.sender].key)
        return self._verify(key, bytes.fromhex(envelope.signature), signed)

    def _window(self, envelope: Envelope) -> Window:
        return self._windows.setdefault(envelope.sender, Window())

    def _allowance(self, node: str, now: float) -> Allowance:
        whole = Allowance(KIBIBYTES_MAX, now, KIBIBYTES_A_SECOND, KIBIBYTES_MAX)
        return self._allowances.setdefault(node, whole)

    def _note(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _parts(messages: Iterable[Relayed]) -> Iterator[tuple[Relayed, ...]]:
    """As few as hold them; one that is too large for any is left out, as it would be on the straight way."""
    part: list[Relayed] = []
    size = 0
    for message in messages:
        octets = len(encode(message)) + 1
        if octets > ENVELOPE_MAX:
            continue
        if part and (size + octets > ENVELOPE_MAX or len(part) == MESSAGES_MAX):
            yield tuple(part)
            part, size = [], 0
        part.append(message)
        size += octets
    if part:
        yield tuple(part)
