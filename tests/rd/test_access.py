"""Who may change a registration."""

from dataclasses import replace
from typing import Any

import pytest
from speaking import Device, Disk, Node, location, option

from waypost.coap.numbers import Code, Option
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.policy import Policy, default
from waypost.rd.engine import Settings
from waypost.rd.questions import (
    Evict,
    Evicted,
    Evictions,
    Export,
    Import,
    Kind,
    Located,
    Locations,
    Lookup,
    Page,
    Question,
    Read,
    Readmit,
    Reason,
    Refused,
    Register,
    Registered,
    Remove,
    Removed,
    Renew,
)

ANNA, BORIS = "2001:db8::a", "2001:db8::b"
LAMP, TAKER = Identity("psk", "lamp", ("device",)), Identity("psk", "taker", ("device",))
TENANT = Identity("certificate", "tenant", ("reader",))
NOWHERE = "00000000-0000-4000-8000-000000000000"


def policy(*allow: dict[str, Any], deny: tuple[dict[str, Any], ...] = ()) -> Policy:
    return Policy.read({"allow": list(allow), "deny": list(deny)}, "test")


def tenant(*do: str, who: str = "certificate:tenant") -> dict[str, Any]:
    return {"who": [who], "do": [*do], "sector": ["mine"]}


ALL: dict[str, Any] = {"who": ["operator"], "do": ["*"]}


def asked(node: Node, question: Question) -> Any:
    """By whom the question says."""
    id = node.assembly.ask(question, node.now)
    return node.carry_out()[id]


def operators(ep: str) -> Register:
    return Register(ep, None, 60, "coap://h", "", (), b"", "127.0.0.1", OPERATOR)


def test_nobody_else_changes_a_registration() -> None:
    """RFC 9176, 7.5: any operation, also a registration that leads to an existing resource."""
    node = Node(policy=default())
    anna, boris = node.device(ANNA), node.device(BORIS)
    location = anna.register("/rd?ep=a", "</a>")
    for answer in (boris.post("/rd?ep=a", "</b>"), boris.post(location), boris.ask(Code.DELETE, location)):
        assert answer.code == Code.FORBIDDEN
        assert answer.payload, "a diagnostic"
    assert boris.post("/.well-known/rd?ep=a").code == Code.FORBIDDEN, "and nothing is fetched"
    assert [href for href, _ in boris.get("/rd-lookup/res")] == [f"coap://[{ANNA}]/a"], "but everybody may look"
    assert node.device(ANNA, 61000).post(location).code == Code.CHANGED, "ports do not matter: devices change them"
    assert anna.ask(Code.DELETE, location).code == Code.DELETED
    assert boris.register("/rd?ep=a", "</b>")


def test_the_same_name_in_another_sector_is_free() -> None:
    """RFC 9176, 5: names are unique in a sector."""
    node = Node(policy=default())
    node.device(ANNA).register("/rd?ep=a&d=x")
    assert node.device(BORIS).register("/rd?ep=a&d=y")


def test_the_name_of_an_expired_registration_is_free_and_its_location_is_not() -> None:
    """RFC 9176, 7.5: a name that is not assigned to an active registration resource."""
    node = Node(policy=default())
    anna, boris = node.device(ANNA), node.device(BORIS)
    location = anna.register("/rd?ep=a&lt=60")
    node.advance(61)
    assert boris.post(location).code == Code.FORBIDDEN
    assert anna.post(location).code == Code.CHANGED, "revived by its owner"
    node.advance(61)
    boris.register("/rd?ep=a&lt=60")
    assert anna.post(location).code == Code.FORBIDDEN, "it is another's now"


def test_what_is_remembered_survives_a_restart() -> None:
    disk = Disk()
    location = Node(disk=disk, policy=default()).device(ANNA).register("/rd?ep=a")
    node = Node(disk=disk, policy=default())
    assert node.device(BORIS).post(location).code == Code.FORBIDDEN
    assert node.device(ANNA).post(location).code == Code.CHANGED


def test_operators_change_everything_and_keep_what_they_register() -> None:
    """The local API."""
    node = Node(policy=default())
    anna = node.device(ANNA)
    lamp = anna.register("/rd?ep=lamp")
    assert isinstance(node.ask(operators("lamp")), Registered)
    assert anna.post(lamp).code == Code.CHANGED, "it is still its own"
    assert node.ask(Remove(lamp.removeprefix("/reg/"), "127.0.0.1", OPERATOR)) == Removed()
    assert isinstance(node.ask(operators("fixed")), Registered)
    assert anna.post("/rd?ep=fixed").code == Code.FORBIDDEN


def test_an_unknown_location_is_not_found_whoever_asks() -> None:
    """RFC 9176, 5.3.2."""
    assert Node(policy=default()).device().post("/reg/00000000-0000-4000-8000-000000000000").code == Code.NOT_FOUND


def test_link_local_addresses_of_two_links_are_two_sources() -> None:
    """RFC 4291, 2.5.6: the same address may be another host there."""
    node = Node(policy=default())
    node.device("fe80::1", scope=2).register("/rd?ep=a")
    assert node.device("fe80::1", scope=3).post("/rd?ep=a").code == Code.FORBIDDEN


def test_under_the_open_policy_everybody_may() -> None:
    node = Node()
    held = node.device(ANNA).register("/rd?ep=a")
    assert location(node.device(BORIS).post("/rd?ep=a")) == held
    assert node.device(BORIS).ask(Code.DELETE, held).code == Code.DELETED


def test_a_remembered_name_is_its_owners_until_that_has_left_and_the_grace_is_over() -> None:
    """Whatever the address; and whoever else comes, by whatever transport, is refused."""
    node = Node(Settings(grace_s=500), policy=default())
    lamp = node.device(ANNA, who=LAMP)
    others = [
        node.device(ANNA, 6000, who=TAKER),
        node.device(ANNA, 6001),
        node.device(BORIS, who=Identity("certificate", "lamp", ("device",))),
        node.device(BORIS, 6001, who=Identity("oscore", "lamp")),
    ]
    held = lamp.register("/rd?ep=a&lt=60", "</a>")

    def refused() -> None:
        for other in others:
            for answer in (other.post("/rd?ep=a"), other.post(held), other.ask(Code.DELETE, held)):
                assert answer.code == Code.FORBIDDEN
                assert b"another's" in answer.payload

    refused()
    moved = node.device(BORIS, 7000, who=LAMP._replace(roles=("device", "reader")))
    assert location(moved.post("/rd?ep=a&lt=60", "</a>")) == held, "a device may move, and its roles may change"
    node.advance(61)
    refused()
    assert moved.post(held).code == Code.CHANGED
    node.advance(61 + 490)
    refused()
    node.advance(10)
    taken = others[0].register("/rd?ep=a&lt=60")
    assert taken != held
    assert lamp.post("/rd?ep=a").code == Code.FORBIDDEN


def test_a_remembered_name_is_free_at_once_when_its_owner_removes_it() -> None:
    node = Node(policy=default())
    lamp, taker = node.device(ANNA, who=LAMP), node.device(BORIS, who=TAKER)
    held = lamp.register("/rd?ep=a")
    assert lamp.ask(Code.DELETE, held).code == Code.DELETED
    assert taker.register("/rd?ep=a") != held


def test_whose_a_name_is_survives_a_restart() -> None:
    disk = Disk()
    Node(disk=disk, policy=default()).device(ANNA, who=LAMP).register("/rd?ep=a")
    node = Node(disk=disk, policy=default())
    assert node.device(ANNA, who=TAKER).post("/rd?ep=a").code == Code.FORBIDDEN
    assert node.device(BORIS, who=LAMP).post("/rd?ep=a").code == Code.CREATED


@pytest.fixture
def two() -> tuple[Node, str, str]:
    """A node with a lamp of the tenant's and one of another's, and their locations."""
    node = Node(
        policy=policy(ALL, tenant("look-up", "read", "watch", "register", "renew", "remove", "evict", "export"))
    )
    maker = node.device(BORIS, who=OPERATOR)
    seen = maker.register("/rd?ep=lamp&d=mine", "</a>;rt=lamp;d=other").removeprefix("/reg/")
    hidden = maker.register("/rd?ep=safe&d=other", "</b>;rt=lamp;d=mine").removeprefix("/reg/")
    return node, seen, hidden


def test_a_hidden_location_answers_as_one_that_is_not_there(two: tuple[Node, str, str]) -> None:
    node, seen, hidden = two
    questions = (
        Read(seen, who=TENANT),
        Renew(seen, None, None, None, (), who=TENANT),
        Remove(seen, who=TENANT),
        Evict(seen, 60, who=TENANT),
    )
    for question in questions:
        there, nowhere = (
            asked(node, replace(question, location=hidden)),
            asked(node, replace(question, location=NOWHERE)),
        )
        assert isinstance(there, Refused)
        assert isinstance(nowhere, Refused)
        assert there.reason is nowhere.reason is Reason.NOT_FOUND
        assert there.detail.replace(hidden, "") == nowhere.detail.replace(NOWHERE, "")
    device = node.device(ANNA, who=TENANT)
    for code in (Code.GET, Code.POST, Code.DELETE):
        assert device.ask(code, f"/reg/{hidden}").code == device.ask(code, f"/reg/{NOWHERE}").code == Code.NOT_FOUND
    assert not isinstance(node.ask(questions[0]), Refused)


def test_who_may_do_nothing_of_the_kind_hears_so_whether_it_is_there_or_not(two: tuple[Node, str, str]) -> None:
    node, seen, _ = two
    for who in (ANONYMOUS, LAMP):
        for question in (Read(seen, who=who), Remove(seen, who=who), Evict(seen, 9, who=who)):
            there = asked(node, question)
            assert there == asked(node, replace(question, location=NOWHERE))
            assert there.reason is Reason.FORBIDDEN
        asked(node, Evict(seen, 9, OPERATOR))
        there = asked(node, Readmit(seen, who))
        assert there == asked(node, Readmit(NOWHERE, who))
        assert there.reason is Reason.FORBIDDEN


def test_who_sees_a_registration_hears_that_it_may_not_change_it() -> None:
    for sees in ("look-up", "read"):
        node = Node(policy=policy(ALL, tenant(sees), {"who": ["anyone"], "do": ["remove"], "sector": ["x"]}))
        held = node.device(BORIS, who=OPERATOR).register("/rd?ep=lamp&d=mine")
        answer = node.device(ANNA, who=TENANT).ask(Code.DELETE, held)
        assert answer.code == Code.FORBIDDEN


def test_a_lookup_shows_the_tenants_part_whatever_is_asked_for(two: tuple[Node, str, str]) -> None:
    """A link's own attribute d makes it nobody else's."""
    node, seen, _ = two
    device = node.device(ANNA, who=TENANT)
    for query in (
        "",
        "?rt=lamp",
        "?d=other",
        "?d=mine",
        "?ep=*",
        "?href=*",
        "?count=10",
        "?base=*",
        f"?href=/reg/{seen}",
    ):
        shown = device.get("/rd-lookup/res" + query)
        assert [href for href, _ in shown] == ([f"coap://[{BORIS}]/a"] if "base" not in query or shown else [])
        assert [href for href, _ in device.get("/rd-lookup/ep" + query)] == [f"/reg/{seen}"]
    for query in ("?ep=safe", "?rt=lamp&ep=safe", "?href=coap://[2001:db8::b]/b", "?count=1&page=1"):
        assert device.get("/rd-lookup/res" + query) == []
    assert option(device.ask(Code.GET, "/rd-lookup/res?ep=safe"), Option.ETAG) is None


def test_lookups_and_exports_of_groups_need_all_of_the_directory(two: tuple[Node, str, str]) -> None:
    """Their members may be anywhere (draft -12, 7.3)."""
    node, seen, hidden = two
    node.device(BORIS, who=OPERATOR).post("/rd-group?gp=g&d=mine", f"</reg/{seen}>,</reg/{hidden}>")
    device = node.device(ANNA, who=TENANT)
    for uri in ("/rd-lookup/gp", "/rd-lookup/gp?ep=lamp", "/rd-lookup/ep?gp=g", "/rd-lookup/res?gp=*"):
        assert device.ask(Code.GET, uri).code == Code.FORBIDDEN
        assert node.device(BORIS, who=OPERATOR).ask(Code.GET, uri).code == Code.CONTENT
    assert isinstance(node.ask(replace(Export((seen,), (("gp", "g"),)), who=OPERATOR)), Page)
    assert isinstance(asked(node, Export((seen, hidden), (("gp", "g"),), TENANT)), Refused)


def test_a_hidden_registration_is_no_member_that_anybody_could_name(two: tuple[Node, str, str]) -> None:
    node, seen, hidden = two
    device = node.device(ANNA, who=TENANT)
    absent = device.post("/rd-group?gp=g&d=mine", f"</reg/{NOWHERE}>")
    refused = device.post("/rd-group?gp=g&d=mine", f"</reg/{seen}>,</reg/{hidden}>")
    assert refused.code == absent.code == Code.NOT_FOUND
    assert refused.payload.replace(hidden.encode(), b"") == absent.payload.replace(NOWHERE.encode(), b"")
    assert device.post("/rd-group?gp=g&d=mine", f"</reg/{seen}>").code == Code.CREATED


def test_an_export_and_the_list_of_evictions_show_the_tenants_part(two: tuple[Node, str, str]) -> None:
    node, seen, hidden = two
    assert asked(node, Locations(TENANT)) == Located((seen,))
    page = asked(node, Export((seen, hidden), (), TENANT))
    assert [entry.ep for entry in page.entries] == ["lamp"]
    assert page.visible == 1
    for where in (seen, hidden):
        assert asked(node, Evict(where, 60, OPERATOR)) == Removed()
    listed = asked(node, Evictions(TENANT))
    assert isinstance(listed, Evicted)
    assert [entry.ep for entry in listed.evictions] == ["lamp"]
    there, nowhere = asked(node, Readmit(hidden, TENANT)), asked(node, Readmit(NOWHERE, TENANT))
    assert there.reason is nowhere.reason is Reason.NOT_FOUND
    assert asked(node, Readmit(seen, TENANT)) == Removed()
    assert asked(node, Readmit(hidden, OPERATOR)) == Removed()


def test_only_who_might_come_in_hears_that_a_name_is_kept_out(two: tuple[Node, str, str]) -> None:
    node, _, hidden = two
    node.ask(Evict(hidden, 60, OPERATOR))
    device = node.device(ANNA, who=TENANT)
    answers = [device.post(f"/rd?ep={name}&d=other") for name in ("safe", "absent")]
    assert answers[0].code == answers[1].code == Code.FORBIDDEN
    assert answers[0].payload == answers[1].payload
    assert b"evicted" in node.device(BORIS, who=OPERATOR).post("/rd?ep=safe&d=other").payload


def test_nothing_is_fetched_for_whom_the_policy_or_an_eviction_keeps_out(two: tuple[Node, str, str]) -> None:
    """RFC 9176, 5.1."""
    node, seen, _ = two
    device = node.device(ANNA, who=TENANT)
    assert device.post("/.well-known/rd?ep=x&d=other").code == Code.FORBIDDEN
    node.ask(Evict(seen, 60, OPERATOR))
    assert b"evicted" in device.post("/.well-known/rd?ep=lamp&d=mine").payload


def test_a_device_that_may_use_only_its_own_name_has_no_other() -> None:
    own = {"who": ["role:device"], "do": ["register", "renew", "remove"], "name": ["{name}"]}
    node = Node(policy=policy(own))
    lamp = node.device(ANNA, who=LAMP)
    assert lamp.post("/rd?ep=door").code == Code.FORBIDDEN
    held = lamp.register("/rd?ep=lamp")
    assert lamp.post("/rd-group?gp=other", "").code == Code.FORBIDDEN, "a group's name is a name"
    taker: Device = node.device(BORIS, who=TAKER)
    assert taker.post("/rd?ep=lamp").code == Code.FORBIDDEN
    assert taker.post(held).code == Code.NOT_FOUND
    assert node.device(ANNA).post("/rd?ep=lamp").code == Code.FORBIDDEN


def test_the_sector_that_counts_is_the_one_that_is_used() -> None:
    """Where the configuration has a default, who names none is in that."""
    node = Node(Settings(default_sector="mine"), policy=policy(tenant("register", who="anyone")))
    assert node.device().post("/rd?ep=a").code == Code.CREATED
    assert node.device().post("/rd?ep=b&d=mine").code == Code.CREATED
    assert node.device().post("/rd?ep=c&d=").code != Code.CREATED
    assert Node(policy=policy(tenant("register", who="anyone"))).device().post("/rd?ep=a").code == Code.FORBIDDEN


def test_what_is_imported_is_whose_the_line_says() -> None:
    node = Node(policy=default())
    line = Register("a", None, 600, "coap://h", "", (), b"", "")
    node.ask(Import(line, None, 600.0, LAMP.subject))
    assert node.device(ANNA, who=TAKER).post("/rd?ep=a").code == Code.FORBIDDEN
    assert node.device(ANNA, who=LAMP).post("/rd?ep=a").code == Code.CREATED


def test_to_evict_takes_no_right_to_remove_and_the_other_way_round() -> None:
    """Whoever may only remove keeps nobody out, not even by the way."""
    for do, outcome in (("evict", Removed()), ("remove", None)):
        node = Node(policy=policy(ALL, tenant("look-up", do), tenant("evict", who="certificate:nobody")))
        held = node.device(BORIS, who=OPERATOR).register("/rd?ep=lamp&d=mine").removeprefix("/reg/")
        answer = asked(node, Evict(held, 60, TENANT))
        kept_out = asked(node, Evictions(OPERATOR)).evictions
        if outcome is None:
            assert isinstance(answer, Refused)
            assert kept_out == ()
        else:
            assert answer == outcome
            assert [entry.ep for entry in kept_out] == ["lamp"]


def test_who_registers_simply_is_known_by_its_address_too() -> None:
    """RFC 9176, 5.1: what is its own it may register again."""
    node = Node(policy=default())
    anna = node.device(ANNA)
    anna.register("/rd?ep=a")
    anna.inbox.clear()
    anna.put(anna.message(Code.POST, "/.well-known/rd?ep=a"))
    (request,) = anna.inbox
    assert request.code == Code.GET, "its links are asked for"


def test_what_is_anothers_is_hidden_from_who_may_read_only_its_own() -> None:
    own = {"who": ["role:device"], "do": ["read", "register", "remove"], "owner": "own"}
    node = Node(policy=policy(own))
    held = node.device(ANNA, who=LAMP).register("/rd?ep=a")
    for code in (Code.GET, Code.DELETE):
        assert node.device(BORIS, who=TAKER).ask(code, held).code == Code.NOT_FOUND
    assert node.device(BORIS, who=LAMP).ask(Code.GET, held).code == Code.CONTENT


def test_a_narrowed_answer_is_not_one_to_be_given_again(two: tuple[Node, str, str]) -> None:
    node, _, _ = two
    for who, again in ((OPERATOR, True), (TENANT, False)):
        for value in ("lamp", "none"):
            assert (asked(node, Lookup(Kind.RESOURCES, (("rt", value),), who=who)).fresh is not None) == again
