"""What a storm over a node is watched by: lamps that remember what they were promised, and a console.

A lamp registers by one of three doors.  By two of them it registers simply (RFC 9176, 5.1; draft -12, 5.3.1): the
directory fetches its links from it, and answers no sooner than it has them.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from waypost.assembly.engine import Assembly
from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path
from waypost.rd.questions import Entry, Found, Kind, Lookup
from waypost.sim import Device, Node, Storm, World

SERVER: Final = Endpoint("2001:db8::1", 5683)
LATEST: Final = 60.0  # seconds after which no copy of a datagram is on its way any more
LOOK_EVERY: Final = 5.0  # seconds between two looks of the console
CLOCK_STEP_MAX: Final = 10.0  # seconds
MARGIN: Final = 0.25  # of a lifetime, by which the wall clock may step and shorten no promise
LINKS: Final = b'</light>;rt="light";if="core.a",</power>;rt="power"'
MORE_LINKS: Final = b"".join(b',</channel/%d>;rt="channel"' % number for number in range(120))  # several blocks
DOORS: Final = ("rd", "rd", ".well-known/rd", ".well-known/core")
FRESH_S: Final = 20  # that the directory may keep a lamp's document
BUSY: Final = (Code.SERVICE_UNAVAILABLE,)
NOT_FETCHED: Final = (*BUSY, Code.UNAUTHORIZED, Code.GATEWAY_TIMEOUT)  # it was not reached, or not known to be there


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
        self.door = self._rng.choice(DOORS)
        self.simple = self.door != "rd"
        self._version = 0  # of its document
        self._more_links = MORE_LINKS if self._rng.random() < 0.3 else b""
        self._device = Device(world, f"2001:db8:d:{number:x}::1", SERVER, name=self.ep, serve=self._serve)
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
        """Register once more, with other links where they are fetched, and look it up."""
        self._version += 1
        self._register(then=lambda: self._look_up("version" if self.simple else "ep"))

    def _rest(self, at_least: float = 0.0) -> None:
        self._world.after(at_least + 20.0 * self._rng.random() ** 2, self._act)

    def _act(self) -> None:
        if not self.working:
            return
        if self.location is None or self._rng.random() < 0.1:
            self._register(self._rest)
            return
        chance = self._rng.random()
        if self.simple and chance < 0.65:
            self._version += self._rng.randrange(2)
            self._register(self._rest)
        elif chance < 0.5:
            self._renew(self.location)
        elif chance < 0.65:
            self._remove(self.location)
        elif chance < 0.7:
            self._rest(self.lifetime)  # let it expire
        else:
            self._look_up(self._rng.choice(("ep", "res")))

    def _serve(self, request: Request, path: Path, now: float) -> Response:
        if request.path != (".well-known", "core"):
            return Response(Code.NOT_FOUND)
        links = LINKS + b',</version>;rt="version-%d"' % self._version + self._more_links
        return Response(Code.CONTENT, links, LINK_FORMAT, max_age=FRESH_S)

    def _register(self, then: Callable[[], None]) -> None:
        def on_answer(answer: Response | None) -> None:
            if self.simple:
                if answer is not None and answer.code not in NOT_FETCHED:
                    assert (answer.code, answer.location) == (Code.CHANGED, ()), answer
                    self.location = self.location or "wherever it is"
                    self._promise()
            elif answer is not None and answer.code not in BUSY:
                assert answer.code in (Code.CREATED, Code.CHANGED), answer
                location = "/".join(answer.location)
                if self.location != location and self.kept_for():
                    raise Lost(f"{self.ep} was at {self.location} and is registered anew at {location}")
                self.location, self.doubtful = location, False
                self._promise()
            then()

        self._begin()
        query = (f"ep={self.ep}", f"lt={self.lifetime}", "et=lamp")
        self._device.request(Code.POST, self.door, query, b"" if self.simple else LINKS, on_answer)

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
                wanted = self._wanted(kind)
                self.found = wanted.encode() in answer.payload
                if self.promised_for() and not self.found:
                    raise Lost(f"{self.ep} does not find {wanted} in {answer.payload!r}")
            if self.working:
                self._rest()

        self.found = False
        door = "rd-lookup/ep" if kind == "ep" else "rd-lookup/res"
        self._device.request(Code.GET, door, (f"ep={self.ep}",), b"", on_answer)

    def _wanted(self, kind: str) -> str:
        """What a lookup shows while it is registered."""
        match kind:
            case "version":
                return f'rt="version-{self._version}"'
            case "res":
                return 'rt="power"'
            case _:
                return f'ep="{self.ep}"' if self.simple else f"</{self.location}>"

    def _begin(self) -> None:
        self._sent, self._sent_life = self._world.now, self._node.incarnation

    def _promise(self) -> None:
        self.until = max(self.until, self._sent + self.lifetime)
        self._steps = self._storm.counts.get("clock_step", 0)
        if self._sent_life == self._node.incarnation:
            self.life = self._sent_life


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
        entries = {entry.ep: entry for entry in answer.entries if isinstance(entry, Entry)}
        for lamp in self._lamps:
            seconds = lamp.promised_for()
            if not seconds:
                continue
            entry = entries.get(lamp.ep)
            if entry is None or not (lamp.simple or f"reg/{entry.location}" == lamp.location):
                raise Lost(f"{lamp.ep} is not at {lamp.location}, where it is promised for {seconds:.3f} s more")
            if lamp.life == self._node.incarnation:  # past a restart it is what was stored, which is more
                assert entry.expires_in <= lamp.lifetime + 0.01, f"{lamp.ep} is promised more than it asked for"
            if entry.expires_in < seconds - 0.01:
                raise Lost(f"{lamp.ep} has {entry.expires_in:.3f} s left and was promised {seconds:.3f} s")
