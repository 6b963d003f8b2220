"""What a policy decides, rule by rule, and against a plain enumeration of small sets of names."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import StateError
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity import policy as module
from waypost.identity.policy import ALL, Action, Policy, Span, Target, View, default

LAMP = Identity("psk", "lamp-3", ("device",))
ANNA = Identity("certificate", "anna", ("admin", "reader"))
NARROW = Identity("token", "board", ("device",), ("look-up", "read"), ("a*", "b"))
EVERYBODY = (ANONYMOUS, OPERATOR, LAMP, ANNA, Identity("token", "anna"), Identity("oscore", "lamp-3", ("device",)))
SECTORS = ("", "a", "ab", "b")
NAMES = ("", "lamp-3", "lamp-30", "anna", "x")


def policy(allow: Sequence[Mapping[str, Any]] = (), deny: Sequence[Mapping[str, Any]] = ()) -> Policy:
    return Policy.read({"allow": list(allow), "deny": list(deny)}, "test")


def one(sector: str, name: str, owner: str = "", source: str = "", room: str = "rd") -> Target:
    return Target(room, Span(sector), Span(name), owner, source)


def rule(who: str = "anyone", do: str = "look-up", **more: Any) -> dict[str, Any]:
    return {"who": [who], "do": [do], **more}


def allows(rules: Policy, who: Identity, action: Action, target: Target) -> bool:
    return rules.decide(who, action, target).allowed


# by hand


def test_what_no_rule_allows_is_denied() -> None:
    rules = policy()
    for who in EVERYBODY:
        for action in Action:
            for target in (Target("rd"), Target("node"), one("", "x")):
                assert not allows(rules, who, action, target)


def test_a_rule_is_for_those_it_names_and_nobody_else() -> None:
    meant = {
        "anyone": set(EVERYBODY),
        "anonymous": {ANONYMOUS},
        "operator": {OPERATOR},
        "role:device": {LAMP, EVERYBODY[5]},
        "role:admin": {ANNA},
        "psk:lamp-3": {LAMP},
        "psk:lamp-*": {LAMP},
        "psk:*": {LAMP},
        "certificate:anna": {ANNA},
        "token:a*": {EVERYBODY[4]},
        "psk:lamp": set(),
        "psk:lamp-30": set(),
    }
    for item, who in meant.items():
        rules = policy([rule(item)])
        assert {each for each in EVERYBODY if allows(rules, each, Action.LOOK_UP, Target("rd"))} == who, item


def test_a_rule_is_for_its_actions_and_a_star_for_all() -> None:
    for action in Action:
        rules = policy([rule(do=action.value)])
        assert [each for each in Action if allows(rules, LAMP, each, Target("rd"))] == [action]
        assert allows(policy([rule(do="*")]), LAMP, action, Target("rd"))


def test_a_rule_is_for_its_rooms_and_a_star_for_all() -> None:
    for rooms, meant in (
        (["rd"], {"rd"}),
        (["node"], {"node"}),
        (["*"], {"rd", "node"}),
        (["rd", "node"], {"rd", "node"}),
    ):
        rules = policy([{**rule(), "in": rooms}])
        assert {room for room in ("rd", "node") if allows(rules, LAMP, Action.LOOK_UP, Target(room))} == meant


def test_what_one_rule_denies_no_other_allows() -> None:
    rules = policy([rule(), rule("psk:lamp-3")], [rule("role:device", name=["x"])])
    assert not allows(rules, LAMP, Action.LOOK_UP, one("", "x"))
    assert allows(rules, LAMP, Action.LOOK_UP, one("", "anna"))
    assert allows(rules, ANNA, Action.LOOK_UP, one("", "x"))
    assert "denies look-up to psk:lamp-3" in rules.decide(LAMP, Action.LOOK_UP, one("", "x")).reason


def test_the_askers_own_name_is_a_name_and_never_a_pattern() -> None:
    star = Identity("token", "lamp*", ("device",))  # nobody can have it; if somebody had, it would not help
    rules = policy([rule(name=["{name}"])])
    assert allows(rules, star, Action.LOOK_UP, one("", "lamp*"))
    assert not allows(rules, star, Action.LOOK_UP, one("", "lamp-3"))
    assert allows(rules, LAMP, Action.LOOK_UP, one("", "lamp-3"))
    assert not allows(rules, LAMP, Action.LOOK_UP, one("", "{name}"))


def test_who_has_no_name_has_nothing_of_that_name() -> None:
    rules = policy([rule(name=["{name}", "{name}*", "a{name}"], sector=["*"])])
    for who in (ANONYMOUS, OPERATOR):
        for name in ("", "a", "{name}"):
            assert not allows(rules, who, Action.LOOK_UP, one("", name))
        assert not allows(rules, who, Action.LOOK_UP, Target("rd"))


def test_the_own_name_may_stand_in_a_sector_and_before_an_ending() -> None:
    rules = policy([rule(sector=["home-{name}"], name=["{name}/*"])])
    assert allows(rules, LAMP, Action.LOOK_UP, one("home-lamp-3", "lamp-3/a"))
    assert not allows(rules, LAMP, Action.LOOK_UP, one("home-lamp-3", "lamp-30/a"))
    assert not allows(rules, LAMP, Action.LOOK_UP, one("home-anna", "lamp-3/a"))


def test_what_is_anothers_is_not_touched_where_the_rule_says_so() -> None:
    rules = policy([rule(do="register", owner="own")])
    for owner, allowed in (("", True), ("psk:lamp-3", True), ("psk:lamp-30", False), ("certificate:lamp-3", False)):
        decision = rules.decide(LAMP, Action.REGISTER, one("", "x", owner))
        assert decision.allowed == allowed, owner
        assert allowed or "another's" in decision.reason
    assert allows(policy([rule(do="register")]), LAMP, Action.REGISTER, one("", "x", "psk:lamp-30"))


def test_a_stranger_is_known_by_its_address_and_by_nothing_that_others_are_known_by() -> None:
    rules = policy([rule(do="register", owner="own")])
    assert allows(rules, ANONYMOUS, Action.REGISTER, one("", "x", "source:192.0.2.1", "192.0.2.1"))
    assert not allows(rules, ANONYMOUS, Action.REGISTER, one("", "x", "source:192.0.2.1", "192.0.2.2"))
    assert not allows(rules, ANONYMOUS, Action.REGISTER, one("", "x", "anonymous", "192.0.2.1"))
    assert not allows(rules, LAMP, Action.REGISTER, one("", "x", "source:192.0.2.1", "192.0.2.1"))
    assert not allows(rules, OPERATOR, Action.REGISTER, one("", "x", "source:", ""))


def test_a_range_is_allowed_if_a_part_is_and_shows_that_part() -> None:
    rules = policy([rule(sector=["a"]), rule(name=["x"])], [rule(sector=["a"], name=["lamp-3"])])
    decision = rules.decide(LAMP, Action.LOOK_UP, Target("rd"))
    assert decision.allowed
    assert decision.view is not None
    shown = {(s, n) for s in SECTORS for n in NAMES if decision.view.shows(s, n)}
    assert shown == {("a", n) for n in NAMES if n != "lamp-3"} | {(s, "x") for s in SECTORS}
    assert decision.view.shows(None, "x"), "those that name no sector are in the one without a name"


def test_a_range_of_which_all_is_denied_is_denied() -> None:
    rules = policy([rule(sector=["a"])], [rule(sector=["a*"])])
    decision = rules.decide(LAMP, Action.LOOK_UP, Target("rd"))
    assert not decision.allowed
    assert decision.reason


def test_the_node_has_no_parts() -> None:
    """Who may do all in a sector gives itself no token for all the others; nor does one with a narrowed token."""
    landlord = policy([rule("psk:lamp-3", do="*", sector=["mine"]), rule("operator", do="*")])
    narrow = Identity("token", "anna", ("admin",), (), ("mine",))
    for action in Action:
        assert not allows(landlord, LAMP, action, Target("node"))
        assert allows(landlord, LAMP, action, Target("rd"))
        assert allows(landlord, OPERATOR, action, Target("node"))
        assert not allows(policy([rule("role:admin", do="*")]), narrow, action, Target("node"))
        assert not allows(policy([rule(do="*")], [rule(do="*", name=["x"])]), OPERATOR, action, Target("node"))
    assert "whole node" in landlord.decide(LAMP, Action.ADMINISTER, Target("node")).reason


def test_what_was_decided_of_a_range_is_remembered() -> None:
    rules = policy([rule(sector=["a"])])
    first = rules.decide(LAMP, Action.LOOK_UP, Target("rd"))
    assert rules.decide(LAMP, Action.LOOK_UP, Target("rd")) is first
    held = rules.remembered
    for number in range(9):
        rules.decide(LAMP, Action.LOOK_UP, one("a", str(number)))
    assert rules.remembered == held, "there is no end of names"


def test_all_of_a_range_needs_no_view() -> None:
    assert policy([rule(), rule(sector=["a"])]).decide(LAMP, Action.LOOK_UP, Target("rd")).view is None


def test_tokens_may_do_less_than_the_policy_lets_them_and_never_more() -> None:
    narrow = Identity("token", "anna", (), ("look-up",), ("a*", ""))
    rules = policy([rule(do="*", sector=["a", "b", ""])], [rule(sector=["ab"])])
    for action in Action:
        for sector in SECTORS:
            decision = rules.decide(narrow, action, one(sector, "x"))
            assert decision.allowed == (action is Action.LOOK_UP and sector in ("", "a")), (action, sector)
    denied = policy([rule(do="*")], [rule(do="*", sector=["b"])])
    wide = Identity("token", "anna", (), ("look-up",), ("*",))
    assert not allows(denied, wide, Action.LOOK_UP, one("b", "x")), "what narrows them narrows no denial"


def test_who_is_revoked_may_nothing_until_reinstated() -> None:
    rules = policy([rule(do="*"), rule("psk:lamp-3", do="*")])
    assert allows(rules, LAMP, Action.LOOK_UP, Target("rd")), "what was decided is remembered"
    rules.revoke("psk:lamp-3")
    for target in (Target("rd"), one("", "x")):
        decision = rules.decide(LAMP, Action.LOOK_UP, target)
        assert not decision.allowed
        assert decision.reason == "psk:lamp-3 was revoked"
        assert allows(rules, Identity("psk", "lamp-30", ("device",)), Action.LOOK_UP, target)
    assert rules.deciding(LAMP, Action.LOOK_UP, Target("rd")) == []
    rules.adopt(policy([rule(do="*")]))
    assert not allows(rules, LAMP, Action.LOOK_UP, Target("rd")), "another policy pardons nobody"
    rules.reinstate("psk:lamp-3")
    assert allows(rules, LAMP, Action.LOOK_UP, Target("rd"))
    rules.reinstate("psk:never")


def test_roles_do_not_save_who_is_revoked() -> None:
    rules = default()
    rules.revoke(ANNA.subject)
    assert not allows(rules, ANNA, Action.ADMINISTER, Target("node"))
    assert not allows(rules, ANNA._replace(roles=("peer",)), Action.PEER, Target("node"))


@pytest.mark.parametrize(
    "subject", ["anonymous", "operator", "anyone", "operator:x", "role:device", "psk", "psk:", "", "user:anna"]
)
def test_only_those_with_a_name_can_be_revoked(subject: str) -> None:
    rules = default()
    with pytest.raises(StateError):
        rules.revoke(subject)
    assert allows(rules, ANONYMOUS, Action.LOOK_UP, Target("rd"))


def test_as_many_are_revoked_as_may_be() -> None:
    rules = default()
    for number in range(module.REVOKED_MAX):
        rules.revoke(f"psk:{number}")
    rules.revoke("psk:0")
    with pytest.raises(StateError):
        rules.revoke("psk:one-more")


def test_other_rules_are_adopted_at_once() -> None:
    rules = policy([rule()])
    assert allows(rules, LAMP, Action.LOOK_UP, Target("rd"))
    assert allows(rules, LAMP, Action.LOOK_UP, one("", "x"))
    rules.adopt(policy([rule(do="read")]))
    assert not allows(rules, LAMP, Action.LOOK_UP, Target("rd"))
    assert not allows(rules, LAMP, Action.LOOK_UP, one("", "x"))
    assert allows(rules, LAMP, Action.READ, Target("rd"))


def test_the_rules_that_decide_are_told() -> None:
    rules = policy([rule("psk:x"), rule(), rule(name=["x"])], [rule("token:*"), rule(name=["anna"])])

    def told(name: str) -> list[tuple[bool, int]]:
        return [(each.allows, each.number) for each in rules.deciding(LAMP, Action.LOOK_UP, one("", name))]

    assert told("x") == [(True, 2), (True, 3)]
    assert told("anna") == [(False, 2)]
    assert told("y") == [(True, 2)]
    assert rules.deciding(LAMP, Action.READ, one("", "x")) == []


def test_memory_of_many_askers_changes_no_decision() -> None:
    rules = policy([rule("psk:7*", name=["{name}"]), rule("psk:7*", do="read")])
    for number in range(2 * module.MEMORY_MAX + 100):
        who = Identity("psk", str(number))
        meant = str(number).startswith("7")
        assert allows(rules, who, Action.LOOK_UP, one("", str(number))) == meant
        assert allows(rules, who, Action.READ, Target("rd")) == meant
    assert rules.remembered <= 2 * module.MEMORY_MAX


def test_the_default_lets_all_look_the_owner_change_and_the_operator_everything() -> None:
    """docs/policy.md."""
    rules = default()
    for who in EVERYBODY:
        rights = {action.value for action in Action if allows(rules, who, action, Target("rd"))}
        public = {"discover", "look-up", "read", "watch", "register", "renew", "remove", "claim", "status", "join"}
        everything = {action.value for action in Action}
        assert rights == (everything if who in (OPERATOR, ANNA) else public), who
    peer = Identity("certificate", "node-2", ("peer",))
    assert allows(rules, peer, Action.PEER, Target("node"))
    assert not allows(rules, LAMP, Action.PEER, Target("node"))


# by property

patterns = st.sampled_from(["*", "", "a", "a*", "ab", "b", "lamp-3", "lamp-*", "{name}", "{name}*", "x", "anna"])
written = st.fixed_dictionaries(
    {
        "who": st.lists(
            st.sampled_from(["anyone", "anonymous", "operator", "role:device", "psk:*", "certificate:anna"]),
            min_size=1,
            max_size=2,
        ),
        "do": st.lists(st.sampled_from(["*", "look-up", "register"]), min_size=1, max_size=2),
    },
    optional={
        "in": st.lists(st.sampled_from(["*", "rd", "node"]), max_size=2),
        "sector": st.lists(patterns, max_size=3),
        "name": st.lists(patterns, max_size=3),
    },
)
owned = written.flatmap(lambda table: st.sampled_from([table, {**table, "do": ["register"], "owner": "own"}]))
askers = st.sampled_from([*EVERYBODY, NARROW])
actions = st.sampled_from([Action.LOOK_UP, Action.REGISTER, Action.READ])
spans = st.sampled_from([ALL, Span("a", True), Span("lamp-", True), Span(""), Span("a"), Span("lamp-3")])


def fits(text: str, value: str, who: Identity) -> bool:
    if "{name}" in text and not who.name:
        return False
    start = text.removesuffix("*").replace("{name}", who.name)
    return value.startswith(start) if text.endswith("*") else value == start


def meant(item: str, who: Identity) -> bool:
    kind, _, name = item.partition(":")
    match kind:
        case "anyone":
            return True
        case "role":
            return name in who.roles
        case _:
            return kind == who.kind and (name in ("", "*") or name == who.name)


def concerns(table: Mapping[str, Any], who: Identity, action: Action, sector: str, name: str, owner: str) -> bool:
    if who is NARROW and (action not in (Action.LOOK_UP, Action.READ) or not (sector[:1] == "a" or sector == "b")):
        return False
    return (
        any(meant(item, who) for item in table["who"])
        and any(item in ("*", action.value) for item in table["do"])
        and any(item in ("*", "rd") for item in table.get("in", ["*"]))
        and any(fits(text, sector, who) for text in table.get("sector", ["*"]))
        and any(fits(text, name, who) for text in table.get("name", ["*"]))
        and (table.get("owner") != "own" or owner in ("", who.subject))
    )


def expected(allow: Sequence[Any], deny: Sequence[Any], *about: Any) -> bool:
    return any(concerns(t, *about) for t in allow) and not any(concerns(t, *about) for t in deny)


@given(st.lists(owned, max_size=4), st.lists(written, max_size=2), askers, actions, st.sampled_from(["", "psk:lamp-3"]))
def test_one_name_is_decided_as_plain_enumeration_has_it(
    allow: list[Any], deny: list[Any], who: Identity, action: Action, owner: str
) -> None:
    rules = policy(allow, deny)
    for sector in SECTORS:
        for name in NAMES:
            decision = rules.decide(who, action, one(sector, name, owner))
            assert decision.allowed == expected(allow, deny, who, action, sector, name, owner)
            assert decision.allowed == (decision.reason == "")


@given(st.lists(written, max_size=4), st.lists(written, max_size=2), askers, actions, spans, spans)
def test_a_range_shows_each_name_that_is_allowed_by_itself(
    allow: list[Any], deny: list[Any], who: Identity, action: Action, sectors: Span, names: Span
) -> None:
    rules = policy(allow, deny)
    decision = rules.decide(who, action, Target("rd", sectors, names))
    shown = set()
    for sector in SECTORS:
        for name in NAMES:
            if not (sectors.covers(Span(sector)) and names.covers(Span(name))):
                continue
            if decision.allowed and (decision.view is None or decision.view.shows(sector, name)):
                shown.add((sector, name))
            assert ((sector, name) in shown) == expected(allow, deny, who, action, sector, name, "")
    assert decision.allowed or not shown


@given(st.lists(owned, max_size=4), st.lists(written, max_size=2), askers, actions, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(
    allow: list[Any], deny: list[Any], who: Identity, action: Action, random: Any
) -> None:
    other_allow, other_deny = random.sample(allow, len(allow)), random.sample(deny, len(deny))
    rules, others = policy(allow, deny), policy(other_allow, other_deny)
    for sector in SECTORS:
        for name in NAMES:
            assert allows(rules, who, action, one(sector, name)) == allows(others, who, action, one(sector, name))


@given(spans, spans)
def test_what_two_spans_share_is_what_is_in_both(one_span: Span, other: Span) -> None:
    both = one_span.meets(other)
    for name in (*SECTORS, *NAMES, "lamp-", "lamp"):
        in_both = one_span.covers(Span(name)) and other.covers(Span(name))
        assert in_both == (both is not None and both.covers(Span(name)))
    assert not Span("a").covers(Span("a", True))


def test_who_names_no_sector_is_in_the_one_without_a_name() -> None:
    view = policy([rule(sector=[""])]).decide(LAMP, Action.LOOK_UP, Target("rd")).view
    assert view is not None
    assert view.shows(None, "x")
    assert view.shows("", "x")
    assert not view.shows("x", "x")


def test_a_view_of_nothing_shows_nothing() -> None:
    assert not View(()).shows("a", "x")
