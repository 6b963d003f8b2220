"""Storms over a mesh: the troubles of the simulator, clients at every node, and rosters that change."""

from dataclasses import replace
from random import Random
from typing import Final

from allocating import NAME, PLACES, Registrars
from mesh import Mesh
from prefixes import Prefixes

from waypost.drip.judge import Judge
from waypost.drip.rules import Rules
from waypost.sim import ROUGH, VOTING, Storm

SECONDS: Final = 30.0
SETTLING: Final = 25.0
SIGNED: Final = 16  # one of so many seeds has real signatures
SOUND: Final = Rules()


def fixed_storm(seed: int, rules: Rules = SOUND) -> Mesh:
    """Five nodes; three, four or five of them vote; the roster stays."""
    rng = Random(f"{seed}/fixed")
    voters, keys = rng.choice((3, 4, 5)), rng.choice((1, 2))
    mesh = Mesh(seed, size=5, voters=voters, rules=rules, keys=keys, is_signed=seed % SIGNED == 1)
    return blow(mesh, rng, mean=rng.choice((0.5, 1.0, 2.0)))


def roster_storm(seed: int, rules: Rules = SOUND) -> Mesh:
    """Seven nodes; three to five of them vote, and others every few seconds; now and then one loses its disk.

    Nodes move in between, and learners are let in.
    """
    rng = Random(f"{seed}/rosters")
    mesh = Mesh(seed, size=7, voters=rng.choice((3, 4, 5)), rules=rules, keys=rng.choice((1, 2)))
    mesh.change_rosters_again_and_again(rng.choice((1.5, 3.0, 6.0)))
    mesh.amend_rosters_again_and_again(rng.choice((0.5, 1.0, 2.0)))
    if rng.random() < 0.25:
        mesh.world.after(SECONDS * rng.random(), lambda: mesh.lose_a_disk(rng))
    return blow(mesh, rng, mean=rng.choice((0.7, 1.5)))


def hasty_storm(seed: int, rules: Rules = SOUND) -> Mesh:
    """Five nodes, three of which vote, and others every second; who claims a key mostly keeps it at home.

    Few hear of a commit, and repair comes seldom: votes are often closed by voters that know of them only from a merge.
    """
    rng = Random(f"{seed}/hasty")
    mesh = Mesh(seed, size=5, voters=3, rules=rules, keys=1, at_home=0.9, repair_every=8.0, quiet=0.7)
    mesh.change_rosters_again_and_again(rng.choice((0.5, 1.0, 2.0)))
    return blow(mesh, rng, mean=rng.choice((0.5, 1.0)))


def moving_storm(seed: int, rules: Rules = SOUND) -> Mesh:
    """Five nodes, of which the same three vote nearly always; some node moves all the time.

    Votes go on from one epoch to the next; who claims a key mostly keeps it at home.
    """
    rng = Random(f"{seed}/moving")
    mesh = Mesh(seed, size=5, voters=3, rules=rules, keys=1, at_home=0.7, repair_every=4.0)
    mesh.amend_rosters_again_and_again(rng.choice((0.4, 1.0)))
    mesh.change_rosters_again_and_again(rng.choice((3.0, 8.0, 100.0)))
    return blow(mesh, rng, mean=rng.choice((0.5, 1.0)))


def open_storm(seed: int, rules: Rules = SOUND) -> Mesh:
    """Three voters found the mesh; four nodes come, nodes move and lose their disks, and the operator promotes some."""
    rng = Random(f"{seed}/open")
    mesh = Mesh(seed, size=7, voters=3, rules=rules, keys=1, is_open=True)
    mesh.move_again_and_again(rng.choice((2.0, 6.0)))
    mesh.promote_again_and_again(rng.choice((2.0, 5.0)))
    mesh.lose_disks_again_and_again(2.0)
    return blow(mesh, rng, mean=rng.choice((1.0, 2.0)))


def parted_storm(seed: int, rules: Rules = SOUND, judge: Judge | None = None) -> Mesh:
    """Five nodes; blocks of numbers are allocated, given on, given back and struck off, and a name changes hands."""
    rng = Random(f"{seed}/parted")
    mesh = Mesh(seed, size=5, voters=rng.choice((3, 4, 5)), rules=rules, judge=judge or Prefixes(), at_home=0.5)
    mesh.places = (NAME, *PLACES)
    registrars = Registrars(mesh)
    mean = rng.choice((0.2, 0.5))
    for name in mesh.names:
        registrars.allocate_again_and_again(name, mean)
    if rng.random() < 0.5:
        mesh.change_rosters_again_and_again(rng.choice((3.0, 6.0)))
    return blow(mesh, rng, mean=0.0)


def blow(mesh: Mesh, rng: Random, mean: float) -> Mesh:
    """`mean` seconds between two claims or reads of a client; 0: there are no such clients."""
    world = mesh.world
    world.network.weather = replace(ROUGH, loss=rng.choice((0.02, 0.08, 0.25)))
    storm = Storm(world, VOTING.some(rng))
    for name in mesh.names if mean else ():
        mesh.claim_again_and_again(name, mean)
    mesh.repair_again_and_again()
    storm.begin()
    world.run(until=SECONDS)
    mesh.working = False
    storm.calm()
    for node in world.nodes.values():  # a record ahead of most clocks would have to wait until they come up to it
        node.step_clock(-node.clock_offset_ms)
    mesh.troubles = storm.counts
    if mesh.is_open:
        mesh.let_everybody_in()
    mesh.settle(SETTLING)
    return mesh
