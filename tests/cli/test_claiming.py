"""The verbs about records and those who vote, with a network of one voter that really votes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from lone import CREATOR, POLICY, Lone, made
from people import key_of, member, public_of
from serving import Api, serving

from waypost.cli.keys import wall_ms
from waypost.cli.peers import allowed, forced_upon, promoted, removed
from waypost.cli.verbs import call
from waypost.drip.outcome import Outcome, State
from waypost.drip.questions import Cancel, Claim, Open, Queued, Settle, ShowVotes, Votes
from waypost.errors import StateError
from waypost.identity.keys import write_private
from waypost.rd.questions import Busy
from waypost.record import Ballot, Committed, Creator, Record, Roster, roster_in
from waypost.record.roster import Forced

HEIR: Final = public_of("heir")
FOUNDERS: Final = Roster(1, (member("anna"),), (member("berta"), member("carla")), POLICY)

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def node() -> Lone:
    return Lone(wall_ms(), FOUNDERS)


@pytest.fixture
def api(node: Lone) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    files = {name: tmp_path / f"{name}.pem" for name in (CREATOR, "heir", "stranger", "operator")}
    for name, path in files.items():
        path.write_bytes(write_private(key_of(name)))
        path.chmod(0o600)
    return {name: str(path) for name, path in files.items()}


@pytest.fixture
def run(api: Api, capsys: pytest.CaptureFixture[str]) -> Run:
    """Carries out a line with -o json: its exit code, what it printed, and its remarks."""

    def run(*line: str) -> tuple[int, Any, str]:
        code = call([*line, "--url", api.url, "-o", "json"])
        told = capsys.readouterr()
        return code, json.loads(told.out or "null"), told.err

    return run


@pytest.fixture
def table(api: Api, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def table(*line: str) -> str:
        call([*line, "--url", api.url])
        told = capsys.readouterr()
        return told.out + told.err

    return table


def old(value: str | None, before: Record | None = None, **more: Any) -> Record:
    return made(value, before, wall_ms=wall_ms(), network=Lone(wall_ms(), FOUNDERS).network, **more)


def test_a_claim_is_committed_and_found(run: Run, keys: dict[str, str]) -> None:
    code, claimed, _ = run("claim", "lamp", "coap://h", "--key", keys[CREATOR])
    assert (code, claimed["state"], claimed["version"]) == (0, "committed", 1)
    code, standing, _ = run("find", "--record", "names/lamp", "--quorum")
    assert code == 0
    assert (standing["record"]["value"], standing["record"]["holder"]) == ("coap://h", public_of(CREATOR))
    code, claimed, _ = run("claim", "names/lamp", "coap://i", "--if-version", "1", "--key", keys[CREATOR])
    assert (code, claimed["version"]) == (0, 2)
    code, versions, _ = run("history", "lamp")
    assert [version["record"]["value"] for version in versions] == ["coap://h", "coap://i"]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (("lamp",), ("names", "lamp")),
        (("names/floor-1/lamp",), ("names", "floor-1/lamp")),
        (("floor-1/lamp", "--namespace", "names"), ("names", "floor-1/lamp")),
    ],
)
def test_a_key_is_in_the_namespace_that_it_names(
    run: Run, keys: dict[str, str], line: tuple[str, ...], place: tuple[str, str]
) -> None:
    _, claimed, _ = run("claim", *line, "x", "--key", keys[CREATOR])
    assert (claimed["namespace"], claimed["key"]) == place


def test_who_expects_another_version_is_told_who_holds_it_and_nothing_is_sent(
    run: Run, node: Lone, keys: dict[str, str]
) -> None:
    node.put(old("x"))
    node.asked.clear()
    code, claimed, _ = run("claim", "lamp", "y", "--if-version", "0", "--key", keys[CREATOR])
    assert (code, claimed["state"]) == (4, "lost")
    assert claimed["current"]["record"]["holder"] == public_of(CREATOR)
    assert not any(isinstance(question, Claim) for question in node.asked)
    assert run("claim", "new", "y", "--if-version", "0", "--key", keys[CREATOR])[0] == 0


def test_who_loses_is_told_who_holds_it_now(
    run: Run, table: Callable[..., str], node: Lone, keys: dict[str, str]
) -> None:
    node.answers[Claim] = Outcome(State.LOST, Committed(old("theirs", txid=9), None))
    code, claimed, _ = run("claim", "lamp", "mine", "--key", keys[CREATOR])
    assert (code, claimed["state"], claimed["current"]["record"]["value"]) == (4, "lost", "theirs")
    assert f"held by {public_of(CREATOR)}" in table("claim", "lamp", "mine", "--key", keys[CREATOR])


def test_who_may_not_is_denied_and_told_whose_it_is(run: Run, node: Lone, keys: dict[str, str]) -> None:
    code, _, error = run("claim", "lamp", "x", "--key", keys["stranger"])
    assert (code, "policy" in error) == (4, True)
    assert f"waypost peers allow names/ {public_of('stranger')}" in error
    node.put(old("x"))
    code, _, error = run("claim", "lamp", "y", "--key", keys["stranger"])
    assert code == 4
    assert f"only the holder may change it: names/lamp is held by {public_of(CREATOR)}" in error


def test_a_key_that_was_given_away_is_the_new_holders(run: Run, keys: dict[str, str], tmp_path: Path) -> None:
    run("claim", "lamp", "x", "--key", keys[CREATOR])
    taken = str(tmp_path / "lamp.taken")
    code, taking, _ = run("transfer", "lamp", "--accept", taken, "--key", keys["heir"])
    assert (code, taking["transfer"]["taker"]) == (0, HEIR)
    code, claimed, _ = run("transfer", "lamp", "--accepted", taken, "--key", keys[CREATOR])
    assert (code, claimed["version"]) == (0, 2)
    assert claimed["current"]["record"]["value"] == "x"
    assert run("claim", "lamp", "y", "--key", keys[CREATOR])[0] == 4
    code, claimed, _ = run("claim", "lamp", "y", "--key", keys["heir"])
    assert (code, claimed["current"]["record"]["holder"]) == (0, HEIR)
    assert run("transfer", "none", HEIR, "--key", keys[CREATOR])[0] == 1
    assert run("transfer", "none", "--accept", str(tmp_path / "none"), "--key", keys["heir"])[0] == 1


def test_nobody_is_given_a_key_that_he_does_not_take(run: Run, keys: dict[str, str]) -> None:
    run("claim", "lamp", "x", "--key", keys[CREATOR])
    for line in (("transfer", "lamp", HEIR), ("claim", "lamp", "y", "--holder", HEIR)):
        code, _, error = run(*line, "--key", keys[CREATOR])
        assert (code, "the new holder has not accepted it" in error) == (4, True)


def test_a_claim_gives_a_key_away_as_well(run: Run, keys: dict[str, str], tmp_path: Path) -> None:
    run("claim", "lamp", "x", "--key", keys[CREATOR])
    taken = str(tmp_path / "lamp.taken")
    run("transfer", "lamp", "--accept", taken, "--key", keys["heir"])
    line = ("claim", "lamp", "y", "--holder", HEIR, "--accepted", taken, "--key", keys[CREATOR])
    code, claimed, _ = run(*line)
    assert (code, claimed["current"]["record"]["value"], claimed["current"]["record"]["holder"]) == (0, "y", HEIR)


def test_a_takers_file_is_good_for_one_version_of_one_key(run: Run, keys: dict[str, str], tmp_path: Path) -> None:
    run("claim", "lamp", "x", "--key", keys[CREATOR])
    run("claim", "door", "x", "--key", keys[CREATOR])
    taken = tmp_path / "lamp.taken"
    run("transfer", "lamp", "--accept", str(taken), "--key", keys["heir"])
    give = ("transfer", "lamp", "--accepted", str(taken), "--key", keys[CREATOR])
    code, _, error = run("transfer", "door", "--accepted", str(taken), "--key", keys[CREATOR])
    assert (code, "another key" in error) == (4, True)
    code, _, error = run("transfer", "lamp", public_of("stranger"), *give[2:])
    assert (code, "somebody else" in error) == (4, True)
    forged = taken.read_bytes()
    taken.write_bytes(forged.replace(b'"signature":"', b'"signature":"' + b"0" * 128)[: len(forged) - 131] + b'"}')
    assert run(*give)[0] in (2, 4)
    taken.write_bytes(b"{}")
    assert run(*give)[0] == 2
    taken.write_bytes(forged)
    run("claim", "lamp", "y", "--key", keys[CREATOR])
    code, _, error = run(*give)
    assert (code, "another version" in error, "--accept" in error) == (4, True, True)


def test_what_a_claim_relies_on_is_cited(run: Run, node: Lone, keys: dict[str, str]) -> None:
    """Design, Contracts 6."""
    run("claim", "roof", "x", "--key", keys[CREATOR])
    line = ("claim", "lamp", "y", "--cite", "roof@1", "--cite", "names/roof@1", "--key", keys[CREATOR])
    code, claimed, _ = run(*line)
    assert (code, claimed["current"]["record"]["cites"]) == (
        0,
        [{"namespace": "names", "key": "roof", "version": 1}] * 2,
    )
    run("claim", "roof", "z", "--key", keys[CREATOR])
    code, _, error = run("claim", "lamp", "z", "--cite", "roof@1", "--key", keys[CREATOR])
    assert (code, "version 1 of names/roof, which is at version 2 by now" in error) == (4, True)


def test_a_key_can_be_made_for_another(run: Run, keys: dict[str, str]) -> None:
    run("claim", "other/lamp", "x", "--key", keys["operator"], "--holder", HEIR)
    assert run("claim", "other/lamp", "y", "--key", keys["heir"])[0] == 0
    assert run("claim", "other/lamp", "y", "--key", keys["operator"])[0] == 4


def test_what_is_deleted_is_not_found_and_stays_its_holders(run: Run, keys: dict[str, str]) -> None:
    run("claim", "lamp", "x", "--key", keys[CREATOR])
    assert run("claim", "lamp", "--delete", "--key", keys[CREATOR])[1]["version"] == 2
    code, standing, _ = run("find", "--record", "lamp")
    assert (code, standing["record"]["value"]) == (1, None)
    assert run("claim", "lamp", "z", "--key", keys["stranger"])[0] == 4
    assert run("claim", "lamp", "z", "--key", keys[CREATOR])[1]["version"] == 3


def test_what_nobody_can_say_is_asked_for_until_the_deadline_with_one_record(
    run: Run, node: Lone, keys: dict[str, str]
) -> None:
    node.silent = True
    code, claimed, _ = run("claim", "lamp", "x", "--deadline", "2", "--key", keys[CREATOR])
    assert (code, claimed["state"]) == (3, "unknown")
    sent = [question.record for question in node.asked if isinstance(question, Claim)]
    assert len(sent) > 1
    assert len(set(sent)) == 1
    assert any(isinstance(question, Settle) for question in node.asked)
    asked = ("claim", "--outcome", f"1/{claimed['txid']}", "lamp")
    assert run(*asked)[0] == 3
    node.silent = False
    node.drip.handle_clock(node.now, wall_ms())  # or too much time has passed for it to be taken
    node.put(sent[0])
    code, claimed, _ = run(*asked)
    assert (code, claimed["state"]) == (0, "committed")


def test_the_table_says_how_to_ask_again(table: Callable[..., str], node: Lone, keys: dict[str, str]) -> None:
    node.silent = True
    told = table("claim", "lamp", "x", "--deadline", "0", "--key", keys[CREATOR])
    assert "may still be committed" in told
    assert "waypost claim --outcome 1/" in told


def test_a_denial_after_an_unknown_outcome_is_unknown(run: Run, node: Lone, keys: dict[str, str]) -> None:
    """What was sent before may have been taken."""
    answers = iter([Outcome(State.UNKNOWN, None), Outcome(State.DENIED, None, "its clock is behind")])
    ask = node.ask

    async def changing(question: Any) -> object:
        return next(answers) if isinstance(question, Claim) else await ask(question)

    with serving(changing, rows=node) as api:
        assert call(["claim", "lamp", "x", "--key", keys[CREATOR], "--url", api.url]) == 3


def test_a_node_that_is_busy_to_the_end_was_not_reached(run: Run, node: Lone, keys: dict[str, str]) -> None:
    node.answers[Claim] = Busy(1, "the disk is behind")
    code, _, error = run("claim", "lamp", "x", "--deadline", "0", "--key", keys[CREATOR])
    assert (code, "the disk is behind" in error) == (3, True)


def test_a_node_that_was_busy_is_asked_again(node: Lone, keys: dict[str, str]) -> None:
    ask = node.ask
    busy = iter([Busy(1, "the disk is behind")])

    async def relaxing(question: Any) -> object:
        return next(busy, None) or await ask(question) if isinstance(question, Claim) else await ask(question)

    with serving(relaxing, rows=node) as api:
        assert call(["claim", "lamp", "x", "--key", keys[CREATOR], "--url", api.url]) == 0


def test_who_changes_a_key_for_another_leaves_it_the_others(run: Run, node: Lone, keys: dict[str, str]) -> None:
    """Whether anybody may is for the voters to judge."""
    node.put(old("x"))
    run("claim", "lamp", "y", "--key", keys["stranger"])
    (sent,) = [question.record for question in node.asked[-3:] if isinstance(question, Claim)]
    assert (sent.author, sent.holder) == (public_of("stranger"), public_of(CREATOR))


@pytest.mark.parametrize(
    "line",
    [
        ("claim", "lamp"),
        ("claim", "lamp", "x", "--delete"),
        ("claim", "lamp", "x", "--holder", "me"),
        ("claim", "lamp", "x", "--outcome", "1/" + "0" * 32),
        ("claim", "lamp", "--outcome", "x"),
        ("transfer", "lamp", "X" * 64),
        ("transfer", "lamp"),
        ("transfer", "lamp", HEIR, "--accept", "x"),
        ("transfer", "lamp", "--accepted", "no such file"),
        ("claim", "lamp", "x", "--cite", "roof"),
        ("claim", "lamp", "x", "--cite", "roof@0"),
        ("claim", "lamp", "x", "--cite", "@1"),
        ("find", "--quorum"),
        ("find", "--record", "lamp", "rt=x"),
        ("peers", "allow", "names", HEIR, "--key", "x"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused(run: Run, node: Lone, line: tuple[str, ...]) -> None:
    assert run(*line)[0] == 2
    assert node.asked == []


def test_the_default_key_is_made_once_and_for_its_owner_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "waypost" / "holder.pem"
    _, _, remarks = run("claim", "lamp", "x")
    assert str(path) in remarks
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    made = path.read_bytes()
    _, _, remarks = run("claim", "lamp", "x")
    assert "made a holder's key" not in remarks
    assert path.read_bytes() == made
    path.chmod(0o640)
    code, _, error = run("claim", "lamp", "x")
    assert (code, "chmod 600" in error) == (2, True)


def test_the_operator_changes_the_roster_by_a_vote(run: Run, node: Lone, keys: dict[str, str]) -> None:
    signed = ("--key", keys["operator"])
    code, claimed, _ = run("peers", "allow", "other/a", HEIR, *signed)
    assert (code, claimed["version"]) == (0, 2)
    assert run("claim", "other/ab", "x", "--key", keys["heir"])[0] == 0
    assert run("claim", "other/b", "x", "--key", keys["heir"])[0] == 4
    assert run("peers", "remove", "carla", *signed)[0] == 0
    code, network, _ = run("peers")
    assert [(peer["name"], peer["voter"]) for peer in network["peers"]] == [("anna", True), ("berta", False)]
    assert network["roster"]["epoch"] == 3
    assert run("peers", "allow", "other/a", HEIR, "--undo", *signed)[0] == 0
    assert run("claim", "other/ac", "x", "--key", keys["heir"])[0] == 4
    code, claimed, _ = run("peers", "promote", "berta", *signed)
    assert (code, claimed["state"]) == (0, "committed")
    assert node.drip.roster.nodes == ("anna", "berta")


@pytest.mark.parametrize(
    "line",
    [
        ("promote", "anna"),
        ("promote", "zoe"),
        ("remove", "anna"),
        ("remove", "zoe"),
        ("allow", "names/z", HEIR, "--undo"),
        ("allow", "Names/z", HEIR),
    ],
)
def test_a_roster_that_cannot_be_is_not_sent(run: Run, node: Lone, keys: dict[str, str], line: tuple[str, ...]) -> None:
    code, _, error = run("peers", *line, "--key", keys["operator"])
    assert code == 2, error
    assert not any(isinstance(question, Claim) for question in node.asked)


def test_only_the_operators_key_signs_a_roster(run: Run, node: Lone, keys: dict[str, str]) -> None:
    code, _, error = run("peers", "remove", "berta", "--key", keys["stranger"])
    assert (code, "not the key" in error) == (2, True)


def test_a_change_of_the_roster_is_made_again_upon_what_another_made_of_it(
    run: Run, node: Lone, keys: dict[str, str]
) -> None:
    """A learner may come between the reading and the vote."""
    ask = node.ask
    came: list[Claim] = []

    async def joining(question: Any) -> object:
        if isinstance(question, Claim) and not came:
            came.append(question)
            return Outcome(State.LOST, node.drip.committed(question.record.place))
        return await ask(question)

    with serving(joining, rows=node) as api:
        assert call(["peers", "remove", "berta", "--key", keys["operator"], "--url", api.url]) == 0
    assert node.drip.roster.nodes == ("anna", "carla")


def test_an_applicant_takes_the_place_of_the_voter_of_its_name() -> None:
    again = member("anna", 7)
    roster = promoted(FOUNDERS, ["anna", "berta"], [again])
    assert roster.voters == (again, member("berta"))
    assert roster.learners == (member("carla"),)
    assert roster.epoch == 2
    with pytest.raises(StateError):
        promoted(FOUNDERS, ["anna"], [])


def test_a_quorum_that_the_voters_cannot_have_any_more_is_a_majority_again() -> None:
    founders = Roster(1, tuple(map(member, ("a", "b", "c"))), (), msgspec.structs.replace(POLICY, quorum=3))
    assert removed(founders, ["c"]).quorum == 2
    removed(founders, ["c"]).require_sound()


def test_what_is_allowed_twice_stands_there_once() -> None:
    creator = Creator("names", "x", HEIR)
    twice = allowed(allowed(FOUNDERS, creator, undo=False), creator, undo=False)
    assert twice.policy.creators.count(creator) == 1
    assert allowed(twice, creator, undo=True).policy == FOUNDERS.policy


def test_votes_under_way_are_listed(run: Run, table: Callable[..., str], node: Lone) -> None:
    record = old("x")
    node.open = (Open(record.place, 1, Ballot(1, 2, "berta"), Ballot(1, 0, "anna"), record.hash(node.network), record),)
    _, votes, _ = run("votes")
    assert votes["total"] == 1
    shown = table("votes")
    assert "names/lamp" in shown
    assert "berta, round 2" in shown


def test_a_claim_is_left_with_the_node_and_taken_back(
    run: Run, table: Callable[..., str], node: Lone, keys: dict[str, str]
) -> None:
    until_ms = 1_900_000_000_000
    node.answers[Claim] = Outcome(State.PENDING, None, "", until_ms)
    line = ("claim", "lamp", "x", "--queue", "--key", keys[CREATOR])
    code, claimed, _ = run(*line)
    assert (code, claimed["state"], claimed["expires_ms"]) == (3, "pending", until_ms)
    shown = table(*line)
    assert "until 2030-03-17 17:46:40 UTC" in shown
    assert "waypost claim --outcome 1/" in shown
    assert [question.keeps for question in node.asked if isinstance(question, Claim)] == [True, True]
    txid = claimed["txid"]
    node.answers[Cancel] = Outcome(State.CANCELLED, None)
    code, cancelled, _ = run("claim", "lamp", "--cancel", f"1/{txid}")
    assert (code, cancelled["state"]) == (4, "cancelled")
    assert node.asked[-1] == Cancel(("names", "lamp"), 1, txid)
    node.answers[Cancel] = Outcome(State.PENDING, None, "it has been sent")
    code, _, error = run("claim", "lamp", "--cancel", f"1/{txid}")
    assert code != 0
    assert "it has been sent" in error
    for others in (("x",), ("--delete",), ("--outcome", f"1/{txid}")):
        assert run("claim", "lamp", *others, "--cancel", f"1/{txid}")[0] == 2


def test_who_does_not_want_to_wait_does_not(run: Run, node: Lone, keys: dict[str, str]) -> None:
    assert run("claim", "lamp", "x", "--key", keys[CREATOR])[0] == 0
    assert [question.keeps for question in node.asked if isinstance(question, Claim)] == [False]


def test_a_key_can_be_given_away_later(run: Run, node: Lone, keys: dict[str, str], tmp_path: Path) -> None:
    node.put(old("x"))
    file = str(tmp_path / "taken")
    run("transfer", "lamp", "--accept", file, "--key", keys["heir"])
    node.answers[Claim] = Outcome(State.PENDING, None)
    code, claimed, _ = run("transfer", "lamp", "--accepted", file, "--queue", "--key", keys[CREATOR])
    assert (code, claimed["state"], claimed["version"]) == (3, "pending", 2)
    assert isinstance(node.asked[-1], Claim)
    assert node.asked[-1].keeps


def test_what_waits_and_who_is_silent_is_told_with_the_votes(run: Run, table: Callable[..., str], node: Lone) -> None:
    queued = Queued(("names", "door"), 1, "7c" * 16, "ab" * 32, wall_ms(), wall_ms() + 1000, False)
    node.answers[ShowVotes] = Votes((), 0, {}, (queued,), 1, ("anna",), ("berta", "carla"))
    assert run("votes")[1]["silent"] == ["berta", "carla"]
    assert node.asked[-1] == ShowVotes(True)
    shown = table("votes", "--local")
    assert node.asked[-1] == ShowVotes(False)
    for told in ("names/door", "no answer from berta, carla", "1 claims wait here"):
        assert told in shown


def test_tables_have_what_people_look_for(table: Callable[..., str], node: Lone, keys: dict[str, str]) -> None:
    node.put(old("coap://h"))
    assert "anna" in table("history", "lamp")
    assert "coap://h" in table("find", "--record", "lamp")
    peers = table("peers")
    assert "this node" in peers
    assert "1 of 1 voters commit" in peers
    assert roster_in(node.drip.committed(("_network", "roster")).record) == FOUNDERS  # type: ignore[union-attr]


def test_who_is_promoted_stands_in_the_roster_as_all_of_its_members_read_it() -> None:
    """A node of an earlier release takes no roster with details in it."""
    new = msgspec.structs.replace(member("berta", 2), wire=2, tls=("ab" * 32,))
    assert promoted(FOUNDERS, ["berta"], [new]).voter("berta") == new.plain
    told = msgspec.structs.replace(FOUNDERS.voters[0], wire=2)
    detailed = msgspec.structs.replace(FOUNDERS, voters=(told, *FOUNDERS.voters[1:]))
    assert promoted(detailed, ["berta"], [new]).voter("berta") == new
    with pytest.raises(StateError, match="earlier release"):
        promoted(detailed, ["berta"], [new.plain])


def test_who_goes_on_voting_tells_what_it_had_though_it_has_another_key() -> None:
    new = msgspec.structs.replace(FOUNDERS.voters[0], wire=2, tls=("ab" * 32,))
    roster = forced_upon(FOUNDERS, ["anna"], [new])
    assert roster.forced is not None
    assert roster.forced.sources == ("anna",)
    other = msgspec.structs.replace(new, incarnation=7)
    assert forced_upon(FOUNDERS, ["anna"], [other]).forced == Forced(())
