"""The verb that shows what a node does: a small building of devices, over real sockets."""

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
from waypost.cli import reports
from waypost.cli.building import DEVICES, FLOORS, LIFETIME, Device
from waypost.cli.output import emit, output_option
from waypost.cli.process import NodeProcess, waypost
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
    """Show a node at work in a small building.

    Devices register, are found, leave; then the node is killed and has lost nothing.

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
        self._scenes: list[reports.Story] = []

    def tell(self, scene: reports.Story, text: str) -> None:
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
        node = NodeProcess(Path(directory), *_addresses(once=once))
        try:
            await node.start()
            text = f"One node is up.      coap://{node.coap}   {node.url}"
            story.tell(reports.Started(node.name, node.coap, node.http), text)
            async with AsyncExitStack() as open_clients:
                people = [
                    Inhabitant(device, await open_clients.enter_async_context(_client(node))) for device in DEVICES
                ]
                await _live(story, node, people)
                _say_what_to_type(story, node, once=once)
                while not once:
                    await asyncio.sleep(RENEW_EVERY_S)
                    for person in people:
                        await person.stay()
        except asyncio.CancelledError:
            if once:
                raise KeyboardInterrupt from None
        finally:
            await node.stop()


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
    story.tell(reports.Registered(len(people), took_ms), text)

    await _ask_at_three_doors(story, node, people)

    leaving = next(person for person in people if person.device.ep == "lamp-3")
    await leaving.leave()
    people.remove(leaving)
    left = await _endpoints(node)
    expect(set(left) == {person.id for person in people}, "the one who left is still there, or another is gone")
    story.tell(reports.Left("lamp-3", len(left)), f"\nlamp-3 left; {len(left)} devices stay.")

    renewed = people[0]
    await renewed.renew(RENEWED_S)
    before = await _endpoints(node)
    expect(before[renewed.id].lt == RENEWED_S, "the new lifetime did not arrive")
    text = f"{renewed.device.ep} renewed its registration, now for {RENEWED_S} s."
    story.tell(reports.Renewed(renewed.device.ep, RENEWED_S), text)

    await node.kill()
    await node.start()
    after = await _endpoints(node)
    expect(_lasting(after) == _lasting(before), "the node lost or changed what it had acknowledged")
    text = f"The node was killed and started again: {len(after)} devices, same locations, nothing lost."
    story.tell(reports.Restarted(len(after), lost=0), text)


async def _ask_at_three_doors(story: Story, node: NodeProcess, people: list[Inhabitant]) -> None:
    async with _client(node) as client:
        answer = await client.request(Code.GET, ("rd-lookup", "res"), QUESTION)
    by_coap = [link.href for link in parse(answer.payload)]
    by_http = await asyncio.to_thread(_links, node)
    by_verb = [link["href"] for link in json.loads(await waypost("find", *QUESTION, "--url", node.url, "-o", "json"))]
    expect(len(by_coap) == 1, f"one thermometer is on floor 2, but CoAP found {by_coap}")
    expect(by_coap == by_http == by_verb, f"the doors disagree: {by_coap}, {by_http}, {by_verb}")
    text = (
        f"\nWhere is the temperature of floor 2?      {' and '.join(QUESTION)}\n"
        f"  by CoAP       {by_coap[0]}\n  by HTTP       {by_http[0]}\n  by `waypost`  {by_verb[0]}"
    )
    story.tell(reports.Found(QUESTION, tuple(by_coap), tuple(by_http), tuple(by_verb)), text)


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
    story.tell(reports.Commands(tuple(commands)), "\n".join(text))


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
