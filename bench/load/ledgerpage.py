"""What was measured of the ledger, as a page of the documentation and as text."""

from textwrap import fill
from typing import Any, Final

from load.page import WIDTH, table

Report = dict[str, Any]

SINGLE: Final = 0.55  # of what SHA-256 alone would do
BATCHED: Final = 0.75
TIMES_PYMERKLE: Final = 5.0
STATEMENTS: Final = 1_500.0  # a second
OCTETS: Final = 64.0  # of memory for each leaf

NAMES: Final = {
    "append": "append, one by one",
    "extend": "append, {portion:,} at once",
    "inclusion": "prove inclusion",
    "consistency": "prove consistency",
    "verify inclusion": "verify inclusion",
    "verify consistency": "verify consistency",
    "root": "the root at an earlier size",
}

WHERE: Final = """\
Measured on {date} on {cores} cores of {cpu}, {memory_gib} GiB, {kernel}, Python {python}, SQLite {sqlite}; the disk
under the stores needs {fdatasync_ms} ms for an fdatasync.  Other work kept {load} processes of the machine busy at the
start; the load at the end was {load_after}, of which the bench itself is 1.  `./dev bench ledger` measures again."""

HOW: Final = """\
Entries have {octets} octets.  What SHA-256 needs at least is one hash of a leaf and one of a node for each entry, made
in a loop of Python as the tree makes them: that is the ceiling.  pymerkle {version} keeps its tree in memory and runs
in the same process.  What is compared is measured in turn in {rounds} rounds; rates are medians, and ratios are medians
of the ratios within a round."""


def page(report: Report) -> str:
    compared, version = report["comparing"], report["comparing"].get("version", "(not installed)")
    blocks = [
        "# Performance of the ledger",
        "<!-- Written by `./dev bench ledger --write docs/performance-ledger.md`. -->",
        paragraph(WHERE.format(load_after=report["load_after"], **report["machine"])),
        paragraph(HOW.format(octets=report["octets"], version=version, rounds=report["rounds"])),
        "## What must hold",
        table(["", "measured", ""], [[a, b, "holds" if ok else "**fell short**"] for a, b, ok in targets(report)]),
        "## Statements",
        *statements(report["statements"]),
        "## Appends",
        appends(report),
        "## Proofs",
        proofs(report, compared),
        paragraph(tiles(report)),
        "## Growth",
        growth(report),
    ]
    return "\n\n".join(blocks) + "\n"


def paragraph(text: str) -> str:
    return fill(text, WIDTH, break_on_hyphens=False)


def targets(report: Report) -> list[tuple[str, str, bool]]:
    """(what must hold, what was measured, whether it holds)."""
    shares, entered, compared = report["appending"]["shares"], report["statements"], report["comparing"]
    batch, share = max(((int(each), share) for each, share in shares.items() if each != "1"), key=lambda of: of[1])
    rows = [
        (f"appends one by one: at least {SINGLE} of SHA-256's ceiling", f"{shares['1']:.2f}", shares["1"] >= SINGLE),
        (f"appends {batch:,} at once: at least {BATCHED} of it", f"{share:.2f}", share >= BATCHED),
    ]
    for name in ("inclusion", "consistency"):
        times = compared.get("times", {}).get(name)
        if times is not None:
            asked = f"proofs of {name}: at least {TIMES_PYMERKLE:.0f} times pymerkle's rate"
            rows.append((asked, f"{times:.1f}", times >= TIMES_PYMERKLE))
    rate = entered["asked 64"]["per_second"]
    asked = f"64 clients: at least {STATEMENTS:,.0f} statements a second, verified and on disk"
    rows.append((asked, f"{rate:,.0f}", rate >= STATEMENTS))
    octets = report["tiles"]["octets"] / report["leaves"]
    asked = f"memory of a node's tree of {report['leaves']:,} leaves: at most {OCTETS:.0f} octets each"
    rows.append((asked, f"{octets:.1f}", octets <= OCTETS))
    return rows


def statements(found: Report) -> list[str]:
    rows = []
    for name, run in found.items():
        way, _, count = name.partition(" ")
        if way in ("asked", "http"):
            rows.append(
                [
                    f"{int(count):,} {'client' if count == '1' else 'clients'}{' over HTTP' if way == 'http' else ''}",
                    f"{run['per_second']:,.0f}/s",
                    f"{run['p50_ms']:.1f} ms (p99 {run['p99_ms']:.1f})",
                    f"{run['server_us']:,.0f} us",
                ]
            )
    each = found["asked 64"]
    share = each["per_second"] / found["verify"]
    sentences = (
        f"A node that is alone runs in the process of the bench, with its real store and writer.  Each statement has "
        f"{found['octets']} octets, is signed by its client and goes on from that client's last one; a client waits "
        f"until its statement is verified, on disk with fsync, and under a signed head, then puts the next.  What "
        f"comes while a commit is under way is in the next, under one signature.  CPU time is that of the whole "
        f"process, clients too; over HTTP they are most of it.  One core verifies {found['verify']:,.0f} signatures a "
        f"second: 64 clients reach {share:.2f} of that."
    )
    started = (
        f"Afterwards the log had {found['entries']:,} entries, and a start of the node took "
        f"{1000 * found['start_s']:.0f} ms."
    )
    return [paragraph(sentences), table(["", "entered", "waits", "CPU"], rows), started]


def appends(report: Report) -> str:
    rates, shares = report["appending"]["rates"], report["appending"]["shares"]
    rows = [["SHA-256 alone", f"{rates['ceiling']:,.0f}/s", "1.00"]]
    for batch, share in shares.items():
        name = "one by one" if batch == "1" else f"{int(batch):,} at once"
        rows.append([name, f"{rates[batch]:,.0f}/s", f"{share:.2f}"])
    return table([f"{report['appended']:,} entries", "", "of the ceiling"], rows)


def proofs(report: Report, compared: Report) -> str:
    names = {name: text.format(portion=report["portion"]) for name, text in NAMES.items() if name in compared["ours"]}
    if "theirs" not in compared:
        return table(
            [f"{report['leaves']:,} leaves", "waypost"],
            [[text, f"{compared['ours'][name]:,.0f}/s"] for name, text in names.items()],
        )
    rows = [
        [
            text,
            f"{compared['ours'][name]:,.0f}/s",
            f"{compared['theirs'][name]:,.0f}/s",
            f"{compared['times'][name]:.1f}",
        ]
        for name, text in names.items()
    ]
    rows.append(
        ["octets of memory for each leaf", f"{report['memory']:.1f}", f"{compared['octets']:.1f}", "-"],
    )
    head = [f"{report['leaves']:,} leaves", "waypost", f"pymerkle {compared['version']}", "ours to theirs"]
    return table(head, rows)


def tiles(report: Report) -> str:
    found, leaves = report["tiles"], report["leaves"]
    return (
        f"That is with the whole tree in memory; memory is what tracemalloc counts, without the entries.  A node keeps "
        f"full tiles in files, and some that it read at hand: its tree of {leaves:,} leaves takes "
        f"{found['octets'] / 1e6:.1f} MB in all, {found['octets'] / leaves:.1f} octets a leaf, is back "
        f"{found['restore_ms']:.0f} ms after a start, and then proves {found['disk']:,.0f} leaves a second that lie "
        f"anywhere, each tile read and hashed again, and {found['newest']:,.0f} of the last 10,000."
    )


def growth(report: Report) -> str:
    head = [
        "leaves",
        f"appended, {report['portion']:,} at once",
        "a root",
        "inclusion",
        "consistency",
        "verify inclusion",
    ]
    rows = [
        [
            f"{int(size):,}",
            f"{found['append']:,.0f}/s",
            *(f"{1e6 / found[name]:.1f} us" for name in ("root", "inclusion", "consistency", "verify inclusion")),
        ]
        for size, found in report["growth"].items()
    ]
    return table(head, rows)
