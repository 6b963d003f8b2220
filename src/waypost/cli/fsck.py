"""The verb that says whether the logs in a state directory are whole.

Source: notes on the ledger, 1 (fsck) and 5.
"""

from pathlib import Path

import click

from waypost.cli.ending import Exit
from waypost.cli.keys import directory_of, directory_option
from waypost.cli.output import emit, note, output_option, rows
from waypost.cli.reports import FoundLog

COLUMNS = ("log", "kind", "size", "entries read", "tiles read", "state")


@click.command()
@directory_option
@output_option
def fsck(directory: Path | None, output: str) -> Exit:
    """Check the log in a state directory, and its copies of others, entry by entry; the node may run.

    Roots are made anew from all entries and tiles, and compared with the signed heads.  Exit code 5 if something is
    damaged, which is named; a backup has it, and so have the nodes that mirror this log.
    """
    from waypost.storage.fsck import fsck as look

    state = directory_of(directory)
    found = [
        FoundLog(
            each.origin,
            not each.faults,
            each.size,
            each.entries,
            each.tiles,
            tuple(each.faults),
            each.more,
            each.is_own,
        )
        for each in look(state)
    ]
    lines = [
        {
            "log": each.origin,
            "kind": "own" if each.own else "mirror",
            "size": each.size,
            "entries read": each.entries,
            "tiles read": each.tiles,
            "state": "whole" if each.ok else "damaged",
        }
        for each in found
    ]
    emit(found, output, rows(lines, COLUMNS))
    if output == "table":
        if not found:
            note(f"{state} has no log yet")
        for each in found:
            for fault in each.faults:
                note(f"{each.origin}: {fault}")
            if each.more:
                note(f"{each.origin}: and {each.more} faults more")
    return Exit.OK if all(each.ok for each in found) else Exit.PROOF_FAILED
