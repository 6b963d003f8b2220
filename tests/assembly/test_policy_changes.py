"""What is kept or under way when somebody else asks, or when the policy changes."""

from collections.abc import Mapping
from typing import Any

import pytest
from speaking import Device, Node

from waypost.assembly.questions import Review
from waypost.coap.message import Message, uint
from waypost.coap.numbers import Code, Option, Type
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.policy import Policy, default
from waypost.rd.questions import Busy, Found, Import, Kind, Lookup, Refused, Register

TENANT = Identity("psk", "tenant", ("reader",))
READER = Identity("psk", "reader", ("reader",))
OBSERVE = [(int(Option.OBSERVE), b"")]
LOOK: Mapping[str, Any] = {"who": ["anyone"], "do": ["look-up", "watch", "read"]}
LIMITED: Mapping[str, Any] = {"who": ["psk:tenant"], "do": ["look-up", "watch"], "sector": ["mine"]}
MAKE: Mapping[str, Any] = {"who": ["anyone"], "do": ["register"]}


def policy(*allow: Mapping[str, Any], deny: tuple[Mapping[str, Any], ...] = ()) -> Policy:
    return Policy.read({"allow": list(allow), "deny": list(deny)}, "test")


def filled(rules: Policy, count: int = 1) -> Node:
    node = Node(policy=rules)
    maker = node.device("2001:db8::9", who=OPERATOR)
    for number in range(count):
        maker.register(f"/rd?ep=lamp{number}&d=mine", "</a>;rt=lamp")
        maker.register(f"/rd?ep=safe{number}&d=other", "</b>;rt=safe")
    return node


def asked(device: Device, uri: str) -> tuple[int, bytes]:
    answer = device.ask(Code.GET, uri)
    return answer.code, answer.payload


def test_what_was_answered_to_one_is_not_given_to_another_who_may_not_see_it() -> None:
    """etcd's proxy did: the octets of both questions are equal."""
    narrow: dict[str, Any] = {"who": ["psk:tenant"], "do": ["look-up"], "sector": ["other"]}
    node = filled(policy(LOOK, MAKE, deny=(narrow,)))
    stranger, tenant = node.device("2001:db8::1"), node.device("2001:db8::2", who=TENANT)
    for uri in ("/rd-lookup/ep?ep=safe0", "/rd-lookup/res?rt=safe", "/rd-lookup/ep?ep=lamp0"):
        seen = asked(stranger, uri)
        assert asked(stranger, uri) == seen
        hidden = (Code.CONTENT, b"") if "safe" in uri else seen
        assert asked(tenant, uri) == hidden
        assert asked(stranger, uri) == seen, "and what the tenant was shown is not what others are"


def test_what_is_answered_from_memory_is_put_to_the_policy_too() -> None:
    rules = policy(LOOK, MAKE)
    node = filled(rules)
    stranger = node.device("2001:db8::1")
    assert asked(stranger, "/rd-lookup/res?rt=safe") == asked(stranger, "/rd-lookup/res?rt=safe")
    rules.adopt(policy(MAKE))
    assert asked(stranger, "/rd-lookup/res?rt=safe")[0] == Code.FORBIDDEN, "no sooner is it changed"
    assert asked(stranger, "/rd-lookup/res?rt=none")[0] == Code.FORBIDDEN


def test_those_who_see_all_share_what_was_answered() -> None:
    node = filled(policy(LOOK, MAKE), count=2)
    uri = "/rd-lookup/res?rt=safe"
    for who in (ANONYMOUS, TENANT, READER, ANONYMOUS):
        asked(node.device("2001:db8::1", who=who), uri)
    assert node.counters()["coap_answers_repeated"] == 3


def test_to_observe_is_to_watch() -> None:
    """Who may look up and not watch is answered, and hears nothing later; so is who may watch less than it sees."""
    only_look = {"who": ["anyone"], "do": ["look-up"]}
    for watching in ({"who": ["operator"], "do": ["watch"]}, {"who": ["anyone"], "do": ["watch"], "sector": ["mine"]}):
        node = filled(policy(only_look, MAKE, watching))
        answer = node.device().ask(Code.GET, "/rd-lookup/res?rt=lamp", more=OBSERVE)
        assert answer.code == Code.CONTENT
        assert Option.OBSERVE not in dict(answer.options)
    node = filled(policy(only_look, MAKE, {"who": ["anyone"], "do": ["watch"]}))
    assert Option.OBSERVE in dict(node.device().ask(Code.GET, "/rd-lookup/res?rt=lamp", more=OBSERVE).options)


def test_an_observer_hears_of_what_it_may_see_and_of_nothing_else() -> None:
    node = filled(policy(LIMITED, MAKE))
    tenant = node.device(who=TENANT)
    seen = tenant.ask(Code.GET, "/rd-lookup/res?rt=*", more=OBSERVE)
    assert Option.OBSERVE in dict(seen.options)
    assert b"/b" not in seen.payload
    tenant.inbox.clear()
    maker = node.device("2001:db8::9")
    maker.register("/rd?ep=safe9&d=other", "</c>;rt=safe")
    node.advance(5)
    assert tenant.inbox == []
    maker.register("/rd?ep=lamp9&d=mine", "</d>;rt=lamp")
    node.advance(5)
    (news,) = tenant.inbox
    assert b"/d" in news.payload
    assert b"/c" not in news.payload


@pytest.mark.parametrize("change", ["revoked", "forbidden", "unwatched"])
def test_an_observation_that_is_not_allowed_any_more_ends_with_an_error(change: str) -> None:
    """RFC 7641, 4.2."""
    rules = policy(LOOK, MAKE)
    node = filled(rules)
    tenant, stranger = node.device("2001:db8::2", who=TENANT), node.device("2001:db8::3")
    for device in (tenant, stranger):
        device.ask(Code.GET, "/rd-lookup/res?rt=lamp", more=OBSERVE)
        device.inbox.clear()
    if change == "revoked":
        rules.revoke("psk:tenant")
    elif change == "forbidden":
        rules.adopt(policy(LOOK, MAKE, deny=({"who": ["psk:tenant"], "do": ["look-up"]},)))
    else:
        rules.adopt(policy(LOOK, MAKE, deny=({"who": ["psk:tenant"], "do": ["watch"]},)))
    node.review()
    (last,) = tenant.inbox
    assert last.code == (Code.SERVICE_UNAVAILABLE if change == "unwatched" else Code.FORBIDDEN)
    assert node.gauges()["coap_observations"] == 1
    tenant.inbox.clear()
    node.device("2001:db8::9").register("/rd?ep=new&d=mine", "</n>;rt=lamp")
    node.advance(5)
    assert [len(device.inbox) for device in (tenant, stranger)] == [0, 1], "who may goes on observing"


def test_an_observer_whose_acknowledgement_is_awaited_hears_the_error_and_no_news() -> None:
    rules = policy(LOOK, MAKE)
    node = filled(rules)
    tenant, maker = node.device("2001:db8::2", who=TENANT, validated=False), node.device("2001:db8::9")
    tenant.ask(Code.GET, "/rd-lookup/res?rt=lamp", more=OBSERVE)
    tenant.inbox.clear()
    maker.register("/rd?ep=n1&d=mine", "</n1>;rt=lamp")
    node.advance(0.2)
    (first,) = tenant.inbox
    tenant.inbox.clear()
    rules.revoke("psk:tenant")
    node.review()
    maker.register("/rd?ep=n2&d=mine", "</n2>;rt=lamp")
    node.advance(1.2)
    tenant.put(Message(Type.ACK, Code.EMPTY, first.id, b"", [], b""))
    node.advance(5)
    assert [message.code for message in tenant.inbox] == [Code.FORBIDDEN]


def test_the_blocks_of_an_answer_are_not_served_on_once_the_policy_has_changed() -> None:
    rules = policy(LOOK, MAKE)
    node = filled(rules, count=40)
    tenant = node.device(who=TENANT)
    first = tenant.ask(Code.GET, "/rd-lookup/res")
    assert Option.BLOCK2 in dict(first.options)
    more = [(int(Option.BLOCK2), uint(1 << 4 | 6))]
    assert tenant.ask(Code.GET, "/rd-lookup/res", more=more).code == Code.CONTENT
    rules.revoke("psk:tenant")
    node.review()
    assert tenant.ask(Code.GET, "/rd-lookup/res", more=more).code == Code.FORBIDDEN


def test_a_lookup_under_way_is_decided_anew_when_the_policy_has_changed() -> None:
    rules = policy(LOOK, MAKE, {"who": ["operator"], "do": ["*"]})
    node = filled(rules, count=400)
    ids = {}
    for who in (TENANT, READER, ANONYMOUS):
        ids[who] = node.assembly.ask(Lookup(Kind.RESOURCES, (), structured=True, who=who), node.now)
    assert node.carry_out() == {}
    rules.adopt(policy(LIMITED, MAKE, {"who": ["psk:reader"], "do": ["look-up"]}))
    node.assembly.ask(Review(), node.now)
    done = node.carry_out()
    while ids[READER] not in done:
        node.assembly.handle_timer(node.now)
        done |= node.carry_out()
    outcomes = {who: done[id] for who, id in ids.items()}
    assert isinstance(outcomes[ANONYMOUS], Refused)
    assert isinstance(outcomes[TENANT], Busy), "it would have told of more than it may see now"
    assert isinstance(outcomes[READER], Found)


def test_a_change_that_waits_is_decided_anew_before_it_is_made() -> None:
    rules = default()
    node = Node(policy=rules)
    operator = Register("a", None, 60, "coap://h", "", (), b"", "", TENANT)
    first = node.assembly.ask(operator, node.now)
    second = node.assembly.ask(Register("a", None, 90, "coap://h2", "", (), b"", "", TENANT), node.now)
    rules.revoke(TENANT.subject)
    outcomes = node.carry_out()
    assert not isinstance(outcomes[first], Refused), "that was on its way to the disk"
    assert isinstance(outcomes[second], Refused)


def test_an_imported_line_is_decided_by_its_own_name() -> None:
    """Batches are checked line by line."""
    take: dict[str, Any] = {"who": ["psk:tenant"], "do": ["import"], "sector": ["mine"]}
    node = Node(policy=policy(take))
    for sector, allowed in (("mine", True), ("other", False), (None, False)):
        line = Import(Register("a", sector, 60, "coap://h", "", (), b"", ""), None, 60.0, who=TENANT)
        id = node.assembly.ask(line, node.now)
        assert isinstance(node.carry_out()[id], Refused) != allowed
