"""The draft's calls, as others write them and as we do.  Notes on DRiP, 1.2, 1.3, 1.9."""

import msgspec
import pytest
from handmade import committed
from hypothesis import given
from hypothesis import strategies as st
from literals import committed_in
from people import FOUNDERS, FOUNDING, NETWORK, record

from waypost.drip import calls
from waypost.drip.calls import BODY_MAX, COUNTER_MAX, HEADERS_MAX, read_call
from waypost.errors import WireError
from waypost.identity.keys import verifies
from waypost.record.vote import require_committed

ORIGIN = (("DRiP-Node-ID", "far"), ("DRiP-Node-Counter", "7"))
DATA = b'{"publicID": "+12155551212", "service": "pstn", "timestamp": "1422980496943"}'  # notes, 1.3
LAMP = committed(record("on", home="berta"))


@pytest.mark.parametrize("spelling", ["/voting/peernode/far", "/votingphase/node/far", "/node/far"])
@pytest.mark.parametrize("word", ["yes", "no"])
def test_a_vote_has_three_spellings(spelling: str, word: str) -> None:
    assert read_call("POST", f"{spelling}/response/{word}", (), b"") == calls.Vote("far", word == "yes")


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_request_to_sync_has_two_methods(method: str) -> None:
    assert read_call(method, "/sync/node/bell", (), b"") == calls.SyncRequest("bell")


@pytest.mark.parametrize("body", [b'{"state":"%s"}', b'"%s"', b"%s", b" %s\n"])
@pytest.mark.parametrize(
    ("word", "state"),
    [("active", "active"), ("inactive", "inactive"), ("sync", "sync"), ("synchronizing", "sync")],
)
def test_a_heartbeat_tells_a_state_in_any_form(body: bytes, word: str, state: calls.State) -> None:
    """G18."""
    read = read_call("POST", "/heartbeat/node/bell", (), body % word.encode())
    assert read == calls.Heartbeat("bell", state)


def test_a_node_tells_its_state_and_asks_for_ours() -> None:
    assert read_call("POST", "/node/bell/active", (), b"") == calls.Declared("bell", "active")
    assert read_call("POST", "/node/bell/inactive", (), b"") == calls.Declared("bell", "inactive")
    assert read_call("GET", "/state", (), b"") == calls.AskState()


def test_a_propagation_has_its_headers_in_any_case() -> None:
    headers = (
        ("drip-node-id", "far"),
        ("DRIP-NODE-COUNTER", str(COUNTER_MAX)),
        ("DRiP-Node-Counter-reset", "TRUE"),
        ("DRiP-Transaction-Type", "sync"),
        ("DRiP-Sync-Complete", "true"),
        ("Content-Type", "application/json"),
    )
    origin = calls.Origin("far", COUNTER_MAX, is_reset=True, is_sync=True, is_last=True)
    assert read_call("POST", "/commit", headers, DATA) == calls.Commit(origin, None)
    assert read_call("POST", "/voting", headers, DATA) == calls.Voting(origin)


def test_what_a_propagation_need_not_say_is_false() -> None:
    origin = calls.Origin("far", 7, is_reset=False, is_sync=False, is_last=False)
    assert read_call("POST", "/voting", ORIGIN, DATA) == calls.Voting(origin)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/voting"),
        ("PUT", "/commit"),
        ("GET", "/sync/node/bell"),
        ("POST", "/state"),
        ("POST", "/votings"),
        ("POST", "voting/"),
        ("POST", "/voting/"),
        ("POST", "/voting/peernode/far/response/maybe"),
        ("POST", "/votingphase/far/response/yes"),
        ("POST", "/node/bell/sync"),
        ("POST", "/node//active"),
        ("POST", "/node/../active"),
        ("POST", f"/node/{'n' * 64}/active"),
        ("POST", "/node/b%65ll/active"),
        ("POST", "/node/\u0661/active"),
        ("POST", "/node/bell\n/active"),
    ],
)
def test_any_other_call_is_none(method: str, path: str) -> None:
    with pytest.raises(WireError):
        read_call(method, path, ORIGIN, DATA)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("DRiP-Node-ID", "far"),),
        (("DRiP-Node-Counter", "7"),),
        (*ORIGIN, ("drip-node-id", "far")),
        (ORIGIN[0], ("DRiP-Node-Counter", str(COUNTER_MAX + 1))),
        (ORIGIN[0], ("DRiP-Node-Counter", "9" * 5_000)),
        (ORIGIN[0], ("DRiP-Node-Counter", "-1")),
        (ORIGIN[0], ("DRiP-Node-Counter", "\u0661")),
        (("DRiP-Node-ID", "a b"), ORIGIN[1]),
        (*ORIGIN, ("DRiP-Transaction-Type", "delete")),
        (*ORIGIN, ("DRiP-Node-Counter-reset", "maybe")),
        (*ORIGIN, ("DRiP-Sync-Complete", "1")),
        (*ORIGIN, *(("X", "y") for _ in range(HEADERS_MAX))),
    ],
)
@pytest.mark.parametrize("path", ["/voting", "/commit"])
def test_a_propagation_with_wrong_headers_is_refused(path: str, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(WireError):
        read_call("POST", path, headers, DATA)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b'{"a":1}x', b"[" * 50_000, b"{}" + b" " * BODY_MAX])
def test_a_propagation_with_another_body_than_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        read_call("POST", "/commit", ORIGIN, body)


@pytest.mark.parametrize(
    "body", [b"", b"alive", b"{}", b'{"state":["active"]}', b"\xff", b'{"state":"active"', b"{" * 9]
)
def test_a_heartbeat_without_a_state_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        read_call("POST", "/heartbeat/node/bell", (), body)


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.text() | st.sampled_from([path for _, path in calls.ROUTES]),
    headers=st.lists(st.tuples(st.sampled_from(["DRiP-Node-ID", "DRiP-Node-Counter", "drip-x"]), st.text())),
    body=st.binary(),
)
def test_any_request_is_read_or_raises_wire_error(
    method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    try:
        read_call(method, path, headers, body)
    except WireError:
        return


def test_every_route_is_read() -> None:
    for method, route in calls.ROUTES:
        path = route.replace("{node}", "bell").replace("{response}", "no")
        read_call(method, path, ORIGIN, DATA if path in ("/voting", "/commit") else b"active")


def test_a_commit_of_ours_names_the_home_and_carries_what_proves_it() -> None:
    call = calls.commit_call(LAMP, 9, is_sync=False, is_last=False)
    assert (call.method, call.path) == ("POST", "/commit")
    assert dict(call.headers) == {
        "DRiP-Node-ID": "berta",
        "DRiP-Node-Counter": "9",
        "DRiP-Node-Counter-reset": "false",
        "DRiP-Transaction-Type": "update",
    }
    assert committed_in(call) == LAMP
    require_committed(committed_in(call), FOUNDERS, NETWORK, verifies, FOUNDERS.quorum)
    assert msgspec.json.decode(call.body)["value"] == "on"
    assert len(call.body) < BODY_MAX


def test_a_sync_says_which_commit_is_its_last() -> None:
    first, last = (dict(calls.commit_call(LAMP, 9, is_sync=True, is_last=is_last).headers) for is_last in (False, True))
    assert (first["DRiP-Transaction-Type"], first["DRiP-Sync-Complete"]) == ("sync", "false")
    assert (last["DRiP-Transaction-Type"], last["DRiP-Sync-Complete"]) == ("sync", "true")


def test_in_a_stream_a_commit_has_its_headers_in_it() -> None:
    call = calls.commit_call(FOUNDING, 3, is_sync=True, is_last=True)
    assert call.line.endswith(b"}\n")
    line = msgspec.json.decode(call.line)
    assert line.pop("headers") == dict(call.headers)
    assert line == msgspec.json.decode(call.body)


def test_what_we_call_a_literal_node_reads() -> None:
    ours = {
        calls.no_call("far"): calls.Vote("far", is_yes=False),
        calls.heartbeat_call("anna", "sync"): calls.Heartbeat("anna", "sync"),
        calls.declared_call("anna", is_active=True): calls.Declared("anna", "active"),
        calls.declared_call("anna", is_active=False): calls.Declared("anna", "inactive"),
    }
    for call, read in ours.items():
        assert read_call(call.method, call.path, call.headers, call.body) == read
    assert calls.no_call("far").path == "/votingphase/node/far/response/no"  # G3
    assert calls.state_body("active") == b'{"state":"active"}'


def test_a_commit_with_the_votes_for_it_is_read_as_what_it_is() -> None:
    """Our own, as a peer passes it on: with the headers that it came with, from a stream, or without."""
    held = committed(record("on"))
    call = calls.commit_call(held, 7, is_sync=False, is_last=False)
    headers = dict(call.headers)
    for body in (call.body, call.line):
        read = read_call("POST", "/commit", headers.items(), body)
        assert isinstance(read, calls.Commit)
        assert read.committed == held


@pytest.mark.parametrize(
    "change",
    [
        {"certificate": 7},
        {"certificate": {"marks": [], "matter": None}},
        {"version": 0},
        {"value": 7},
        {"signature": "00"},
        {"version": 2},  # without a version before it
        {"value": "x" * (40 << 10)},
    ],
)
def test_what_only_looks_like_one_is_a_body_like_any_other(change: dict[str, object]) -> None:
    call = calls.commit_call(committed(record("on")), 7, is_sync=False, is_last=False)
    body = msgspec.json.encode({**msgspec.json.decode(call.body), **change})
    read = read_call("POST", "/commit", dict(call.headers).items(), body)
    assert isinstance(read, calls.Commit)
    assert read.committed is None
