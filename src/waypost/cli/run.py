"""The verb that is the node itself, in the foreground."""

import asyncio
import gc
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from waypost import __version__
from waypost.cli.config import chosen, config_options
from waypost.cli.ending import color
from waypost.cli.init import farewell
from waypost.cli.output import emit, note, output_option
from waypost.cli.reports import Ready
from waypost.config import Config, Log
from waypost.config.settling import build, settle
from waypost.errors import ConfigError, WaypostError
from waypost.runtime.loop import kind_of, maker

if TYPE_CHECKING:
    from waypost.node import Node


@click.command()
@config_options
@output_option
def run(file: Path | None, output: str, **options: Any) -> None:
    """Run a node until SIGINT or SIGTERM.

    Standard output gets one line of JSON when every listener is up.  With -o json or jsonl standard error is JSON
    lines too.
    """
    settings = settle(chosen(options), os.environ, file)
    if output != "table" and settings["log.format"].source == "default":
        settings["log.format"] = replace(settings["log.format"], value="json", source="-o")
    config = build(settings.values())
    log_to_standard_error(config.log)
    try:
        with asyncio.Runner(loop_factory=maker(config.loop)) as runner:
            runner.run(serve(config))
    except ConfigError as error:
        # The listener that could not be opened names its address; say which key that is.
        raise ConfigError(
            str(error),
            hint=error.hint or "choose others with --coap-listen, --coaps-listen, --http-listen, --peers-listen",
        ) from error


async def serve(config: Config) -> None:
    """Until the first signal, which stops in order; a second one ends the process at once.

    SIGHUP makes the node read its policy anew.
    """
    from waypost.config.opening import open_keys
    from waypost.node import Node, settle_memory

    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        this.cancel()

    hangup = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    operator_key = open_keys(config).operator_key
    if operator_key is not None:  # before anything can go wrong
        show(operator_key.decode(), config.log)
    gc.disable()  # until all is restored: a start makes no garbage to speak of, and the collector would look for it
    try:
        async with Node(config) as node:
            settle_memory()
            if config.log.format == "human":
                note(banner(config, node.name, node.listeners, kind_of(loop)))
            token = await node.first_token()
            if token is not None:
                show_token(token, config.log)
            emit(Ready(True, node.name, node.listeners), "jsonl")
            sys.stdout.flush()
            rereading = asyncio.create_task(reread(node, hangup))
            try:
                await node.wait()
            finally:
                rereading.cancel()
    except asyncio.CancelledError:
        if config.log.format == "human":
            note("stopped; everything acknowledged is on disk")


async def reread(node: "Node", hangup: asyncio.Event) -> None:
    """Take the policy file each time, for as long as the node runs."""
    import logging

    log = logging.getLogger("waypost.policy")
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await node.take_policy()
        except WaypostError as error:
            # The last warning is in the status, for more eyes than the policy is.
            log.warning("the policy file is wrong, and nothing has changed: `waypost policy check` says why")
            log.info("the policy file is wrong: %s", error)
        else:
            log.info("the policy was read anew")


def show(operator_key: str, log: Log) -> None:
    """Once, on standard error and in no log."""
    if log.format == "human":
        note(farewell(operator_key))
    else:
        line = {"event": "the operator's key: keep it offline", "level": "warning", "operator_key": operator_key}
        note(json.dumps(line))


def show_token(token: str, log: Log) -> None:
    """As the operator's key."""
    if log.format == "human":
        note(f"an administrator's token, shown this once and stored as a hash (waypost token list):\n\n{token}\n")
    else:
        note(json.dumps({"event": "an administrator's token: shown once", "level": "warning", "admin_token": token}))


def banner(config: Config, name: str, listeners: dict[str, str], loop: str) -> str:
    width = max(map(len, ("state", *listeners))) + 1
    lines = [f"waypost {__version__} on {loop}, node {name}", f"  {'state':<{width}}{config.dir}"]
    lines += [f"  {listener:<{width}}{address}" for listener, address in listeners.items()]
    lines.append("  who may do what: policy.toml there; who opens the socket waypost.sock is the operator")
    return "\n".join(lines)


def log_to_standard_error(log: Log) -> None:
    import logging

    import structlog

    from waypost.identity.token import redacted

    steps: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor]
    if log.format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True)]
    else:
        colors = sys.stderr.isatty() and color() is None
        # A traceback without the values of variables, which the renderer would show: some are secrets.
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, exception_formatter=plain)]
    last.append(lambda _, __, line: redacted(str(line)))  # whatever the rest of the program has put there
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=steps, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.basicConfig(handlers=[handler], level=log.level.upper(), force=True)
