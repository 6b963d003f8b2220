"""What a storm over a node is watched by: lamps that remember what they were promised, a console, and a vandal."""

from collections.abc import Callable
from random import Random
from typing import Final

from waypost.assembly.engine import Assembly
from waypost.coap.message import Message, Options
from waypost.coap.numbers import Code, Option
from waypost.coap.request import Response
from waypost.engine import Endpoint
from waypost.rd.questions import Entry, Found, Kind, Lookup
from waypost.sim import Device, Node, Storm, World

SERVER: Final = Endpoint("2001:db8::1", 5683)
LATEST: Final = 60.0  # seconds after which no copy of a datagram is on its way any more
LOOK_EVERY: Final = 5.0  # seconds between two looks of the console
CLOCK_STEP_MAX: Final = 10.0  # seconds
MARGIN: Final = 0.25  # of a lifetime, by which the wall clock may step and shorten no promise
LINKS: Final = b'</light>;rt="light";if="core.a",</power>;rt="power"'
BUSY: Final = (Code.SERVICE_UNAVAILABLE,)


class Lost(AssertionError):
    """What was acknowledged is not there."""


class Lamp:
    """`location` and `until` are what it was promised; `doubtful` while a removal may or may not have happened."""

    def __init__(self, world: World, number: int, storm: Storm, node: Node[Assembly], grace: float) -> None:
        self.ep = f"lamp-{number}"
        self.life = 0  # the node's, in which it was promised
        self.location: str | None = None
        self.until = 0.0
        self.doubtful = False
        self.working = True
        self.found = False
        self._world = world
        self._storm = storm
        self._node = node
        self._grace = grace
        self._rng = Random(f"{world.seed}/{self.ep}")
        self.lifetime = self._rng.choice((60, 300, 900))
        self._device = Device(world, f"2001:db8:d:{number:x}::1", SERVER, name=self.ep)
        self._sent, self._sent_life = 0.0, 0
        self._steps = 0  # of the wall clock, before the promise
        self._rest()

    def promised_for(self) -> float:
        """Seconds for which it must be found, whatever happens; 0 if there is no promise."""
        return self._left(self.until, self.lifetime * MARGIN)

    def kept_for(self) -> float:
        """Seconds for which it must keep its location: past its lifetime it can be revived for a while."""
        return max(self.promised_for(), self._left(self.until + self._grace, 0.0))

    def _left(self, until: float, margin: float) -> float:
        """What a wall clock that steps and a crash may take, beyond `margin`, is taken off."""
        if self.location is None or self.doubtful:
            return 0.0
        stepped = (self._storm.counts.get("clock_step", 0) - self._steps) * CLOCK_STEP_MAX
        return max(0.0, until - max(0.0, stepped - margin) - self._world.now)

    def finish(self) -> None:
        """Register once more and look it up."""
        self._register(then=lambda: self._look_up("ep"))

    def _rest(self, at_least: float = 0.0) -> None:
        self._world.after(at_least + 20.0 * self._rng.random() ** 2, self._act)

    def _act(self) -> None:
        if not self.working:
            return
        if self.location is None or self._rng.random() < 0.1:
            self._register(self._rest)
            return
        chance = self._rng.random()
        if chance < 0.5:
            self._renew(self.location)
        elif chance < 0.65:
            self._remove(self.location)
        elif chance < 0.7:
            self._rest(self.lifetime)  # let it expire
        else:
            self._look_up(self._rng.choice(("ep", "res")))

    def _register(self, then: Callable[[], None]) -> None:
        def on_answer(answer: Response | None) -> None:
            if answer is not None and answer.code not in BUSY:
                assert answer.code in (Code.CREATED, Code.CHANGED), answer
                location = "/".join(answer.location)
                if self.location != location and self.kept_for():
                    raise Lost(f"{self.ep} was at {self.location} and is registered anew at {location}")
                self.location, self.doubtful = location, False
                self._promise()
            then()

        self._begin()
        query = (f"ep={self.ep}", f"lt={self.lifetime}", "et=lamp")
        self._device.request(Code.POST, "rd", query, LINKS, on_answer)

    def _renew(self, location: str) -> None:
        def on_answer(answer: Response | None) -> None:
            if answer is not None and answer.code == Code.NOT_FOUND:
                if self.kept_for():
                    raise Lost(f"{self.ep} renews at {location}, which is not there")
                self.location = None
            elif answer is not None and answer.code not in BUSY:
                assert answer.code == Code.CHANGED, answer
                self.doubtful = False
                self._promise()
            self._rest()

        self._begin()
        self._device.request(Code.POST, location, (f"lt={self.lifetime}",), b"", on_answer)

    def _remove(self, location: str) -> None:
        self._begin()
        kept_until = self._world.now + self.kept_for()

        def on_answer(answer: Response | None) -> None:
            if answer is not None and answer.code not in BUSY:
                # A repeated request finds nothing any more if it meets a restarted node (RFC 7252, 4.5).
                gone = self._sent_life != self._node.incarnation or kept_until < self._world.now
                if answer.code == Code.NOT_FOUND and not gone:
                    raise Lost(f"{self.ep} removes {location}, which is not there")
                assert answer.code in (Code.DELETED, Code.NOT_FOUND), answer
                self.location, self.doubtful = None, False
            self._rest(LATEST if self.doubtful else 0.0)

        self.doubtful = True
        self._device.request(Code.DELETE, location, (), b"", on_answer)

    def _look_up(self, kind: str) -> None:
        def on_answer(answer: Response | None) -> None:
            if answer is not None and answer.code not in BUSY:
                assert answer.code == Code.CONTENT, answer
                wanted = f"</{self.location}>" if kind == "ep" else 'rt="power"'
                self.found = wanted.encode() in answer.payload
                if self.promised_for() and not self.found:
                    raise Lost(f"{self.ep} does not find {wanted} in {answer.payload!r}")
            if self.working:
                self._rest()

        self.found = False
        self._device.request(Code.GET, f"rd-lookup/{kind}", (f"ep={self.ep}",), b"", on_answer)

    def _begin(self) -> None:
        self._sent, self._sent_life = self._world.now, self._node.incarnation

    def _promise(self) -> None:
        self.until = max(self.until, self._sent + self.lifetime)
        self._steps = self._storm.counts.get("clock_step", 0)
        if self._sent_life == self._node.incarnation:
            self.life = self._sent_life


class Vandal:
    """Sends what is wrong in every way, and never listens."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = Random(f"{world.seed}/vandal")
        self._client = world.client("2001:db8:bad::1", 5683, lambda client, data, source: None, name="vandal")
        self._send()

    def _send(self) -> None:
        rng = self._rng
        observe: Options = [(Option.OBSERVE, b""), (Option.URI_PATH, b"rd-lookup"), (Option.URI_PATH, b"ep")]
        register: Options = [
            (Option.URI_PATH, b"rd"),
            (Option.CONTENT_FORMAT, b"\x28"),
            (Option.URI_QUERY, b"ep=vandal"),
        ]
        code, options, payload = rng.choice(((Code.GET, observe, b""), (Code.POST, register, LINKS)))
        data = bytearray(Message(rng.randrange(2), code, rng.randrange(9), b"v", options, payload).encode())
        for _ in range(rng.choice((0, 0, 1, 3, 30))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        self._client.send(bytes(data[: rng.choice((len(data), rng.randrange(len(data))))]), SERVER)
        self._world.after(4.0 * rng.random(), self._send)


class Console:
    """Asks the node, as a program on the same machine does, whether every promise is kept."""

    def __init__(self, world: World, node: Node[Assembly], lamps: list[Lamp]) -> None:
        self._world = world
        self._node = node
        self._lamps = lamps

    def look(self) -> None:
        if self._node.engine is not None:
            question = Lookup(Kind.ENDPOINTS, (), structured=True)
            self._node.ask(lambda engine, now: engine.ask(question, now), self._on_answer)

    def look_again_and_again(self) -> None:
        self.look()
        self._world.after(LOOK_EVERY, self.look_again_and_again)

    def _on_answer(self, answer: object) -> None:
        assert isinstance(answer, Found)
        entries = {f"reg/{entry.location}": entry for entry in answer.entries if isinstance(entry, Entry)}
        for lamp in self._lamps:
            seconds = lamp.promised_for()
            if not seconds:
                continue
            entry = entries.get(lamp.location or "")
            if entry is None:
                raise Lost(f"{lamp.ep} is not at {lamp.location}, where it is promised for {seconds:.3f} s more")
            assert entry.ep == lamp.ep
            if lamp.life == self._node.incarnation:  # past a restart it is what was stored, which is more
                assert entry.expires_in <= lamp.lifetime + 0.01, f"{lamp.ep} is promised more than it asked for"
            if entry.expires_in < seconds - 0.01:
                raise Lost(f"{lamp.ep} has {entry.expires_in:.3f} s left and was promised {seconds:.3f} s")
