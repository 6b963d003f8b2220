"""The index by itself."""

from carried import Carried, register

from waypost.rd.questions import Found, Kind, Lookup


def test_two_links_of_one_target_are_counted_each_once() -> None:
    """The second registration brings a link that is known and one that is new, both of one target."""
    directory = Carried()
    directory.ask(register("a", b'<coap://far/t>;rt="old"'))
    directory.ask(register("b", b'<coap://far/t>;rt="new",<coap://far/t>;rt="old"'))
    directory.directory.check()
    found = directory.ask(Lookup(Kind.RESOURCES, (("href", "coap://far/t"),)))
    assert isinstance(found, Found)
    assert found.body.count(b"<coap://far/t>") == 3
