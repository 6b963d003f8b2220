"""The directory as aiocoap's library sees it, with its own registration client."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import aiocoap
import pytest
from aiocoap.resource import Resource, Site, WKCResource
from aiocoap.resourcedirectory.client.register import Registerer
from aiocoap.util.linkformat import Link, LinkFormat, parse
from running import HOST, Node, running

WAIT_S = 20.0


class Temperature(Resource):  # type: ignore[misc]
    rt = "temperature"

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=b"21.5")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "node") as node:
        yield node


@asynccontextmanager
async def client() -> AsyncIterator[aiocoap.Context]:
    context = await aiocoap.Context.create_client_context()
    try:
        yield context
    finally:
        await context.shutdown()


async def get(context: aiocoap.Context, uri: str) -> str:
    answer = await context.request(aiocoap.Message(code=aiocoap.GET, uri=uri)).response_raising
    body: bytes = answer.payload
    return body.decode()


async def until(context: aiocoap.Context, uri: str, wanted: str) -> str:
    """Ask until the answer contains `wanted`."""
    async with asyncio.timeout(WAIT_S):
        while wanted not in (found := await get(context, uri)):
            await asyncio.sleep(0.01)
    return found


def test_its_registerer_discovers_registers_and_removes(node: Node) -> None:
    """RFC 9176, 4.3, 5 and 5.3.2, as another implementation reads them."""

    async def story() -> None:
        async with thermometer() as device, client() as context:
            parameters = {"ep": "thermometer", "base": "coap://thermometer.example.com"}
            registerer = Registerer(device, rd=node.coap, lt=60, registration_parameters=parameters)
            lookup = f"{node.coap}/rd-lookup/res?ep=thermometer&rt=temperature"
            found = await until(context, lookup, "coap://thermometer.example.com/temp")
            assert registerer.state == "registered"
            assert found.count("<") == 1
            await registerer.shutdown()
            assert await get(context, lookup) == ""

    asyncio.run(story())


@asynccontextmanager
async def thermometer() -> AsyncIterator[aiocoap.Context]:
    """A device on a socket of its own, which serves and asks."""
    site = Site()
    site.add_resource([".well-known", "core"], WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["temp"], Temperature())
    device = await aiocoap.Context.create_server_context(site, bind=(HOST, 0))
    try:
        yield device
    finally:
        await device.shutdown()


def remaining(node: Node, ep: str) -> float:
    """Seconds of its lifetime; less than none if it is not there."""
    with urlopen(f"{node.http}/v1/endpoints?ep={ep}", timeout=WAIT_S) as answer:
        return max((entry["expires_in"] for entry in json.load(answer)["endpoints"]), default=-1.0)


def test_its_registerer_renews_before_the_lifetime_ends_and_registers_again_when_forgotten(node: Node) -> None:
    """RFC 9176, 5.3.1: 2.04 until the registration is removed under its hands, then 4.04 and a new location."""

    async def story() -> None:
        async with thermometer() as device, client() as context:
            parameters = {"ep": "short", "base": "coap://short.example.com"}
            registerer = Registerer(device, rd=node.coap, lt=2, registration_parameters=parameters)
            lookup = f"{node.coap}/rd-lookup/ep?ep=short"
            place = (await until(context, lookup, "short")).partition(">")[0].lstrip("<")
            async with asyncio.timeout(WAIT_S):
                before = await asyncio.to_thread(remaining, node, "short")
                while (after := await asyncio.to_thread(remaining, node, "short")) <= before:
                    before = after
            assert place in await get(context, lookup)
            await context.request(aiocoap.Message(code=aiocoap.DELETE, uri=node.coap + place)).response_raising
            assert place not in await until(context, lookup, "short")
            await registerer.shutdown()

    asyncio.run(story())


def test_its_registerer_comes_back_when_it_is_told_to(tmp_path: Path) -> None:
    """RFC 7252, 5.9.3.4: 5.03 with Max-Age."""

    async def story(node: Node) -> None:
        async with thermometer() as device, client() as context:
            crowd = [
                Registerer(
                    device, rd=node.coap, registration_parameters={"ep": f"crowd-{number}", "base": "coap://crowd"}
                )
                for number in range(3)
            ]
            for number in range(3):
                await until(context, f"{node.coap}/rd-lookup/ep?ep=crowd-*", f"crowd-{number}")
            for each in crowd:
                await each.shutdown()

    settings = {"rd__registrations_burst": 1, "rd__registrations_per_second": 1}
    with running(tmp_path / "busy", **settings) as node:
        asyncio.run(story(node))


def test_its_device_registers_simply(node: Node) -> None:
    """RFC 9176, 5.1: one request, sent from the socket that serves the links."""

    async def story() -> None:
        async with thermometer() as device, client() as context:
            uri = f"{node.coap}/.well-known/rd?ep=simple&lt=600"
            answer = await device.request(aiocoap.Message(code=aiocoap.POST, uri=uri)).response_raising
            assert (answer.code, answer.opt.location_path) == (aiocoap.CHANGED, ())
            assert "/temp>" in await get(context, f"{node.coap}/rd-lookup/res?ep=simple&rt=temperature")

    asyncio.run(story())


def test_its_parser_reads_a_thousand_links_back(node: Node) -> None:
    """RFC 6690 and RFC 7959: quotes, spaces, semicolons and letters beyond ASCII come back as they went."""
    titles = [
        'a "quoted" word',
        "semi;colon, comma",
        "Grüße",
        "plain",
    ]  # it does not write backslashes as they should be
    links = [Link(f"/many/{number}", rt="many", title=titles[number % 4]) for number in range(1000)]

    async def story() -> None:
        async with client() as context:
            uri = f"{node.coap}/rd?ep=many&base=coap://many.example.com"
            payload = str(LinkFormat(links)).encode()
            message = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload, content_format=40)
            assert (await context.request(message).response_raising).code == aiocoap.CREATED
            found = parse(await get(context, f"{node.coap}/rd-lookup/res?ep=many"))
        assert [(link.href, link.title, link.rt) for link in found.links] == [
            (f"coap://many.example.com/many/{number}", titles[number % 4], ["many"]) for number in range(1000)
        ]

    asyncio.run(story())
