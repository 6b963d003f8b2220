"""Spreading along a tree: by hand, link by link, and over whole graphs."""

from collections import Counter, deque
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.drip.plumtree import (
    EAGER_MIN,
    GRAFT_AFTER,
    LAZY_EVERY,
    LINKS_MAX,
    MISSING_MAX,
    QUEUE_MAX,
    SEEN_MAX,
    SEEN_OCTETS_MAX,
    Plumtree,
)

NEIGHBOURS = ("b", "c", "d", "e", "f")


@pytest.fixture
def tree() -> Plumtree[str]:
    tree: Plumtree[str] = Plumtree(Random(1))
    tree.set_links(NEIGHBOURS)
    return tree


def make_lazy(tree: Plumtree[str], node: str) -> None:
    tree.pruned(node)
    assert node in tree.lazy


def test_what_is_new_goes_to_every_neighbour_in_the_tree_but_the_one_that_brought_it(tree: Plumtree[str]) -> None:
    tree.publish(b"1", "hello", 5, 0.0, source="b")
    assert tree.pushes == {node: ["hello"] for node in ("c", "d", "e", "f")}


def test_a_message_is_published_once(tree: Plumtree[str]) -> None:
    tree.publish(b"1", "hello", 5, 0.0)
    tree.pushes.clear()
    tree.publish(b"1", "hello", 5, 1.0, source="b")
    assert tree.pushes == {}


def test_whoever_brings_a_message_again_is_pruned(tree: Plumtree[str]) -> None:
    tree.publish(b"1", "hello", 5, 0.0, source="b")
    tree.again(b"1", "c")
    assert list(tree.prunes) == ["c"]
    assert tree.lazy == ("c",)


def test_where_all_are_neighbours_each_brings_its_own_to_all_and_of_others_tells_the_name_alone() -> None:
    tree: Plumtree[str] = Plumtree(Random(1))
    tree.set_links(NEIGHBOURS, direct=True)
    make_lazy(tree, "c")
    tree.publish(b"1", "mine", 5, 0.0)
    assert tree.pushes == {node: ["mine"] for node in ("b", "d", "e", "f", "c")}
    tree.pushes.clear()
    tree.publish(b"2", "of b", 5, 0.0, source="b")
    tree.handle_timer(LAZY_EVERY)
    assert tree.pushes == {}
    assert tree.names == {node: [b"2"] for node in ("c", "d", "e", "f")}
    tree.set_links(NEIGHBOURS)
    tree.publish(b"3", "of c", 5, 1.0, source="c")
    assert tree.pushes == {node: ["of c"] for node in ("b", "d", "e", "f")}


def test_a_network_that_doubles_messages_prunes_nobody(tree: Plumtree[str]) -> None:
    tree.publish(b"1", "hello", 5, 0.0, source="b")
    tree.again(b"1", "b")
    assert tree.lazy == ()


def test_an_older_record_that_we_have_not_seen_as_a_message_prunes_nobody(tree: Plumtree[str]) -> None:
    tree.again(b"never seen", "c")
    assert tree.lazy == ()


def test_the_last_links_of_the_tree_are_not_pruned_by_messages_that_cross(tree: Plumtree[str]) -> None:
    tree.publish(b"1", "hello", 5, 0.0, source="b")
    for node in NEIGHBOURS:
        tree.again(b"1", node)
    assert len(tree.eager) == EAGER_MIN


def test_beside_the_tree_only_names_are_told_a_little_later(tree: Plumtree[str]) -> None:
    make_lazy(tree, "c")
    tree.publish(b"1", "hello", 5, 0.0)
    assert "c" not in tree.pushes
    when = tree.next_timer()
    assert when is not None
    assert when <= LAZY_EVERY
    tree.handle_timer(when)
    assert tree.names == {"c": [b"1"]}


def test_what_was_named_and_does_not_come_is_asked_for_one_neighbour_after_the_other(tree: Plumtree[str]) -> None:
    make_lazy(tree, "b")
    make_lazy(tree, "c")
    tree.named("b", [b"1"], 0.0)
    tree.named("c", [b"1"], 0.1)
    assert tree.next_timer() == GRAFT_AFTER
    tree.handle_timer(GRAFT_AFTER)
    assert tree.grafts == {"b": [b"1"]}
    assert "b" in tree.eager
    tree.grafts.clear()
    tree.handle_timer(2 * GRAFT_AFTER)
    assert tree.grafts == {"c": [b"1"]}
    tree.handle_timer(3 * GRAFT_AFTER)
    assert tree.next_timer() is None, "nobody has it: repair will find it"
    tree.check()


def test_what_was_named_and_comes_is_not_asked_for(tree: Plumtree[str]) -> None:
    tree.named("b", [b"1"], 0.0)
    tree.publish(b"1", "hello", 5, 0.2, source="c")
    assert tree.next_timer() is None
    tree.named("d", [b"1"], 0.3)
    assert tree.next_timer() is None


def test_whoever_asks_gets_the_message_and_the_link_comes_into_the_tree(tree: Plumtree[str]) -> None:
    make_lazy(tree, "c")
    tree.publish(b"1", "hello", 5, 0.0)
    tree.pushes.clear()
    tree.grafted("c", [b"1", b"unknown", b"1"])
    assert tree.pushes == {"c": ["hello"]}
    assert "c" in tree.eager


def test_links_follow_the_neighbours(tree: Plumtree[str]) -> None:
    make_lazy(tree, "c")
    tree.set_links(("c", "d", "g"))
    assert tree.eager == ("d", "g")
    assert tree.lazy == ("c",)
    tree.publish(b"1", "hello", 5, 0.0, source="stranger")
    assert "stranger" in tree.eager, "it takes us for a neighbour"


def test_nothing_that_others_send_grows_without_a_limit(tree: Plumtree[str]) -> None:
    for number in range(2 * SEEN_MAX):
        tree.publish(b"%d" % number, "x", 10, 0.0, source=f"n{number % 100}")
        tree.pushes.clear()
    tree.check()
    tree.publish(b"large", "x", SEEN_OCTETS_MAX, 0.0)
    tree.check()
    assert tree.knows(b"large")
    assert not tree.knows(b"%d" % (2 * SEEN_MAX - 1))
    tree.named("b", [b"missing %d" % number for number in range(2 * MISSING_MAX)], 0.0)
    tree.check()
    assert len(tree.eager) + len(tree.lazy) == LINKS_MAX
    make_lazy(tree, "c")
    for number in range(2 * QUEUE_MAX):
        tree.publish(b"again %d" % number, "x", 10, 0.0)
    tree.check()


class Graph:
    """Nodes that pass messages on at once, in the order they were sent, and count what crosses each link."""

    def __init__(self, links: dict[int, set[int]], seed: int) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.crossed: Counter[tuple[int, int, bytes]] = Counter()
        self.got: dict[int, set[bytes]] = {node: set() for node in links}
        self.trees: dict[int, Plumtree[bytes]] = {node: Plumtree(self.rng) for node in links}
        self.queue: deque[tuple[str, int, int, bytes]] = deque()
        for node, others in links.items():
            self.trees[node].set_links(map(str, sorted(others)))

    def publish(self, node: int, id: bytes) -> None:
        self.got[node].add(id)
        self.trees[node].publish(id, id, 10, self.now)
        self._collect(node)

    def run(self) -> None:
        while True:
            while self.queue:
                self.queue.rotate(-self.rng.randrange(3))  # some overtake others
                self._deliver(*self.queue.popleft())
            timers = [when for when in (tree.next_timer() for tree in self.trees.values()) if when is not None]
            if not timers:
                return
            self.now = max(self.now, min(timers))
            for node, tree in self.trees.items():
                tree.handle_timer(self.now)
                self._collect(node)

    def _deliver(self, kind: str, source: int, target: int, id: bytes) -> None:
        tree = self.trees[target]
        match kind:
            case "push":
                self.crossed[source, target, id] += 1
                if id in self.got[target]:
                    tree.again(id, str(source))
                else:
                    self.got[target].add(id)
                    tree.publish(id, id, 10, self.now, str(source))
            case "name":
                tree.named(str(source), [id], self.now)
            case "graft":
                tree.grafted(str(source), [id])
            case _:
                tree.pruned(str(source))
        self._collect(target)

    def _collect(self, node: int) -> None:
        tree = self.trees[node]
        tree.check()
        for kind, batch in (("push", tree.pushes), ("name", tree.names), ("graft", tree.grafts)):
            for target, ids in batch.items():
                self.queue.extend((kind, node, int(target), id) for id in ids)
        self.queue.extend(("prune", node, int(target), b"") for target in tree.prunes)
        tree.pushes, tree.names, tree.grafts, tree.prunes = {}, {}, {}, {}


@given(st.integers(0, 10_000), st.integers(2, 25))
def test_every_message_reaches_everybody_and_crosses_each_link_at_most_once_each_way(seed: int, size: int) -> None:
    """I12.  Any connected graph, any origins, messages that overtake each other."""
    rng = Random(seed)
    links: dict[int, set[int]] = {0: set()}
    for node in range(1, size):
        links[node] = {rng.randrange(node)}
    for _ in range(size):
        one, other = rng.sample(range(size), 2)
        links[one].add(other)
    for node in links:
        for other in list(links[node]):
            links[other].add(node)
    graph = Graph(links, seed)
    for number in range(12):
        graph.publish(rng.randrange(size), b"%d" % number)
        if rng.random() < 0.7:
            graph.run()
    graph.run()
    assert all(len(got) == 12 for got in graph.got.values())
    assert max(graph.crossed.values()) == 1


def test_a_tree_forms_and_few_messages_come_twice() -> None:
    size = 50
    links = {node: {(node + step) % size for step in (1, -1, 4, -4, 14, -14)} for node in range(size)}
    graph = Graph(links, seed=1)
    for number in range(30):
        graph.publish(0, b"%d" % number)
        graph.run()
    pushed = sum(count for (_, _, id), count in graph.crossed.items() if id == b"29")
    assert pushed < 2.5 * size, "of 300 directions of links"
