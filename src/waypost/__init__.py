"""Waypost: a registry without a centre.  The public API; nothing is imported before it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from waypost.api.client import Client
    from waypost.api.schemas import Endpoint, Event, Eviction, Exported, Imported, Link, NodeStatus, Registered
    from waypost.api.sync import SyncClient
    from waypost.errors import (
        ConfigError,
        RemoteError,
        StateError,
        StoreError,
        UnreachableError,
        WaypostError,
        WireError,
    )
    from waypost.node import Node

__version__ = "0.1.0.dev0"

__all__ = [
    "Client",
    "ConfigError",
    "Endpoint",
    "Event",
    "Eviction",
    "Exported",
    "Imported",
    "Link",
    "Node",
    "NodeStatus",
    "Registered",
    "RemoteError",
    "StateError",
    "StoreError",
    "SyncClient",
    "UnreachableError",
    "WaypostError",
    "WireError",
]

_HOMES: Final = {
    "Client": "waypost.api.client",
    "Endpoint": "waypost.api.schemas",
    "Event": "waypost.api.schemas",
    "Eviction": "waypost.api.schemas",
    "Exported": "waypost.api.schemas",
    "Imported": "waypost.api.schemas",
    "Link": "waypost.api.schemas",
    "Node": "waypost.node",
    "NodeStatus": "waypost.api.schemas",
    "Registered": "waypost.api.schemas",
    "SyncClient": "waypost.api.sync",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "waypost.errors")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
