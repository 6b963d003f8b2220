"""The feed of a node as its operator runs it: resumed after a restart, and read by nobody."""

import socket
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

from running import running

from waypost import Link, SyncClient

BASE = "coap://192.0.2.1"


def test_a_token_outlives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as node, SyncClient(node.http) as client, closing(client.watch()) as events:
        token = next(events).token
        client.register("before", base=BASE)
        client.register("gone", base=BASE, lt=1)
    with running(tmp_path) as node, SyncClient(node.http) as client:
        client.register("after", base=BASE)
        with closing(client.watch(since=token)) as events:
            told = list(takewhile(lambda event: event.event != "synced", events))
    names = [event.ep for event in told if event.event == "put"]
    assert [name for name in names if name != "gone"] == ["before", "after"]
    assert all(event.token is not None for event in told)


def test_who_watches_and_never_reads_holds_up_nobody(tmp_path: Path) -> None:
    with running(tmp_path) as node, SyncClient(node.http) as client:
        parts = urlsplit(node.http)
        assert parts.hostname is not None
        assert parts.port is not None
        with socket.create_connection((parts.hostname, parts.port)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
            links = [Link(f"/{number:060}") for number in range(300)]
            for number in range(200):  # some 8 MB of events, more than the sockets between take
                client.register(f"e{number}", base=BASE, links=links)
            assert client.status().gauges["watchers"] == 1
            with closing(client.watch(ep="e199")) as events:
                assert next(events).ep == "e199"
