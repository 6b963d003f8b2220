"""The verb by which a node or a device gets its certificate."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from waypost.cli.keys import directory_of, wall_ms, write_new
from waypost.cli.output import emit, fields, output_option
from waypost.cli.reports import Joined
from waypost.errors import StateError

if TYPE_CHECKING:
    from waypost.api.enrolling import Enrolled

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("token")
@click.argument("url")
@click.option("--name", help="As whom, where the token is for several names.")
@click.option("--san", "hosts", multiple=True, help="Where a node will be reached besides the loopback.")
@click.option("--dir", "directory", envvar="WAYPOST_DIR", type=FOLDER, help="A node's state directory.")
@click.option("--out", type=FOLDER, help="In place of --dir: a new folder for a device's key and certificate.")
@click.option("--replace", is_flag=True, help="Replace the state directory's own authority; it stays in keys.before.")
@output_option
def join(
    token: str,
    url: str,
    name: str | None,
    hosts: tuple[str, ...],
    directory: Path | None,
    out: Path | None,
    replace: bool,
    output: str,
) -> None:
    """Get a certificate for a TOKEN, from the node at URL that gave it.

    A node, with the role peer: its keys go into the state directory, and `waypost run` uses them.  A device: its key,
    certificate and root go into a folder.  TOKEN - is read from standard input, which no list of processes shows.

    waypost join wpj_… https://192.0.2.1:8481
    """
    text = sys.stdin.readline(1_024).strip() if token == "-" else token  # noqa: S105
    if out is None:
        state = directory_of(directory)
        enrolled = _as_node(text, url, state, name, hosts, replace=replace)
    else:
        enrolled = _as_device(text, url, out, name, hosts)
    folder = str(out or state)
    emit(
        Joined(enrolled.name, enrolled.role, folder, enrolled.root.domain),
        output,
        fields({"joined as": enrolled.name, "role": enrolled.role, "in": folder}),
    )


def _as_node(
    text: str, url: str, state: Path, name: str | None, hosts: tuple[str, ...], *, replace: bool
) -> "Enrolled":
    from waypost.api.enrolling import enrol
    from waypost.identity.keys import make_p256, read_private, write_private
    from waypost.storage.joining import replace_keys, reserved
    from waypost.storage.keyring import FOLDER, LOOPBACK
    from waypost.storage.network import NAME

    named = tuple(dict.fromkeys((*LOOPBACK, *hosts)))
    with reserved(state, replace=replace):
        own = state / FOLDER / "tls.pem"
        key = read_private(own.read_bytes()) if own.exists() else make_p256()  # the network may know the node by it
        enrolled = enrol(text, url, key, name=name, role="peer", hosts=named, wall_ms=wall_ms())
        files = {
            "tls.pem": write_private(key),
            "tls.crt": enrolled.certificate.pem,
            "ca.crt": enrolled.root.pem,
            "trust.json": enrolled.trust,
            "operator.pub": enrolled.operator,
            NAME: enrolled.network,
        }
        replace_keys(state, files)
    return enrolled


def _as_device(text: str, url: str, folder: Path, name: str | None, hosts: tuple[str, ...]) -> "Enrolled":
    """The whole folder, 0700, or none."""
    from waypost.api.enrolling import enrol
    from waypost.identity.keys import make_p256, write_private

    if folder.exists():
        raise StateError(f"{folder} is there already", hint="choose a folder that is not")
    key = make_p256()
    enrolled = enrol(text, url, key, name=name, hosts=hosts, wall_ms=wall_ms())
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700, parents=True)
    name = enrolled.name
    files = {f"{name}.pem": write_private(key), f"{name}.crt": enrolled.certificate.pem, "ca.crt": enrolled.root.pem}
    write_new({new / file: data for file, data in files.items()})
    new.rename(folder)
    return enrolled
