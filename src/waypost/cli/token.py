"""The verbs that give, list and revoke tokens."""

import click
from msgspec import to_builtins

from waypost.cli.evict import Duration
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, note, output_option, rows
from waypost.cli.reports import TokenRevoked
from waypost.identity import ROLES

COLUMNS = ("id", "name", "roles", "join", "actions", "sectors", "expires", "used")


@click.group(no_args_is_help=False)
def token() -> None:
    """Give, list and revoke tokens: by them programs show who they are, or join."""


@token.command()
@click.argument("name")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, help="What it has in the policy.")
@click.option("--expires", "expires_s", type=Duration(), help="As in 12h or 30d. [90d; with --join 1h]")
@click.option("--scope", "scopes", multiple=True, metavar="ACTION|sector=PATTERN", help="All it may do of what it may.")
@click.option("--join", is_flag=True, help="To join with, once: NAME is whom it certifies, as in node-2 or lamp-*.")
@click.option("--san", "hosts", multiple=True, help="With --join: where the peer may be reached.")
@node_option
@output_option
def create(
    name: str,
    roles: tuple[str, ...],
    expires_s: int | None,
    scopes: tuple[str, ...],
    join: bool,
    hosts: tuple[str, ...],
    at: Place,
    output: str,
) -> None:
    """Give a token.  It is shown this once, and stored as a hash.

    waypost token create dashboard --role reader --expires 30d --scope look-up --scope sector=floor-1

    waypost token create node-2 --role peer --join
    """
    if join and not roles:
        raise click.UsageError("with --join, say as what: --role peer or --role device")
    sectors = tuple(scope.removeprefix("sector=") for scope in scopes if scope.startswith("sector="))
    actions = tuple(scope for scope in scopes if not scope.startswith("sector="))
    with at.client() as node:
        given = node.create_token(
            name, roles=roles, expires_s=expires_s, actions=actions, sectors=sectors, join=join, hosts=hosts
        )
    emit(given, output, given.token)
    if output == "table":
        note(f"{given.id}, until {given.expires}; " + ("for one to join with" if join else "shown this once"))


@token.command("list")
@node_option
@output_option
def list_(at: Place, output: str) -> None:
    """List the tokens that were given and have not expired."""
    with at.client() as node:
        items = to_builtins(node.tokens())
    emit(items, output, rows([item | _joined(item) for item in items], COLUMNS))


def _joined(item: dict[str, object]) -> dict[str, str]:
    names = ("roles", "actions", "sectors")
    return {name: " ".join(part) for name in names if isinstance(part := item[name], list | tuple)}


@token.command()
@click.argument("id")
@node_option
@output_option
def revoke(id: str, at: Place, output: str) -> None:
    """Make the token of this ID useless, now and for all that is open with it."""
    with at.client() as node:
        node.revoke_token(id)
    emit(TokenRevoked(id), output, fields({"revoked": id}))
