"""The verbs that register, renew and unregister (RFC 9176, 5)."""

from itertools import islice
from typing import BinaryIO

import click
from msgspec import to_builtins

from waypost.api.schemas import LIFETIME_DEFAULT, LIFETIME_MAX, Link
from waypost.api.sync import SyncClient
from waypost.cli.names import complete_endpoint
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, output_option
from waypost.cli.reports import Unregistered
from waypost.coap.links import parse
from waypost.errors import RemoteError, StateError, WireError

LIFETIME = click.IntRange(1, LIFETIME_MAX)
ENDPOINT = click.argument("endpoint", metavar="ID|NAME", shell_complete=complete_endpoint)
ATTRIBUTE = click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME[=VALUE]", help="Of the endpoint, as in et=lamp."
)


@click.command()
@click.argument("ep")
@click.option("--base", required=True, help="What links are relative to, as in coap://[2001:db8::1].")
@click.option("--link", "texts", multiple=True, metavar="LINK", help="In link-format, as in '</t>;rt=\"temperature\"'.")
@click.option("--file", type=click.File("rb"), help="Read links from this file; - is standard input.")
@click.option("--lt", type=LIFETIME, default=LIFETIME_DEFAULT, show_default=True, help="Lifetime in seconds.")
@click.option("--d", "--sector", "d", help="The sector it is in.")
@ATTRIBUTE
@node_option
@output_option
def register(
    ep: str,
    base: str,
    texts: tuple[str, ...],
    file: BinaryIO | None,
    lt: int,
    d: str | None,
    attributes: tuple[str, ...],
    at: Place,
    output: str,
) -> None:
    """Register the endpoint EP with its links.

    If it was registered already it keeps its id, and the new links replace the old.
    """
    links = [link for text in texts for link in _links(text.encode("utf-8", "surrogateescape"), "--link")]
    if file is not None:
        links += _links(file.read(), "--file")
    with at.client() as node:
        registered = node.register(ep, base=base, links=links, lt=lt, d=d, attributes=_attributes(attributes))
    verb = "registered" if registered.created else "replaced"
    emit(registered, output, fields({verb: ep, "id": registered.id, "location": f"/reg/{registered.id}"}))


@click.command()
@ENDPOINT
@click.option("--lt", type=LIFETIME, help="A new lifetime in seconds.")
@click.option("--base", help="A new base.")
@ATTRIBUTE
@node_option
@output_option
def renew(endpoint: str, lt: int | None, base: str | None, attributes: tuple[str, ...], at: Place, output: str) -> None:
    """Renew a registration, and change what is given."""
    with at.client() as node:
        renewed = node.renew(id_of(node, endpoint), lt=lt, base=base, attributes=_attributes(attributes))
    shown = {name: value for name, value in to_builtins(renewed).items() if name != "links"}
    emit(renewed, output, fields(shown))


@click.command()
@ENDPOINT
@node_option
@output_option
def unregister(endpoint: str, at: Place, output: str) -> None:
    """Remove a registration."""
    with at.client() as node:
        id = id_of(node, endpoint)
        node.unregister(id)
    emit(Unregistered(id), output, fields({"removed": endpoint}))


def id_of(node: SyncClient, endpoint: str, d: str | None = None) -> str:
    """The id of the one endpoint with that name or id, in that sector or any."""
    if len(endpoint) == 36 and endpoint.count("-") == 4:  # a UUID's form; the node knows better than we
        return endpoint
    if endpoint.endswith("*"):
        raise click.BadArgumentUsage("a name with a star may mean many endpoints; find them with `waypost find`")
    criteria = [("ep", endpoint)] if d is None else [("ep", endpoint), ("d", d)]
    found = list(islice(node.find("endpoints", criteria, count=2), 2))
    if not found:
        raise RemoteError(f"no endpoint has the name {endpoint!r}", code=404)
    if len(found) > 1:
        raise StateError(
            f"several endpoints have the name {endpoint!r}", hint=f"waypost find --endpoints ep={endpoint}"
        )
    return found[0].id


def _links(document: bytes, source: str) -> list[Link]:
    try:
        links = parse(document)
    except WireError as error:
        raise click.BadParameter(str(error), param_hint=source) from error
    return [
        Link(
            link.href,
            next((value for name, value in link.attributes if name == "anchor"), None),
            tuple(pair for pair in link.attributes if pair[0] != "anchor"),
        )
        for link in links
    ]


def _attributes(texts: tuple[str, ...]) -> list[tuple[str, str | None]]:
    pairs = (text.partition("=") for text in texts)
    return [(name, value if equals else None) for name, equals, value in pairs]
