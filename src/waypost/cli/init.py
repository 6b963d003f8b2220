"""The verb that prepares a state directory without running a node."""

import os
from pathlib import Path
from typing import Any

import click

from waypost.cli.config import chosen, config_options
from waypost.cli.output import emit, fields, note, output_option
from waypost.cli.reports import Prepared
from waypost.config.settling import build, settle


@click.command()
@config_options
@output_option
def init(file: Path | None, output: str, **options: Any) -> None:
    """Make the keys and the policy of a state directory, as the first `waypost run` does.

    The operator's key is shown once and stored nowhere: keep it offline.  What is there already stays as it is.
    """
    from waypost.config.opening import open_keys
    from waypost.storage.policy import open_policy

    config = build(settle(chosen(options), os.environ, file).values())
    keyring = open_keys(config)
    open_policy(config.dir)
    root = keyring.root
    key = None if keyring.operator_key is None else keyring.operator_key.decode()
    report = Prepared(str(config.dir), keyring.name, root.fingerprint, root.domain, key)
    emit(report, output, fields({"state": str(config.dir), "node key": keyring.name, "root": root.fingerprint}))
    if output == "table":
        note(farewell(key) if key else "the keys were made before; nothing was changed")


def farewell(operator_key: str) -> str:
    """For people, at the one start that has it."""
    return (
        "the operator's key, shown this once and stored nowhere: keep it offline, in two places.\n"
        "It signs which roots are trusted (waypost ca rotate, trust, renew); running a node does not need it.\n\n"
        + operator_key
    )
