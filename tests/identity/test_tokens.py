"""Tokens: given, shown, used up, revoked.  Time is a number we choose."""

import re
from collections.abc import Iterator
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.engine import Answer, Commit, Effect
from waypost.errors import StoreError, WireError
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.policy import Action, Policy, Target, default
from waypost.identity.token import (
    Authenticate,
    Created,
    CreateToken,
    Declined,
    FirstToken,
    ListTokens,
    Redeem,
    Redeemed,
    Revoked,
    RevokeToken,
    Shown,
    redacted,
)
from waypost.identity.tokens import JOIN_LIFETIME_S, LIFETIME_S, TOKENS_MAX, Tokens

WALL_MS = 1_800_000_000_000
PIN = "ab" * 32
LAMP = CreateToken("lamp-3", ("device",), OPERATOR)
JOIN = CreateToken("lamp-*", ("device",), OPERATOR, pin=PIN)


class Kept:
    """The organ with a disk that is always well."""

    def __init__(self, seed: int = 1, policy: Policy | None = None) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.seed = seed
        self.policy = policy or default()
        self.start()

    def start(self) -> None:
        """Again, from what is on disk."""
        self.tokens = Tokens(Random(self.seed), self.policy.decide)
        self.seed += 1
        self.tokens.restore(self)
        self.tokens.handle_clock(0.0, WALL_MS)

    def ask(self, question: Any, now: float = 0.0) -> Any:
        self.tokens.ask(7, question, now)
        self.tokens.check()
        answers = [answer for effect in self.tokens.take_effects() for answer in self._carried_out(effect)]
        assert [answer.id for answer in answers] == [7]
        return answers[0].result

    def _carried_out(self, effect: Effect) -> Iterator[Answer]:
        match effect:
            case Answer():
                yield effect
            case Commit(puts=puts, then=then):
                for put in puts:
                    assert put.table == "meta"
                    if put.value is None:
                        del self.rows[put.key]
                    else:
                        self.rows[put.key] = put.value
                for after in then:
                    yield from self._carried_out(after)
            case _:
                raise AssertionError(effect)

    def create(self, question: CreateToken = LAMP, now: float = 0.0) -> Shown:
        created = self.ask(question, now)
        assert isinstance(created, Created)
        return created.shown

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.rows.get(key) if table == "meta" else None

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(row for row in self.rows.items() if row[0] > after)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_token_says_whose_it_is_until_its_end(kept: Kept) -> None:
    shown = kept.create(CreateToken("lamp-3", ("device", "reader"), OPERATOR, 60))
    assert kept.ask(Authenticate(shown), 59.9) == Identity("token", "lamp-3", ("device", "reader"))
    assert kept.ask(Authenticate(shown), 60.0) is None


def test_a_token_lives_for_ninety_days_and_one_to_join_with_for_an_hour(kept: Kept) -> None:
    for question, lifetime_s in ((LAMP, 90 * 86_400), (JOIN, 3_600)):
        created = kept.ask(question)
        assert created.token.until_ms - created.token.created_ms == lifetime_s * 1000
    assert (LIFETIME_S, JOIN_LIFETIME_S) == (90 * 86_400, 3_600)


def test_what_is_on_disk_is_a_hash_and_never_the_secret(kept: Kept) -> None:
    shown = kept.create()
    stored = b"".join(kept.rows.values())
    assert sha256(shown.secret).hexdigest().encode() in stored
    assert shown.secret not in stored
    assert shown.secret.hex().encode() not in stored
    assert shown.text.rpartition("_")[2].encode() not in stored


def test_a_secret_has_256_bits_and_no_two_tokens_have_the_same(kept: Kept) -> None:
    shown = [kept.create() for _ in range(50)]
    assert {len(each.secret) for each in shown} == {32}
    assert len({each.secret for each in shown}) == len({each.id for each in shown}) == 50


def test_a_secret_that_differs_in_one_bit_is_nobodys(kept: Kept) -> None:
    shown = kept.create()
    other = Shown(shown.id, bytes([shown.secret[0] ^ 1]) + shown.secret[1:])
    assert kept.ask(Authenticate(other)) is None
    assert kept.ask(Authenticate(Shown("aaaaaaaa", shown.secret))) is None
    assert kept.ask(Authenticate(shown)) is not None
    assert kept.tokens.counters()["tokens_refused"] == 2


def test_tokens_outlive_a_restart(kept: Kept) -> None:
    shown = kept.create()
    kept.start()
    assert kept.ask(Authenticate(shown)) == Identity("token", "lamp-3", ("device",))


def test_a_row_that_cannot_be_read_stops_the_start(kept: Kept) -> None:
    kept.rows[b"token x"] = b"{}"
    with pytest.raises(StoreError, match="token x"):
        kept.start()


def test_a_revoked_token_is_nobodys_from_then_on(kept: Kept) -> None:
    shown = kept.create()
    revoked = kept.ask(RevokeToken(shown.id, OPERATOR))
    assert isinstance(revoked, Revoked)
    assert revoked.token.name == "lamp-3"
    assert kept.ask(Authenticate(shown)) is None
    kept.start()
    assert kept.ask(Authenticate(shown)) is None
    assert kept.ask(RevokeToken(shown.id, OPERATOR)).reason == "not found"


def test_a_token_is_revoked_before_the_answer_is_durable(kept: Kept) -> None:
    shown = kept.create()
    kept.tokens.ask(1, RevokeToken(shown.id, OPERATOR), 0.0)
    kept.tokens.ask(2, Authenticate(shown), 0.0)
    _, answer = kept.tokens.take_effects()
    assert answer == Answer(2, None)


def test_the_use_of_a_token_is_noted_by_the_hour(kept: Kept) -> None:
    shown = kept.create()
    for now, writes in ((1.0, 1), (2.0, 0), (3_601.0, 1)):
        kept.tokens.ask(1, Authenticate(shown), now)
        effects = kept.tokens.take_effects()
        assert isinstance(effects[0], Answer), "nobody waits for the note"
        assert len(effects) == 1 + writes
    (token,) = kept.ask(ListTokens(OPERATOR), 3_602.0).tokens
    assert token.used_ms == (WALL_MS + 3_601_000) // 3_600_000 * 3_600_000


def test_a_list_has_those_that_live_oldest_first(kept: Kept) -> None:
    kept.create(CreateToken("short", (), OPERATOR, 10), 0.0)
    kept.create(CreateToken("first", ("reader",), OPERATOR), 1.0)
    kept.create(CreateToken("second", ("reader",), OPERATOR), 2.0)
    assert [token.name for token in kept.ask(ListTokens(OPERATOR), 10.0).tokens] == ["first", "second"]


@pytest.mark.parametrize("who", [ANONYMOUS, Identity("token", "x", ("device", "peer", "reader"))])
def test_only_who_may_administer_gives_lists_and_revokes(kept: Kept, who: Identity) -> None:
    shown = kept.create()
    for question in (CreateToken("x", ("admin",), who), ListTokens(who), RevokeToken(shown.id, who)):
        declined = kept.ask(question)
        assert isinstance(declined, Declined)
        assert (declined.reason, "administer" in declined.detail) == ("forbidden", True)
    assert kept.ask(Authenticate(shown)) is not None
    assert len(kept.rows) == 1


def test_an_administrator_of_some_sectors_gives_no_tokens(kept: Kept) -> None:
    who = Identity("token", "x", ("admin",), sectors=("floor-1",))
    assert kept.ask(CreateToken("y", ("admin",), who)).reason == "forbidden"


@pytest.mark.parametrize(
    ("question", "detail"),
    [
        (CreateToken("", (), OPERATOR), "no name"),
        (CreateToken("a b", (), OPERATOR), "no name"),
        (CreateToken("a" * 65, (), OPERATOR), "no name"),
        (CreateToken("lamp-*", ("device",), OPERATOR), "no name"),
        (CreateToken("a", ("king",), OPERATOR), "the roles are"),
        (CreateToken("a", (), OPERATOR, actions=("fly",)), "the actions are"),
        (CreateToken("a", (), OPERATOR, sectors=("x",) * 65), "64 actions"),
        (CreateToken("a", (), OPERATOR, sectors=("x" * 256,)), "255 octets"),
        (CreateToken("a", (), OPERATOR, 0), "lives for 1 to"),
        (CreateToken("a", (), OPERATOR, 20 * 366 * 86_400), "lives for 1 to"),
        (CreateToken("a", (), OPERATOR, hosts=("h",)), "only to join as a peer"),
        (CreateToken("a@b", ("device",), OPERATOR, pin=PIN), "no name"),
        (CreateToken("a" * 48, ("device",), OPERATOR, pin=PIN), "no name"),
        (CreateToken("a*b", ("device",), OPERATOR, pin=PIN), "no name"),
        (CreateToken("a", (), OPERATOR, pin=PIN), "one role"),
        (CreateToken("a", ("device", "peer"), OPERATOR, pin=PIN), "one role"),
        (CreateToken("a", ("device",), OPERATOR, actions=("read",), pin=PIN), "no scope"),
        (CreateToken("a", ("device",), OPERATOR, pin=PIN, hosts=("h",)), "only to join as a peer"),
    ],
)
def test_what_no_token_can_be_is_refused_with_a_reason(kept: Kept, question: CreateToken, detail: str) -> None:
    declined = kept.ask(question)
    assert isinstance(declined, Declined)
    assert declined.reason == "wrong"
    assert detail in declined.detail
    assert not kept.rows


def test_tokens_are_bounded_and_those_that_ended_make_room(kept: Kept) -> None:
    for _ in range(TOKENS_MAX):
        kept.create(CreateToken("a", (), OPERATOR, 60))
    assert kept.ask(LAMP, 59.0).reason == "full"
    kept.create(LAMP, 60.0)
    assert len(kept.rows) == kept.tokens.gauges()["tokens"] == 1


def test_the_first_token_is_an_administrators_and_given_once(kept: Kept) -> None:
    created = kept.ask(FirstToken())
    assert kept.ask(Authenticate(created.shown)) == Identity("token", "admin", ("admin",))
    assert kept.ask(FirstToken()) is None
    kept.ask(RevokeToken(created.shown.id, OPERATOR))
    kept.start()
    assert kept.ask(FirstToken()) is None


# joining


def test_a_token_to_join_with_is_used_up_once(kept: Kept) -> None:
    shown = kept.create(JOIN)
    assert kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS)) == Redeemed("device", "lamp-3")
    assert "used already" in kept.ask(Redeem(shown, "lamp-4", (), ANONYMOUS)).detail
    kept.start()
    assert "used already" in kept.ask(Redeem(shown, "lamp-4", (), ANONYMOUS)).detail


def test_a_token_is_used_up_before_the_answer_is_durable(kept: Kept) -> None:
    shown = kept.create(JOIN)
    for id in (1, 2):
        kept.tokens.ask(id, Redeem(shown, "lamp-3", (), ANONYMOUS), 0.0)
    first, second = kept.tokens.take_effects()
    assert isinstance(first, Commit)
    assert [put.key for put in first.puts] == [b"token " + shown.id.encode()]
    assert first.then == (Answer(1, Redeemed("device", "lamp-3")),)
    assert isinstance(second, Answer)
    assert isinstance(second.result, Declined)


@pytest.mark.parametrize("name", ["lamp", "door-1", "", "lamp-*", "lamp-ä", "lamp-3\n", "lamp-" + "x" * 43])
def test_a_name_that_the_token_is_not_for_uses_nothing_up(kept: Kept, name: str) -> None:
    shown = kept.create(JOIN)
    assert "for the name lamp-*" in kept.ask(Redeem(shown, name, (), ANONYMOUS)).detail
    assert kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS)) == Redeemed("device", "lamp-3")


def test_a_token_for_one_name_needs_none_to_be_said(kept: Kept) -> None:
    shown = kept.create(CreateToken("lamp-3", ("device",), OPERATOR, pin=PIN))
    assert kept.ask(Redeem(shown, "lamp-4", (), ANONYMOUS)).reason == "forbidden"
    assert kept.ask(Redeem(shown, None, (), ANONYMOUS)) == Redeemed("device", "lamp-3")
    pattern = kept.create(JOIN)
    assert "say which name" in kept.ask(Redeem(pattern, None, (), ANONYMOUS)).detail


def test_a_name_that_is_taken_is_certified_again_only_by_a_token_for_it_alone(kept: Kept) -> None:
    taken = frozenset({"lamp-3"})
    assert "taken" in kept.ask(Redeem(kept.create(JOIN), "lamp-3", (), ANONYMOUS, taken)).detail
    exact = kept.create(CreateToken("lamp-3", ("device",), OPERATOR, pin=PIN))
    assert kept.ask(Redeem(exact, "lamp-3", (), ANONYMOUS, taken)) == Redeemed("device", "lamp-3")


def test_what_would_be_answered_can_be_asked_and_uses_nothing_up(kept: Kept) -> None:
    shown = kept.create(JOIN)
    assert kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS, dry=True)) == Redeemed("device", "lamp-3")
    assert "for the name" in kept.ask(Redeem(shown, "door", (), ANONYMOUS, dry=True)).detail
    assert kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS)) == Redeemed("device", "lamp-3")


def test_a_token_for_one_role_gives_no_other(kept: Kept) -> None:
    shown = kept.create(JOIN)
    assert "certifies a device" in kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS, role="peer")).detail
    assert kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS, role="device")) == Redeemed("device", "lamp-3")


def test_an_expired_token_joins_nobody(kept: Kept) -> None:
    shown = kept.create(JOIN)
    assert "expired" in kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS), 3_600.0).detail


def test_a_foreign_token_and_a_wrong_secret_are_told_alike(kept: Kept) -> None:
    shown, foreign = kept.create(JOIN), Kept(99).create(JOIN)
    wrong = Shown(shown.id, foreign.secret, PIN)
    answers = [kept.ask(Redeem(each, "lamp-3", (), ANONYMOUS)) for each in (foreign, wrong)]
    assert answers[0] == answers[1]
    assert "none to join this node with" in answers[0].detail


def test_a_host_must_be_one_that_the_token_allows(kept: Kept) -> None:
    shown = kept.create(CreateToken("n-2", ("peer",), OPERATOR, pin=PIN, hosts=("n2.example",)))
    assert "other.example" in kept.ask(Redeem(shown, "n-2", ("n2.example", "other.example"), ANONYMOUS)).detail
    assert kept.ask(Redeem(shown, "n-2", ("n2.example",), ANONYMOUS)) == Redeemed("peer", "n-2")


def test_a_bearers_token_joins_nobody_and_one_to_join_with_bears_nobody(kept: Kept) -> None:
    bearer, join = kept.create(), kept.create(JOIN)
    assert kept.ask(Redeem(bearer, "lamp-3", (), ANONYMOUS)).reason == "forbidden"
    assert kept.ask(Authenticate(join)) is None


def test_the_policy_decides_who_may_join() -> None:
    kept = Kept(policy=Policy.read({"allow": [{"who": ["operator"], "do": ["administer"]}]}, "test"))
    shown = kept.create(JOIN)
    assert "no rule of the policy allows join" in kept.ask(Redeem(shown, "lamp-3", (), ANONYMOUS)).detail


# as text


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["", PIN, "00" * 32]))
def test_a_token_survives_its_text(secret: bytes, pin: str) -> None:
    shown = Shown("abcdefgh", secret, pin)
    assert Shown.read(shown.text) == shown
    assert re.fullmatch("[a-z2-7_]+", shown.text), "a click selects it, and no shell changes it"
    assert shown.text.startswith("wpj_abcdefgh_" if pin else "wp_abcdefgh_")


@given(st.text())
def test_any_other_text_raises_and_is_not_shown(text: str) -> None:
    with pytest.raises(WireError) as raised:
        Shown.read(text)
    assert len(text) < 4 or text not in str(raised.value)


def test_the_spare_bits_of_the_last_character_are_no_second_spelling() -> None:
    text = Shown("abcdefgh", bytes(32)).text
    assert text.endswith("a")
    with pytest.raises(WireError):
        Shown.read(text[:-1] + "b")


def test_a_secret_shows_in_no_repr_and_in_no_redacted_text(kept: Kept) -> None:
    shown = kept.create(JOIN)
    created = kept.ask(LAMP)
    for each in (shown, Authenticate(shown), Redeem(shown, "lamp-3", (), ANONYMOUS), created):
        assert shown.text.split("_")[2] not in repr(each)
        assert "secret" not in repr(each)
    line = f"GET /x?t={shown.text}&u={created.shown.text.upper()}: {shown.text}"
    assert redacted(line).count("_…") == 3
    for each in (shown, created.shown):
        assert each.text.split("_")[2] not in redacted(line).lower()
    assert redacted("nothing of wp here") == "nothing of wp here"


# what narrows


def test_actions_and_sectors_narrow_what_the_policy_allows() -> None:
    kept = Kept()
    shown = kept.create(CreateToken("ci", ("admin",), OPERATOR, actions=("look-up", "read"), sectors=("floor-1*",)))
    who = kept.ask(Authenticate(shown))
    policy = default()
    assert not policy.decide(who, Action.EVICT, Target("rd")).allowed
    seen = policy.decide(who, Action.LOOK_UP, Target("rd"))
    assert seen.allowed
    assert seen.view is not None
    assert seen.view.shows("floor-12", "lamp")
    assert not seen.view.shows("floor-2", "lamp")
    assert not seen.view.shows(None, "lamp")
