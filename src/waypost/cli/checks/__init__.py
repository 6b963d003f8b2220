"""What `waypost doctor` looks at: a file for each group of checks, and here what they share.

A check is a plain function of what it needs (a directory, a moment, a file of the system) that returns what it found.
None of them changes anything; what one would have to wait for has a deadline.
"""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Final

from waypost.cli.reports import Finding
from waypost.errors import WaypostError

DEADLINE_S: Final = 15.0  # for one check: a file system that is gone answers never

Check = Callable[[], Sequence[Finding]]


def fine(name: str, sentence: str) -> Finding:
    return Finding(name, "ok", sentence, None)


def warn(name: str, sentence: str, hint: str | None = None) -> Finding:
    return Finding(name, "warn", sentence, hint)


def fail(name: str, sentence: str, hint: str | None = None) -> Finding:
    return Finding(name, "fail", sentence, hint)


def skip(name: str, reason: str) -> Finding:
    return Finding(name, "skipped", reason, None)


def carry_out(name: str, check: Check, deadline_s: float = DEADLINE_S) -> Sequence[Finding]:
    """What `check` found; that it failed, or took longer than may be, is a finding too."""
    found: list[Finding] = []
    bugs: list[BaseException] = []

    def work() -> None:
        try:
            found.extend(check())
        except WaypostError as error:
            found.append(fail(name, str(error), error.hint))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            found.append(fail(name, where + os.strerror(error.errno or 0).lower()))
        except Exception as error:  # a bug of ours, raised again below
            bugs.append(error)

    thread = threading.Thread(target=work, name=name, daemon=True)  # one that hangs keeps nobody from ending
    thread.start()
    thread.join(deadline_s)
    if bugs:
        raise bugs[0]
    if thread.is_alive():
        return [fail(name, f"no result within {deadline_s:.0f} s", "does a file system or a device hang?")]
    return found
