"""How a command ends: every error becomes one sentence and one exit code, here and nowhere else."""

import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum

import click
from msgspec.json import encode

from waypost.cli.output import printable
from waypost.cli.reports import Error
from waypost.errors import (
    ConfigError,
    DeniedError,
    ProofError,
    RemoteError,
    StateError,
    StoreError,
    UnreachableError,
    WaypostError,
)


class Exit(IntEnum):
    OK = 0
    NOT_FOUND = 1
    USAGE = 2  # or configuration
    UNREACHABLE = 3
    DENIED = 4
    PROOF_FAILED = 5
    BUG = 70  # sysexits.h
    DISK = 74
    INTERRUPTED = 130  # as a shell shows SIGINT
    NO_READER = 141  # and SIGPIPE


def end(error: BaseException, *, as_json: bool) -> Exit:
    """Tell the error on standard error; returns the exit code.  A bug of ours comes with its traceback."""
    code = code_of(error)
    if code is Exit.BUG:
        traceback.print_exception(error)
    elif code is Exit.NO_READER:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
    elif code is not Exit.INTERRUPTED:
        _tell(error, code, as_json=as_json)
    return code


def _tell(error: BaseException, code: Exit, *, as_json: bool) -> None:
    from waypost.identity.token import redacted  # only when something is wrong

    sentence, hint = redacted(sentence_of(error)), hint_of(error)
    if as_json:
        click.echo(encode(Error(sentence, hint, code)), err=True)
        return
    click.echo(f"{click.style('error:', fg='red')} {printable(sentence)}", err=True, color=color())
    if hint:
        click.echo(f"hint: {hint}", err=True)


def code_of(error: BaseException) -> Exit:
    match error:
        case KeyboardInterrupt() | click.Abort():
            return Exit.INTERRUPTED
        case BrokenPipeError():
            return Exit.NO_READER
        case click.ClickException() | ConfigError() | StateError():
            return Exit.USAGE
        case DeniedError():
            return Exit.DENIED
        case ProofError():
            return Exit.PROOF_FAILED
        case UnreachableError():
            return Exit.UNREACHABLE
        case RemoteError(code=status):
            return code_of_status(status)
        case StoreError() | OSError():
            return Exit.DISK
        case _:
            return Exit.BUG


def code_of_status(status: int) -> Exit:
    """Of an HTTP answer that is an error (RFC 9110, 15.5)."""
    match status:
        case 404 | 410:
            return Exit.NOT_FOUND
        case 401 | 403:
            return Exit.DENIED
        case 408 | 429:
            return Exit.UNREACHABLE  # now, but not for ever
        case _ if 400 <= status < 500:
            return Exit.USAGE
        case _:
            return Exit.UNREACHABLE


def sentence_of(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def hint_of(error: BaseException) -> str | None:
    if isinstance(error, WaypostError):
        return error.hint
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.ctx.command_path} --help"
    return None


def wants_json(args: Sequence[str]) -> bool:
    """Whether -o asks for JSON; read by hand, for the line may be one that click could not read."""
    joined = " ".join(args)
    return any(f"{flag}json" in joined for flag in ("-o ", "-o", "--output ", "--output="))


def color() -> bool | None:
    """For click.echo: False where NO_COLOR is set (no-color.org), else None: as the terminal can."""
    return False if os.environ.get("NO_COLOR") else None
