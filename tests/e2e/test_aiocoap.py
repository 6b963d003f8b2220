"""The directory as aiocoap's library sees it, with its own registration client."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiocoap
import pytest
from aiocoap.resource import Resource, Site, WKCResource
from aiocoap.resourcedirectory.client.register import Registerer
from aiocoap.util.linkformat import Link, LinkFormat, parse
from running import Node, running

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
        site = Site()
        site.add_resource([".well-known", "core"], WKCResource(site.get_resources_as_linkheader))
        site.add_resource(["temp"], Temperature())
        device = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", 0))
        parameters = {"ep": "thermometer", "base": "coap://thermometer.example.com"}
        registerer = Registerer(device, rd=node.coap, lt=60, registration_parameters=parameters)
        async with client() as context:
            lookup = f"{node.coap}/rd-lookup/res?ep=thermometer&rt=temperature"
            found = await until(context, lookup, "coap://thermometer.example.com/temp")
            assert registerer.state == "registered"
            assert found.count("<") == 1
            await registerer.shutdown()
            assert await get(context, lookup) == ""
        await device.shutdown()

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
