"""Whole networks of engines in one process, from one seed: clocks, datagrams, disks and what befalls them.

Read `world.py` (the heap of events), `node.py` (how effects are carried out), then `network.py` and
`disk.py` (what can go wrong), `storm.py` (all of it at random), `trace.py` (what happened) and
`device.py` (a CoAP device to play with), `gossiping.py` (meshes; `people.py` has their nodes), `notaries.py` (nodes
that keep logs; `calls.py` has what they ask each other, `histories.py` logs that say what one likes) and `installed.py`
(whole nodes that are one network).
"""

from waypost.sim.device import Device
from waypost.sim.disk import Disk
from waypost.sim.network import FAIR, Network, Weather, udp_path
from waypost.sim.node import Node
from waypost.sim.storm import ROUGH, TROUBLES, VOTING, Odds, Storm, bad_weather, repeatable
from waypost.sim.trace import Trace, coap
from waypost.sim.world import COAP_PORT, EPOCH_MS, Client, World

__all__ = [
    "COAP_PORT",
    "EPOCH_MS",
    "FAIR",
    "ROUGH",
    "TROUBLES",
    "VOTING",
    "Client",
    "Device",
    "Disk",
    "Network",
    "Node",
    "Odds",
    "Storm",
    "Trace",
    "Weather",
    "World",
    "bad_weather",
    "coap",
    "repeatable",
    "udp_path",
]
