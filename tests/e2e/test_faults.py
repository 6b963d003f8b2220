"""Five nodes on a cable with delay and loss, under load, and what happens to nodes: nothing acknowledged is lost.

Each story ends the same way: all is healed, every claim of unknown outcome is settled as one of committed and lost,
each key's history is linearizable, and the five disks agree with each other and with what clients were told.

Source: notes on DRiP, 4.9 to 4.12 (I1 to I3, I6, I9, I13).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp
import pytest
from auditing import audit
from claiming import Client, Memory, settle, settled_alike
from daemons import Daemon, Federation, all_of, empty, path_of, until, waypost
from history import violation
from links import Cable, cabled

pytestmark = pytest.mark.peer("unshare:net", "device:/dev/net/tun")

VOTERS = 5
MINORITY = 2
CLIENTS = 6
KEYS = 4
DELAY_S = 0.01
JITTER_S = 0.003
LOSS = 0.01
DISK = 48 << 20  # octets of each node's own disk
PAUSE_S = 0.05  # of a client between two requests: what happens is to be quick, and not the load
LOADED_S = 0.5  # before something happens


@dataclass
class Scene:
    """`rng` decides to whom things happen."""

    federation: Federation
    cable: Cable
    memory: Memory
    clients: list[Client]
    rng: Random

    def some(self, count: int) -> list[Daemon]:
        return self.rng.sample(self.federation.daemons, count)

    def witness(self, *others: Daemon) -> Daemon:
        """Somebody else, to whom nothing happens."""
        return next(daemon for daemon in self.federation.daemons if daemon not in others)

    @property
    def acknowledged(self) -> int:
        return len(self.memory.took_s)

    async def goes_on(self, count: int = 3) -> None:
        """Claims are acknowledged, whatever has happened."""
        wanted = self.acknowledged + count

        async def more() -> bool:
            return self.acknowledged >= wanted

        await until(more, "claims are acknowledged")


async def killed(scene: Scene) -> None:
    """`kill -9` of a minority at once, and the same disks again."""
    victims = scene.some(scene.rng.randint(1, MINORITY))
    for daemon in victims:
        daemon.kill()
    await scene.goes_on()
    await all_of(*(asyncio.to_thread(daemon.start) for daemon in victims))
    await scene.federation.until_voting(*victims)


async def stopped(scene: Scene) -> None:
    """One after the other ends as it is told to, and starts anew."""
    for daemon in scene.some(VOTERS):
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        await scene.federation.until_voting(daemon)
    await scene.goes_on()


async def dark(scene: Scene) -> None:
    """`kill -9` of all at once."""
    for daemon in scene.federation.daemons:
        daemon.kill()
    await all_of(*(asyncio.to_thread(daemon.start) for daemon in scene.federation.daemons))
    await scene.federation.until_voting(*scene.federation.daemons)
    await scene.goes_on()


async def forgetful(scene: Scene) -> None:
    """The disk is lost but for the keys: another installation, that votes again when the operator says so."""
    (victim,) = scene.some(1)
    victim.kill()
    victim.forget()
    await scene.goes_on()
    await asyncio.to_thread(victim.start)
    assert not (await victim.ask("/v1/peers"))["is_voting"], "its votes are forgotten, so it has none"
    await scene.federation.readmit(victim, scene.witness(victim))


async def replaced(scene: Scene) -> None:
    """All is lost: it joins with a token, as a machine that was never there."""
    victim = scene.rng.choice(scene.federation.daemons[1:])  # the first has the authority's key
    victim.kill()
    empty(victim.files)
    founder = scene.federation[1]
    await asyncio.to_thread(waypost, founder.enter, "ca", "revoke", victim.name, "--dir", str(founder.directory))
    await scene.federation.let_in(victim)
    assert not (await victim.ask("/v1/peers"))["is_voting"]
    await scene.federation.readmit(victim, scene.witness(victim))


async def without_room(scene: Scene) -> None:
    """The disk is full: the node stops, the others go on, and with room again it votes with what it had."""
    (victim,) = scene.some(1)
    ballast = victim.files / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(2 * DISK))
    assert await asyncio.to_thread(victim.died) != 0
    await scene.goes_on()
    ballast.unlink()
    await asyncio.to_thread(victim.start)
    await scene.federation.until_voting(victim)


async def divided(scene: Scene) -> None:
    """A minority commits nothing, and answers from what it has; the rest goes on; after the heal all is one."""
    minority = scene.some(MINORITY)
    inside = {daemon.number for daemon in minority}
    number = scene.rng.randrange(CLIENTS, 1 << 32)
    alone, outsider = minority[0], Client(number, scene.federation, scene.memory, KEYS)
    place = outsider.places[0]

    async def is_there() -> bool:
        return place[1] in {key for key, _, _ in await alone.versions()}

    await until(is_there, f"{alone.name} has {place}")
    scene.cable.partition(inside, {daemon.number for daemon in scene.federation.daemons} - inside)
    await asyncio.sleep(LOADED_S)  # what was under way has come, or is lost
    before = await alone.ask(path_of(place))

    async def knows() -> bool:
        return not (await alone.ask("/v1/peers"))["has_quorum"]

    async with alone.session() as session, asyncio.TaskGroup() as group:
        group.create_task(is_refused(session, path_of(place) + "?quorum=true"))
        await until(knows, f"{alone.name} knows that it is of a minority")
        outsider.known[place] = before["next"]["version"] - 1, before["next"]["prev"]
        assert await outsider.claim(session, place), "it is refused, and the history says that it never happens"
    await scene.goes_on()
    after = await alone.ask(path_of(place))
    assert after["record"] == before["record"], "nothing comes there"
    assert after["age_s"] > before["age_s"] + LOADED_S, "and it says how old that is"
    scene.cable.heal()
    await scene.goes_on()


async def is_refused(session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(path) as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"]


async def crooked(scene: Scene) -> None:
    """One link is cut in both directions, another in one: nobody is without others, and all goes on."""
    one, other, third = (daemon.number for daemon in scene.some(3))
    scene.cable.cut(one, other)
    scene.cable.cut(other, one)
    scene.cable.cut(other, third)
    await scene.goes_on(3 * CLIENTS)
    scene.cable.heal()


async def story(directory: Path, happenings: Sequence[Callable[[Scene], Awaitable[None]]], seed: int) -> Memory:
    rng, memory = Random(seed), Memory()
    with cabled(VOTERS, seed=seed, hold_s=3_600) as cable:
        for station in cable.stations:
            (directory / str(station.number)).mkdir(mode=0o700)
            station.mount(directory / str(station.number), DISK)
        federation = Federation(directory, cable.stations)
        try:
            await federation.found()
            cable.set(delay_s=DELAY_S, jitter_s=JITTER_S, loss=LOSS)
            clients = [Client(number, federation, memory, KEYS, PAUSE_S) for number in range(CLIENTS)]
            scene = Scene(federation, cable, memory, clients, rng)
            async with loaded(scene):
                for happening in happenings:
                    await asyncio.sleep(LOADED_S)
                    await happening(scene)
            cable.set()
            await settle(clients[0])
            await federation.until_converged()
            await settled_alike(federation, memory)
            await federation.until_whole()
            for daemon in federation.daemons:
                daemon.stop()
            for place, history in memory.histories.items():
                assert (wrong := violation(history)) is None, f"seed {seed}, {place}: {wrong}"
            audit((daemon.files for daemon in federation.daemons), federation.operator.network, memory)
        finally:
            federation.end()
    return memory


@asynccontextmanager
async def loaded(scene: Scene) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for client in scene.clients:
            group.create_task(client.run(stop))
        yield
        stop.set()


@pytest.mark.timeout(300)
def test_whatever_happens_to_a_minority_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    memory = asyncio.run(story(tmp_path, [killed, forgetful, without_room, divided, crooked], 1))
    assert sum(map(len, memory.committed.values())) > 50


OFTEN = {killed: 8, stopped: 1, dark: 1, forgetful: 1, replaced: 1, without_room: 2, divided: 2, crooked: 2}


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(3, 8))
def test_again_and_again_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    happenings = Random(seed).choices([*OFTEN], [*OFTEN.values()], k=30)
    memory = asyncio.run(story(tmp_path, happenings, seed))
    assert sum(map(len, memory.committed.values())) > 500
