"""The verb that shows what nodes do: a small building of devices, and a street of five nodes, over real sockets."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
from msgspec import to_builtins

from waypost.api.schemas import Endpoint
from waypost.api.sync import SyncClient
from waypost.cli import scenes
from waypost.cli.building import DEVICES, FLOORS, LIFETIME, Device
from waypost.cli.cables import Cables
from waypost.cli.output import emit, output_option
from waypost.cli.process import NodeProcess, waypost
from waypost.cli.street import KEY_RANGE, MINORITY, SIZE, Street
from waypost.coap.links import parse
from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.runtime.addresses import listen_address
from waypost.runtime.coap import CoapClient

HOST: Final = "127.0.0.1"
QUESTION: Final = ("rt=temperature", "floor=2")
RENEWED_S: Final = 600
RENEW_EVERY_S: Final = LIFETIME / 3


@click.command()
@click.option("--once", is_flag=True, help="End after the story; otherwise go on until Ctrl-C.")
@output_option
def demo(once: bool, output: str) -> None:
    """Show nodes at work.

    Devices register, are found, leave; then the node is killed and has lost nothing.  Four more nodes join it: they
    vote on who holds a name, two are cut off and refuse, and when they are back they know what was voted.

    Everything is on this machine and in a temporary directory, which is gone in the end.
    """
    story = Story(output)
    try:
        asyncio.run(_play(story, once=once))
    finally:
        story.end()


class Story:
    """What happened: told as it happens, or as one JSON list in the end."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._scenes: list[scenes.Story] = []

    def tell(self, scene: scenes.Story, text: str) -> None:
        """`text` is for people, `scene` for programs."""
        if self._output == "json":
            self._scenes.append(scene)
        else:
            emit(scene, self._output, text)

    def end(self) -> None:
        if self._output == "json":
            emit(self._scenes, self._output)


class Inhabitant:
    """A device on a UDP socket of its own, and where it is registered."""

    def __init__(self, device: Device, client: CoapClient) -> None:
        self.device = device
        self._client = client
        self._location: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self._location[-1]

    async def register(self) -> None:
        query, links = tuple(self.device.query.split("&")), self.device.links.encode()
        answer = await self._client.request(Code.POST, ("rd",), query, payload=links, content_format=LINK_FORMAT)
        expect(answer.code == Code.CREATED, f"{self.device.ep} was not registered: {answer.payload!r}")
        self._location = answer.location

    async def renew(self, lt: int) -> None:
        answer = await self._client.request(Code.POST, self._location, (f"lt={lt}",))
        expect(answer.code == Code.CHANGED, f"{self.device.ep} was not renewed: {answer.payload!r}")

    async def stay(self) -> None:
        """Renew, or register again: somebody may have removed it meanwhile."""
        answer = await self._client.request(Code.POST, self._location)
        if answer.code == Code.NOT_FOUND:
            await self.register()

    async def leave(self) -> None:
        answer = await self._client.request(Code.DELETE, self._location)
        expect(answer.code == Code.DELETED, f"{self.device.ep} could not leave: {answer.payload!r}")


def expect(right: bool, sentence: str) -> None:
    """What is not so is a bug, and the demonstration says it rather than go on."""
    if not right:
        raise AssertionError(sentence)


async def _play(story: Story, *, once: bool) -> None:
    with TemporaryDirectory(prefix="waypost-demo-") as directory, _signals():
        cables = Cables()
        street = Street(Path(directory), cables, *_addresses(once=once))
        try:
            await street.found()
            node = street.first
            text = f"One node is up.      coap://{node.coap}   {node.url}"
            story.tell(scenes.Started(node.name, node.coap, node.http), text)
            async with AsyncExitStack() as open_clients:
                people = [
                    Inhabitant(device, await open_clients.enter_async_context(_client(node))) for device in DEVICES
                ]
                await _live(story, node, people)
                await _vote(story, street, len(people))
                _say_what_to_type(story, node, once=once)
                while not once:
                    await asyncio.sleep(RENEW_EVERY_S)
                    for person in people:
                        await person.stay()
        except asyncio.CancelledError:
            if once:
                raise KeyboardInterrupt from None
        finally:
            await street.stop()
            await cables.close()


async def _live(story: Story, node: NodeProcess, people: list[Inhabitant]) -> None:
    """The six scenes; `people` loses the one who leaves."""
    start = time.monotonic()
    async with asyncio.TaskGroup() as together:
        for person in people:
            together.create_task(person.register())
    took_ms = int((time.monotonic() - start) * 1000)
    text = f"{len(people)} devices registered over CoAP in {took_ms} ms; each is on disk.\n"
    for floor in reversed(FLOORS):
        names = "  ".join(f"{person.device.ep:<9}" for person in people if person.device.floor == floor)
        text += f"\n  floor {floor}   {names}".rstrip()
    story.tell(scenes.Registered(len(people), took_ms), text)

    await _ask_at_three_doors(story, node, people)

    leaving = next(person for person in people if person.device.ep == "lamp-3")
    await leaving.leave()
    people.remove(leaving)
    left = await _endpoints(node)
    expect(set(left) == {person.id for person in people}, "the one who left is still there, or another is gone")
    story.tell(scenes.Left("lamp-3", len(left)), f"\nlamp-3 left; {len(left)} devices stay.")

    renewed = people[0]
    await renewed.renew(RENEWED_S)
    before = await _endpoints(node)
    expect(before[renewed.id].lt == RENEWED_S, "the new lifetime did not arrive")
    text = f"{renewed.device.ep} renewed its registration, now for {RENEWED_S} s."
    story.tell(scenes.Renewed(renewed.device.ep, RENEWED_S), text)

    await node.kill()
    await node.start()
    after = await _endpoints(node)
    expect(_lasting(after) == _lasting(before), "the node lost or changed what it had acknowledged")
    text = f"The node was killed and started again: {len(after)} devices, same locations, nothing lost."
    story.tell(scenes.Restarted(len(after), lost=0), text)


async def _ask_at_three_doors(story: Story, node: NodeProcess, people: list[Inhabitant]) -> None:
    async with _client(node) as client:
        answer = await client.request(Code.GET, ("rd-lookup", "res"), QUESTION)
    by_coap = [link.href for link in parse(answer.payload)]
    by_http = await asyncio.to_thread(_links, node)
    found = await waypost("find", *QUESTION, "--url", node.url, "-o", "json")
    by_verb = [link["href"] for link in json.loads(found.out)]
    expect(len(by_coap) == 1, f"one thermometer is on floor 2, but CoAP found {by_coap}")
    expect(by_coap == by_http == by_verb, f"the doors disagree: {by_coap}, {by_http}, {by_verb}")
    text = (
        f"\nWhere is the temperature of floor 2?      {' and '.join(QUESTION)}\n"
        f"  by CoAP       {by_coap[0]}\n  by HTTP       {by_http[0]}\n  by `waypost`  {by_verb[0]}"
    )
    story.tell(scenes.Found(QUESTION, tuple(by_coap), tuple(by_http), tuple(by_verb)), text)


async def _vote(story: Story, street: Street, count: int) -> None:
    """Five nodes without a centre."""
    took_ms = int(1000 * await street.join())
    names = tuple(node.name for node in street.nodes.values())
    text = f"\nFour nodes joined the first after {took_ms / 1000:.1f} s: five voters, and any three of them decide."
    story.tell(scenes.Joined(names, SIZE // 2 + 1, took_ms), text)

    last = street.nodes[SIZE]
    found = await street.devices(SIZE, count)
    text = f"What is registered at one is found at the others: node {SIZE} knows {found} devices."
    story.tell(scenes.Spread(last.name, found), text)

    await street.introduce("anna", "berta")
    claimed = await street.claim("anna", "pier", "anna's boat", at=1)
    voters = await street.signers("pier", at=1)
    text = f"\nAnna claims {KEY_RANGE}pier at node 1: committed, version 1, signed by {len(voters)} voters."
    story.tell(scenes.Claimed(f"{KEY_RANGE}pier", "anna's boat", names[0], claimed.version, voters), text)

    at_2, at_3 = await asyncio.gather(
        street.claim("anna", "harbour", "anna's boat", at=2, new=True),
        street.claim("berta", "harbour", "berta's boat", at=3, new=True),
    )
    won, lost = (("anna", 2), ("berta", 3)) if at_2.state == "committed" else (("berta", 3), ("anna", 2))
    other = at_3 if won[0] == "anna" else at_2
    expect({at_2.state, at_3.state} == {"committed", "lost"}, f"of two rivals one wins: {at_2.state}, {at_3.state}")
    expect(other.current is not None, "who lost is told who holds the name")
    assert other.current is not None
    holder = other.current.record.holder
    text = (
        f"Anna at node 2 and Berta at node 3 claim {KEY_RANGE}harbour at once:\n"
        f"  {won[0].title()} holds it; {lost[0].title()} was told that {other.current.record.value!r} is there."
    )
    story.tell(scenes.Rivals(f"{KEY_RANGE}harbour", won[0], lost[0], holder), text)
    await _prove(story, street)
    await _part(story, street, *won)


async def _prove(story: Story, street: Street) -> None:
    """With a file that needs no node."""
    proven = await street.prove("pier", at=1, judge=3)
    damaged = await street.damaged("pier")
    octets = street.file("pier.proof").stat().st_size
    witnesses = tuple(sorted(name.split("/")[1] for name in proven.cosigned))
    text = (
        f"\nNode 1 proves {KEY_RANGE}pier with a file of {octets} octets: entry {proven.index} of its log,\n"
        f"  whose head {len(witnesses)} other nodes have cosigned.  Checked without asking any of them: it is so.\n"
        f"  With one letter changed: refused, {damaged}."
    )
    story.tell(scenes.Proven(f"{KEY_RANGE}pier", street.first.name, proven.index, octets, witnesses, damaged), text)


async def _part(story: Story, street: Street, winner: str, at: int) -> None:
    """Two of five are cut off, from here on and back."""
    names = tuple(street.nodes[number].name for number in MINORITY)
    street.cut_off(*MINORITY)
    await street.until(MINORITY[0], lambda network: not network.has_quorum)
    refusal = await street.refusal(winner, "harbour", "a second boat", at=MINORITY[0])
    kept = await street.claim("anna", "pier", "anna's new boat", at=MINORITY[0], queue=True)
    expect(kept.state == "pending", f"a claim that may wait does, and this was {kept.state}")
    known = await street.version("harbour", at=MINORITY[0])
    moved = await street.claim(winner, "harbour", "a larger boat", at=at)
    expect(moved.state == "committed", f"three of five go on voting, and this was {moved.state}")
    numbers = " and ".join(map(str, MINORITY))
    text = (
        f"\nNodes {numbers} are cut off from the others.\n"
        f"  A claim at node {MINORITY[0]}: refused, {refusal}.\n"
        f"  One to {KEY_RANGE}pier that may wait: kept there, and not committed.\n"
        f"  What it knows it still tells: {KEY_RANGE}harbour at version {known}.\n"
        f"  The three others go on: version {moved.version} is committed."
    )
    story.tell(scenes.Parted(names, refusal, f"{KEY_RANGE}pier", known, moved.version), text)
    street.cut_off()
    took_ms = int(1000 * await street.agreed("harbour", moved.version))
    await street.agreed("pier", kept.version)
    text = (
        f"The cables are mended: all five know version {moved.version} after {took_ms / 1000:.1f} s,\n"
        f"  and the claim that waited is committed: {KEY_RANGE}pier is at version {kept.version}."
    )
    story.tell(scenes.Healed(moved.version, took_ms), text)


def _links(node: NodeProcess) -> list[str]:
    criteria = [(name, value) for name, _, value in (text.partition("=") for text in QUESTION)]
    with SyncClient(node.url) as client:
        return [link.href for link in client.find("links", criteria)]


def _client(node: NodeProcess) -> CoapClient:
    """On a socket of its own."""
    address = listen_address(node.coap)
    return CoapClient(address.host, address.port)


async def _endpoints(node: NodeProcess) -> dict[str, Endpoint]:
    def read() -> dict[str, Endpoint]:
        with SyncClient(node.url) as client:
            return {entry.id: client.get(entry.id) for entry in client.find("endpoints")}

    return await asyncio.to_thread(read)


def _lasting(endpoints: dict[str, Endpoint]) -> Any:
    """What a restart must not change: all but the time that is left."""
    return {id: to_builtins(endpoint) | {"expires_in": None} for id, endpoint in endpoints.items()}


def _say_what_to_type(story: Story, node: NodeProcess, *, once: bool) -> None:
    program = _program()
    where = f" --url {node.url}"  # or a verb would ask the node whose socket lies in the usual place
    query = "&".join(QUESTION)
    commands = [
        f"{program} find {' '.join(QUESTION)}{where}",
        f"{program} find --endpoints 'ep=climate*'{where}",
        f"{program} status{where}",
        f"curl -s '{node.url}/v1/links?{query}'",
        f"coap-client-notls 'coap://{node.coap}/rd-lookup/res?{query}'",
    ]
    text = ["", "Start one that stays: waypost demo, or waypost run" if once else "Type in another terminal:"]
    text += [] if once else ["", *(f"  {command}" for command in commands), "", "Ctrl-C ends the demonstration."]
    story.tell(scenes.Commands(tuple(commands)), "\n".join(text))


def _program() -> str:
    """The shortest way to call this very program."""
    beside = Path(sys.executable).with_name("waypost")
    if shutil.which("waypost") == str(beside):
        return "waypost"
    return min(os.path.relpath(beside), str(beside), key=len) if beside.exists() else f"{sys.executable} -m waypost"


def _addresses(*, once: bool) -> tuple[str, str]:
    """The default ports if they are free, for they are shorter to type."""
    coap, http = (0, 0) if once else (_free(socket.SOCK_DGRAM, 5683), _free(socket.SOCK_STREAM, 8480))
    return f"{HOST}:{coap}", f"{HOST}:{http}"


def _free(kind: socket.SocketKind, port: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return 0
    return port


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP cancel this task, so that the node and the directory do not stay behind."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, this.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
