"""The verb that looks for what is wrong with a node, its directory and its machine."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from waypost.cli.config import chosen, config_options
from waypost.cli.ending import Exit
from waypost.cli.output import emit, output_option, printable
from waypost.cli.reports import Finding
from waypost.config import Config
from waypost.config.settling import build, settle
from waypost.runtime.addresses import listen_address

if TYPE_CHECKING:
    from waypost.cli.checks import Check
    from waypost.cli.checks.running import Running
    from waypost.cli.node import Place
    from waypost.engine import Endpoint

COLORS: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": None}


@click.command()
@click.option("--url", envvar="WAYPOST_URL", show_envvar=True, help="The node. [its own socket, else http.listen]")
@click.option("--peer", help="Measure the path to this address and port, as in 192.0.2.7:5683.")
@config_options
@output_option
def doctor(url: str | None, peer: str | None, file: Path | None, output: str, **options: Any) -> Exit:
    """Look for what is wrong: with the machine, the state directory, and the node if it runs.

    Give it the options that the node has.  Nothing is changed.  Exit code 2 if something fails.
    """
    try:
        config = build(settle(chosen(options), os.environ, file).values())
        found = examine(config, place_of(config, url), None if peer is None else listen_address(peer))
    except PermissionError as error:
        hint = "ask as the owner of the state directory, or as root"
        found = [Finding("permissions", "fail", f"{error.filename}: permission denied", hint)]
    emit(found, output, "\n".join(map(line, found)))
    return Exit.USAGE if any(finding.state == "fail" for finding in found) else Exit.OK


def examine(config: Config, at: "Place", peer: "Endpoint | None" = None) -> Sequence[Finding]:
    """All that was found, check by check."""
    from waypost.cli.checks import carry_out
    from waypost.cli.checks.running import find

    running = find(config.dir, at)
    return [finding for name, check in _checks(config, running, peer) for finding in carry_out(name, check)]


def place_of(config: Config, url: str | None) -> "Place":
    """Where a node with this configuration is asked: at `url`, on its own socket, or at its first address for HTTP."""
    from waypost.cli.node import place
    from waypost.runtime.local import NAME

    if url is None and config.http.listen and not (config.dir / NAME).exists():
        url = f"http://{config.http.listen[0]}"
    return place(url, config.dir)


def line(finding: Finding) -> str:
    """For people."""
    state = click.style(f"{finding.state:<8}", fg=COLORS[finding.state])
    told = f"{state}{finding.name:<15} {printable(finding.sentence)}"
    return told if finding.hint is None else f"{told}\n{'':<24}hint: {printable(finding.hint)}"


def _checks(config: Config, running: "Running", peer: "Endpoint | None") -> "list[tuple[str, Check]]":
    from waypost.cli.checks import amplifying, disk, guarding, listening, machine, paths
    from waypost.cli.checks.logs import check_log
    from waypost.cli.checks.network import check_network
    from waypost.cli.checks.running import check_node
    from waypost.cli.keys import wall_ms

    here = config.dir
    outside = listening.is_reachable(config)
    return [
        ("node", lambda: check_node(running)),
        ("network", lambda: check_network(running)),
        ("log", lambda: check_log(running)),
        ("start", lambda: machine.check_start(here, running)),
        ("port", lambda: listening.check_ports(config, running)),
        ("reach", lambda: listening.check_reach(config)),
        ("ipv6", listening.check_ipv6),
        ("clock", lambda: machine.check_clock(here, wall_ms())),
        ("clock steps", lambda: machine.check_steps(here, running, wall_ms())),
        ("clock sync", machine.check_synchronized),
        ("permissions", lambda: guarding.check_permissions(here)),
        ("certificates", lambda: guarding.check_certificates(here, wall_ms())),
        ("secrets", lambda: guarding.check_secrets(here)),
        ("policy", lambda: guarding.check_policy(here)),
        ("disk sync", lambda: disk.check_sync(here)),
        ("disk space", lambda: disk.check_space(here)),
        ("file system", lambda: disk.check_file_system(here)),
        ("database", lambda: disk.check_database(here)),
        ("mtu", lambda: paths.check_interfaces(outside=outside)),
        ("path mtu", lambda: paths.check_path(peer)),
        ("loop", lambda: machine.check_loop(running)),
        ("open files", lambda: machine.check_files(running)),
        ("receive buffer", lambda: machine.check_receive_buffer(running)),
        ("amplification", lambda: amplifying.check_amplification(running.listeners)),
    ]
