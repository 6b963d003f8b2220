"""What a backup holds is judged row by row: each kind of row that cannot be what it should be is told."""

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from handmade import HOME, committed, epoch_two, vote
from people import FOUNDING, NETWORK, key_of, record
from test_backup import FEED_OF, NOW, change, contents, no_sync, saved

from waypost.drip.book import ALARMS, HISTORY, INSTANCES, RECORDS, ROUNDS, Instance, Rounds, history_key, row_key
from waypost.drip.gossip import RECORDS as GOSSIP
from waypost.drip.intents import TABLE as INTENTS
from waypost.drip.intents import Intent
from waypost.drip.roster import EPOCHS, NODE, PAST, SELF, Self
from waypost.engine import Commit, Put
from waypost.errors import ConfigError, ProofError
from waypost.identity.oscore import SEQUENCE_ROW
from waypost.rd.record import Record as Registration
from waypost.rd.record import key_of as place_of
from waypost.record import Ballot, Certificate, Change, Committed, Kind, Proof
from waypost.record.feed import FEED, FEED_ID, META
from waypost.record.gossiped import Gossiped, Moment
from waypost.record.wire import encode
from waypost.storage import Store
from waypost.storage.archive import Manifest, Part, Source, write
from waypost.storage.backup import FOUNDING as FIRST
from waypost.storage.keyring import Keyring
from waypost.storage.schema import MIGRATIONS
from waypost.storage.verifying import Verified, verify

LAMP = record("on")
OFF = record("off", LAMP, txid=2)
PLACE = LAMP.place
KEY = row_key(PLACE)
SECOND = epoch_two("anna", "dora", "emma")
# Of a namespace that lies before the rosters', and voted on by the second.
EARLY = record("x", place=("1", "early"))
OF_SECOND = committed(EARLY, "dora", "emma", ballot=Ballot(2, 1, "anna"))
LAMP_1, LAMP_2 = committed(LAMP), committed(OFF)
GOSSIPED = Gossiped("rd", b"key", b"value", NOW, Moment(0, NOW), "anna", 1, "").signed(NETWORK, key_of("anna/1").sign)
REGISTERED = Registration(
    attributes=(), base="coap://x", d=None, ep="lamp", expires_ms=NOW, explicit=True, links="", location="1", lt=60
)


def version(of: Committed) -> Put:
    return Put(HISTORY, row_key(of.record.place) + b"\0%016d" % of.record.version, of.encode())


def newest(of: Committed) -> Put:
    return Put(RECORDS, row_key(of.record.place), of.encode())


ONE_VOTE, OTHER_VOTE = (vote(LAMP, HOME, name) for name in ("anna", "berta"))
PROOF = Proof(*(Certificate(of.matter, (of.mark,)) for of in (ONE_VOTE, OTHER_VOTE)))
WHOLE = (
    Put(META, FEED_ID, FEED_OF),
    change(1),
    change(2),
    Put("directory", place_of(None, "lamp"), REGISTERED.encode()),
    Put(NODE, FIRST, FOUNDING.encode()),
    Put(NODE, SELF, encode(Self(7, 40))),
    Put(NODE, EPOCHS, b"[1,2]"),
    Put(NODE, PAST, b"3"),
    *(version(item) for item in (SECOND, LAMP_1, LAMP_2, OF_SECOND)),
    *(newest(item) for item in (SECOND, LAMP_2, OF_SECOND)),
    Put(INSTANCES, KEY, encode(Instance(3))),
    Put(ROUNDS, KEY, encode(Rounds(3, 2))),
    Put(ALARMS, row_key(("names", "door")), encode(PROOF)),
    Put(GOSSIP, b"rd\0key", encode(GOSSIPED)),
)


def judged(tmp_path: Path, *puts: Put) -> Verified:
    store = Store.open(tmp_path / "state", durable=False)
    store.commit([Commit(puts=(*WHOLE, *puts))])
    store.close()
    saved(tmp_path / "state", tmp_path / "file")
    return verify(tmp_path / "file", wall_ms=NOW)


def test_nothing_is_wrong_with_what_a_node_wrote(tmp_path: Path) -> None:
    found = judged(tmp_path)
    assert found.problems == ()
    assert found.rows[FEED] == 2
    assert found.rows[HISTORY] == 4
    assert {table for table, number in found.rows.items() if number} == {
        *(META, FEED, "directory", NODE, HISTORY, RECORDS, INSTANCES, ROUNDS, ALARMS, GOSSIP)
    }
    assert found.manifest.seq == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]


def test_every_table_of_the_schema_is_looked_at(tmp_path: Path) -> None:
    import re

    made = re.findall(r"CREATE TABLE (\w+)", "".join(MIGRATIONS))
    assert set(judged(tmp_path).rows) == set(made)


def kept(of: Committed) -> Put:
    """The third change: its value is in the history."""
    record = of.record
    there = HISTORY.encode() + b"\0" + history_key(record.place, record.version)
    change = Change(3, Kind.KEPT, "voted", row_key(record.place), record.version, there, NOW, b"")
    return Put(FEED, (3).to_bytes(8, "big"), change.encode())


def test_a_change_has_the_value_that_it_names(tmp_path: Path) -> None:
    assert judged(tmp_path, kept(LAMP_2)).problems == ()


def one_vote(of: Committed) -> Committed:
    assert of.certificate is not None
    return Committed(of.record, msgspec.structs.replace(of.certificate, marks=of.certificate.marks[:1]))


@pytest.mark.parametrize(
    ("put", "problem"),
    [
        (Put(META, SEQUENCE_ROW + b"a", b"4"), "no sequence number"),
        (Put(META, b"token abcdefgh", b"{}"), "token"),
        (Put(META, b"evicted x", b"{}"), "evicted"),
        (Put(FEED, (2).to_bytes(8, "big"), b"?"), "feed 2"),
        (change(4), "change 3 is missing"),
        (kept(committed(record("y", place=("names", "door")))), "feed 3: what it names is not there"),
        (Put("directory", b"\0lamp", b"{}"), "registration"),
        (Put("directory", b"\0door", REGISTERED.encode()), "contradicts itself"),
        (Put(NODE, SELF, b"{}"), "self"),
        (Put(NODE, EPOCHS, b"x"), "epochs"),
        (Put(NODE, PAST, b"x"), "past"),
        (newest(one_vote(committed(record("y", place=("names", "door"))))), "no quorum"),
        (version(one_vote(LAMP_1)), "no quorum"),
        (newest(Committed(record("y", place=("names", "door")), None)), "no certificate"),
        (version(committed(LAMP, "dora", "emma")), "no quorum"),  # learners of that time
        (version(committed(LAMP, ballot=Ballot(9, 1, "anna"))), "roster that voted on it is not here"),
        (newest(LAMP_1), "not the last version"),
        (Put(RECORDS, row_key(("names", "door")), LAMP_2.encode()), "another's key"),
        (Put(HISTORY, KEY + b"\0%016d" % 3, LAMP_2.encode()), "another's key"),
        (version(committed(record("off", record("other"), txid=2))), "does not follow"),
        (Put(RECORDS, KEY, b"{}"), "drip_record"),
        (Put(HISTORY, KEY + b"\0%016d" % 1, b"{}"), "drip_history"),
        (Put(INSTANCES, KEY, encode(Instance(2))), "not the next"),
        (Put(INSTANCES, KEY, b"{}"), "drip_instance"),
        (Put(GOSSIP, b"rd\0deep", b'{"more":' * 20_000), "gossip"),
        (Put(INSTANCES, b"no place", encode(Instance(1))), "drip_instance"),
        (Put(INTENTS, b"no place", encode(Intent(1, 0, 0, None))), "drip_intent"),
        (Put(INTENTS, KEY + b"\0%016d\0%s" % (1, LAMP.txid.encode()), b"{}"), "drip_intent"),
        (Put(INTENTS, KEY + b"\0%016d\0%s" % (2, LAMP.txid.encode()), encode(Intent(1, 0, 0, LAMP))), "another's key"),
        (Put(ROUNDS, KEY, b"{}"), "drip_round"),
        (Put(ROUNDS, b"no place", encode(Rounds(1, 1))), "drip_round"),
        (Put(ALARMS, KEY, b"{}"), "drip_alarm"),
        (Put(GOSSIP, b"rd\0key", b"{}"), "gossip"),
        (Put(GOSSIP, b"rd\0other", encode(GOSSIPED)), "another's key"),
    ],
    ids=str,
)
def test_a_row_that_cannot_be_what_it_should_is_told(tmp_path: Path, put: Put, problem: str) -> None:
    problems = judged(tmp_path, put).problems
    assert [sentence for sentence in problems if problem in sentence], problems


def test_a_roster_that_nobody_voted_on_certifies_nothing(tmp_path: Path) -> None:
    problems = judged(tmp_path, version(one_vote(SECOND)), newest(one_vote(SECOND))).problems
    assert [sentence for sentence in problems if "early" in sentence and "roster" in sentence], problems


def test_a_backup_of_an_older_version_is_judged_by_the_tables_it_has(tmp_path: Path) -> None:
    Store.open(tmp_path / "state", durable=False, migrations=MIGRATIONS[:1]).close()
    saved(tmp_path / "state", tmp_path / "file")
    found = verify(tmp_path / "file", wall_ms=NOW)
    assert found.problems == ()
    assert set(found.rows) == {META, FEED, "directory"}


def test_a_backup_of_a_newer_version_is_not_judged(tmp_path: Path) -> None:
    Store.open(tmp_path / "state", durable=False, migrations=(*MIGRATIONS, "CREATE TABLE more (key BLOB)")).close()
    saved(tmp_path / "state", tmp_path / "file")
    with pytest.raises(ConfigError, match="newer Waypost"):
        verify(tmp_path / "file", wall_ms=NOW)


def test_a_damaged_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    judged(tmp_path)
    data = bytearray((tmp_path / "file").read_bytes())
    data[9_000] ^= 4
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ProofError, match="damaged"):
        verify(tmp_path / "file", wall_ms=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]
    with pytest.raises(ConfigError, match="is not there"):
        verify(tmp_path / "nothing", wall_ms=NOW)


@pytest.mark.parametrize("name", ["node.pem", "trust.json", "ca.crt", "operator.pub", "seen.json"])
def test_keys_with_which_no_node_starts_are_told(tmp_path: Path, name: str) -> None:
    Keyring.open(tmp_path / "state", NOW, sync=no_sync)
    assert judged(tmp_path).problems == ()
    (tmp_path / "state" / "keys" / name).write_bytes(b"nonsense")
    (tmp_path / "file").unlink()
    problems = judged(tmp_path).problems
    assert len(problems) == 1
    assert problems[0].startswith(f"keys/{name}: ")
    assert "keys/node.pem" in contents(tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seq": 3}, "the manifest says 3"),
        ({"feed": "00" * 16}, "not the feed of the manifest"),
        ({"network": "00" * 32}, "not the network of the manifest"),
        ({"schema": 1}, "the manifest says 1"),
    ],
)
def test_a_manifest_that_says_something_else_of_the_database_is_told(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    manifest = judged(tmp_path).manifest
    files = contents(tmp_path / "file")

    def other(parts: tuple[Part, ...]) -> Manifest:
        return msgspec.structs.replace(manifest, files=parts, **changes)

    write(
        tmp_path / "other",
        [Source(name, partial(BytesIO, data), len(data)) for name, data in files.items()],
        other,
        no_sync,
    )
    problems = verify(tmp_path / "other", wall_ms=NOW).problems
    assert [sentence for sentence in problems if problem in sentence], problems


def test_what_was_restored_and_backed_up_again_is_sound(tmp_path: Path) -> None:
    from random import Random

    from waypost.storage.restoring import restore

    judged(tmp_path)
    restore(tmp_path / "file", tmp_path / "new", rng=Random(1), sync=no_sync)
    saved(tmp_path / "new", tmp_path / "again")
    assert verify(tmp_path / "again", wall_ms=NOW).problems == ()
