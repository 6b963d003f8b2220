"""What was measured of the mesh, as a page of the documentation and as text."""

from textwrap import fill
from typing import Any, Final

from load.page import WIDTH, table

Report = dict[str, Any]

UPDATES: Final = 400.0  # a second
SOON_S: Final = 1.0  # all nodes at 20 ms links
LATER_S: Final = 2.0  # 99 of 100 arrivals at 100 ms links

NAMES: Final = {
    "home": "{in_flight} clients, each at the home of its key; etcd: at the leader",
    "entry": "{in_flight} clients, all at one node; etcd: over its three members",
    "alone": "one client at the home of its key; etcd: at the leader",
}

WHERE: Final = """\
Measured on {date} on {cores} cores of {cpu}, {memory_gib} GiB, {kernel}, Python {python}, SQLite {sqlite}; the disk
under the stores needs {fdatasync_ms} ms for an fdatasync.  Other work kept {load} processes of the machine busy at the
start.  `./dev bench drip` measures again."""

HOW: Final = """\
Five voters run as `waypost run` with their real stores, mutual TLS between them, all on one machine with the clients:
what is measured is how much work a commit is, not how five machines share it.  A client has one request under way: it
signs the next version of a record of its own with {octets} octets of value, and waits until that is committed.  etcd's
three members run beside them and are asked by the same client in the same minutes to put a value of that size, by
compare-and-set on the revision that it had last.  Each commit is on the disks of a majority before it is answered, here
and there.  etcd is asked over its HTTP gateway; over gRPC it answers more.  Its three members are two fewer than our
voters, verify no signatures and keep no certificates.  Figures are of the middle one of {rounds} runs; CPU time is that
of all servers together for each commit, and the steady number: rates depend on what else the machine does."""


def page(report: Report) -> str:
    blocks = [
        "# Performance of the mesh",
        "<!-- Written by `./dev bench drip --write docs/performance-mesh.md`. -->",
        fill(WHERE.format(**report["machine"]), WIDTH, break_on_hyphens=False),
        fill(HOW.format(**report), WIDTH, break_on_hyphens=False),
        "## What must hold",
        table(["", "measured", ""], [[a, b, "holds" if ok else "**fell short**"] for a, b, ok in targets(report)]),
        "## Votes",
        votes(report),
        between(report["runs"]),
        "## What a commit waits for",
        waits(report),
        "## Gossip",
        gossiped(report["gossip"]),
        simulated(report["simulated"]),
    ]
    return "\n\n".join(blocks) + "\n"


def targets(report: Report) -> list[tuple[str, str, bool]]:
    """(what must hold, what was measured, whether it holds)."""
    rate, links = report["runs"]["home"]["per_second"], report["simulated"]["links"]
    nodes, soon, later = report["simulated"]["nodes"], links[20]["all_s"], links[100]["p99_s"]
    asked = f"{report['in_flight']} in flight at their homes: at least {UPDATES:.0f} voted updates a second"
    return [
        (asked, f"{rate:,.0f}", rate >= UPDATES),
        (f"{nodes} nodes converge at 20 ms links: within {SOON_S:.0f} s", f"{soon:.2f} s", soon < SOON_S),
        (
            f"{nodes} nodes at 100 ms links: 99 of 100 arrivals within {LATER_S:.0f} s",
            f"{later:.2f} s",
            later < LATER_S,
        ),
        (
            f"no gossiped record of {report['gossip']['count']:,} is lost",
            f"{report['gossip']['missing']} missing",
            not report["gossip"]["missing"],
        ),
    ]


def votes(report: Report) -> str:
    runs = report["runs"]
    head = ["", "waypost", "CPU", f"etcd {report['etcd']}", "CPU", "rate, ours to theirs", "CPU, ours to theirs"]
    rows = []
    for name, words in NAMES.items():
        ours, theirs = runs[name], runs.get(f"etcd {name}")
        row = [words.format(**report), *cells(ours)]
        if theirs:
            rates = ours["per_second"] / max(theirs["per_second"], 1e-9)
            work = ours["server_us"] / max(theirs["server_us"], 1e-9)
            row += [*cells(theirs), f"{rates:.2f}", f"{work:.1f}"]
        else:
            row += [""] * 4
        rows.append(row)
    return table(head, rows)


def between(runs: Report) -> str:
    home, entry, alone = (runs[name]["between"] for name in ("home", "entry", "alone"))
    return fill(
        f"For each commit our five nodes make {home:.1f} requests to each other, {entry:.1f} if all clients ask one of "
        f"them, and {alone:.1f} for a client alone: what is said to a node while it has not answered gathers.",
        WIDTH,
    )


def cells(run: Report) -> list[str]:
    return [
        f"{run['per_second']:,.0f}/s, {run['p50_ms']:.1f} ms (p99 {run['p99_ms']:.1f})",
        f"{run['server_us'] / 1000:.1f} ms",
    ]


def waits(report: Report) -> str:
    low, runs = report["floor"], report["runs"]
    least = low["sync_p50_ms"] + low["trip_p50_ms"]
    alone, request, peers = runs["alone"], runs["request"], runs["peers"]
    text = (
        f"An fdatasync took {low['sync_p50_ms']:.2f} ms (p99 {low['sync_p99_ms']:.1f}) and a round trip over TCP "
        f"{low['trip_p50_ms']:.2f} ms (p99 {low['trip_p99_ms']:.1f}), {least:.2f} ms together; "
        f"one client waits {alone['p50_ms']:.1f} ms for ours, {alone['p50_ms'] / least:.1f} times that"
    )
    if theirs := runs.get("etcd alone"):
        text += f", and {theirs['p50_ms']:.1f} ms for etcd's, {theirs['p50_ms'] / least:.1f} times"
    text += (
        f".  A request of the API that does nothing takes {request['p50_ms']:.2f} ms and {request['server_us']:,.0f} "
        f"us of CPU; on the port of the peers, over TLS with certificates on both sides, one node answers "
        f"{peers['per_second']:,.0f} in a second, {peers['server_us']:,.0f} us each."
    )
    return fill(text, WIDTH)


def gossiped(found: Report) -> str:
    stored = found["stored"]
    text = (
        f"Registrations at one node, gossiped to the other four: {found['per_second']:,.0f} a second from the first "
        f"question to the last arrival of {found['count']:,}, {stored['server_us'] / 1000:.1f} ms of CPU of all five "
        f"for each.  Ten a second, each is found at another node {found['p50_ms']:.1f} ms after it was asked for "
        f"(p99 {found['p99_ms']:.1f})."
    )
    return fill(text, WIDTH)


def simulated(found: Report) -> str:
    rows = [
        [f"{delay} ms", *(f"{times[name]:.2f} s" for name in ("p50_s", "p99_s", "all_s"))]
        for delay, times in found["links"].items()
    ]
    text = f"{found['nodes']} nodes in the simulator, from an announcement at one of them to each arrival:"
    return text + "\n\n" + table(["links", "median", "p99", "last"], rows)
