"""The event loop that a node runs on: uvloop's where it is installed, else the one of the standard library.

The one file that knows uvloop (the extra `fast`).  A loop is asked for nothing that only one of the two has: of
uvloop's, a handle may have no when(), transports are no asyncio.Transport to isinstance(), and one that
connection_made() pauses reads all the same.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from waypost.errors import ConfigError

Wanted = Literal["auto", "asyncio", "uvloop"]


def maker(wanted: Wanted) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop.  Raises ConfigError for one that is not there."""
    if wanted == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if wanted == "auto":
            return asyncio.new_event_loop
        raise ConfigError("loop: uvloop is not there", hint="pip install 'waypost[fast]'") from None
    return uvloop.new_event_loop


def kind_of(loop: asyncio.AbstractEventLoop) -> str:
    """As it is called in the configuration."""
    return "uvloop" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"
