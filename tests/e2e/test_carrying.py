"""A directory that all nodes of a network hold, of real nodes: found, watched, renewed and removed at any of them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from daemons import Daemon, Federation

from waypost import SyncClient

BASE: Final = "coap://192.0.2.1"
NODES: Final = 3
WITHIN_S: Final = 20.0


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    federation = Federation(tmp_path_factory.mktemp("nodes"), NODES, rd__carrier="mesh")
    try:
        asyncio.run(federation.found())
        yield federation
    finally:
        federation.end()


def client(daemon: Daemon) -> SyncClient:
    assert daemon.node is not None
    return SyncClient(daemon.node.http)


def names(daemon: Daemon) -> set[str]:
    with client(daemon) as at:
        return {endpoint.ep for endpoint in at.find("endpoints")}


def until_found(daemon: Daemon, wanted: set[str]) -> None:
    end = time.monotonic() + WITHIN_S
    while (found := names(daemon)) != wanted:
        assert time.monotonic() < end, f"{daemon.name} shows {found}"
        time.sleep(0.05)


def test_who_watches_one_node_is_told_of_what_registers_at_another(federation: Federation) -> None:
    with client(federation[1]) as here, client(federation[2]) as there, closing(there.watch()) as events:
        while next(events).event != "synced":
            pass
        registered = here.register("lamp", base=BASE)
        told = next(events)
        assert (told.event, told.ep) == ("put", "lamp")
        there.renew(registered.id)
        until_found(federation[3], {"lamp"})
        with client(federation[3]) as elsewhere:
            elsewhere.unregister(registered.id)
        while (told := next(events)).event == "put":
            pass
        assert told.event == "remove"
    for daemon in federation.daemons:
        until_found(daemon, set())


def test_a_node_that_was_killed_finds_what_registered_meanwhile(federation: Federation) -> None:
    with client(federation[1]) as here:
        here.register("before", base=BASE)
    until_found(federation[3], {"before"})
    federation[3].kill()
    with client(federation[2]) as there:
        there.register("meanwhile", base=BASE)
    federation[3].start()
    until_found(federation[3], {"before", "meanwhile"})


def test_a_network_that_is_switched_to_the_mesh_has_at_each_node_what_any_had(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 2)
    try:
        asyncio.run(federation.found())
        for daemon in federation.daemons:
            with client(daemon) as at:
                at.register(f"at-{daemon.number}", base=BASE)
            assert names(daemon) == {f"at-{daemon.number}"}
        for daemon in federation.daemons:
            daemon.stop()
            daemon.settings["rd__carrier"] = "mesh"
            daemon.start()
        for daemon in federation.daemons:
            until_found(daemon, {"at-1", "at-2"})
    finally:
        federation.end()
