"""The verbs that move registrations from node to node: export and import."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click
import msgspec

from waypost.api.schemas import Exported, Imported, LineError
from waypost.api.sync import SyncClient
from waypost.cli.batches import batches, read_lines, read_link_format
from waypost.cli.ending import Exit
from waypost.cli.find import criterion
from waypost.cli.names import complete_criterion
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, note, output_option, printable
from waypost.cli.progress import progress
from waypost.cli.reports import Taken, Written
from waypost.coap import links as linkformat
from waypost.errors import UnreachableError, WireError

TIMEOUT_S: Final = 60.0  # a batch waits while the disk is behind
ERRORS_MAX: Final = 1_000  # told; more are counted
FORMATS: Final = ("jsonl", "link-format")
FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)


@click.command()
@click.argument("file", metavar="[FILE|-]", default="-")
@click.argument("criteria", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_criterion)
@FORMAT
@node_option
@output_option
def export(file: str, criteria: tuple[str, ...], form: str, at: Place, output: str) -> None:
    """Write registrations to FILE, or to standard output: all, or those that meet the criteria.

    A line of JSON for each has all there is to move it to another node with `waypost import`.  Link-format is one
    document: each endpoint as an endpoint lookup shows it, then its links as a resource lookup does.
    """
    if "=" in file:
        file, criteria = "-", (file, *criteria)
    wanted = [criterion(text) for text in criteria]
    number = 0
    with at.client(TIMEOUT_S) as node:
        total = None if wanted else node.status().gauges.get("registrations")
        with _whole(file) as target, progress("exporting", total) as step:
            for number, entry in enumerate(node.export(wanted), 1):
                target.write(
                    msgspec.json.encode(entry) + b"\n" if form == "jsonl" else _links(entry, first=number == 1)
                )
                step(1)
            if form == "link-format" and number:
                target.write(b"\n")
    if file != "-":
        emit(Written(number, file), output)


def _links(entry: Exported, *, first: bool) -> bytes:
    own: list[tuple[str, str | None]] = [("ep", entry.ep), ("base", entry.base), ("lt", str(entry.lt))]
    if entry.d is not None:
        own.insert(1, ("d", entry.d))
    found = [linkformat.Link(f"/reg/{entry.id}", (*own, *entry.attributes, ("rt", "core.rd-ep")))]
    found += (_resolved(link, entry.base) for link in linkformat.parse(entry.links.encode()))
    return (b"" if first else b",") + linkformat.serialise(found)


def _resolved(link: linkformat.Link, base: str) -> linkformat.Link:
    attributes = (
        (name, linkformat.resolve(base, value or "") if name == "anchor" else value) for name, value in link.attributes
    )
    return linkformat.Link(linkformat.resolve(base, link.href), tuple(attributes))


@contextmanager
def _whole(file: str) -> Iterator[BinaryIO]:
    """Standard output, or a file that has its name only once it is whole."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists() and not path.is_file():  # a pipe, a terminal
        with path.open("wb") as target:
            yield target
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as target:
            yield target
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only say what would happen, to each line by itself.")
@FORMAT
@node_option
@output_option
def take(files: tuple[BinaryIO, ...], dry_run: bool, form: str, at: Place, output: str) -> Exit:
    """Register what FILE holds: lines of `waypost export`, or link-format that a directory printed.

    A name that is registered already stays as it is, so an import may be repeated.  A line that is wrong is named and
    keeps no other out.  Exit code 2 if there was one.

    Link-format is a directory's endpoint lookup and its resource lookup, in one file or several; a resource belongs to
    the endpoint whose base it is at.
    """
    total = Imported(0, 0, 0, ())
    refused = 0
    with at.client(TIMEOUT_S) as node:
        node.status()
        with progress("importing", None) as step:
            try:
                for result, errors in _batches(node, files, form, dry_run=dry_run):
                    total = Imported(
                        total.imported + result.imported,
                        total.kept + result.kept,
                        total.moved + result.moved,
                        (total.errors + errors)[:ERRORS_MAX],
                    )
                    for error in errors[: max(0, ERRORS_MAX - refused)]:
                        note(f"line {error.line}: {printable(error.detail)}")
                    refused += len(errors)
                    step(result.imported + result.kept + len(errors))
            except UnreachableError as error:
                done = f"{total.imported + total.kept} are done; import again: what is there stays as it is"
                raise UnreachableError(str(error), hint=done) from error
    report = Taken(total.imported, total.kept, total.moved, total.errors, refused, dry_run)
    shown = {name: value for name, value in msgspec.to_builtins(report).items() if name != "errors"}
    emit(report, output, fields(shown))
    return Exit.USAGE if refused else Exit.OK


def _batches(
    node: SyncClient, files: tuple[BinaryIO, ...], form: str, *, dry_run: bool
) -> Iterator[tuple[Imported, tuple[LineError, ...]]]:
    """What became of each batch, and its errors with the numbers of the file's lines."""
    try:
        read = [read_lines(file) for file in files] if form == "jsonl" else [read_link_format(files)]
        for lines in read:
            for batch in batches(lines):
                result = node.take(b"\n".join(batch.lines), dry_run=dry_run) if batch.lines else Imported(0, 0, 0, ())
                own = tuple(LineError(batch.numbers[error.line - 1], error.detail) for error in result.errors)
                yield result, tuple(sorted(batch.errors + own, key=lambda error: error.line))
    except WireError as error:
        raise click.BadParameter(f"{error}; nothing was imported", param_hint="FILE") from error
