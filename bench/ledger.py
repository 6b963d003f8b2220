"""The ledger under load: its tree beside SHA-256 and pymerkle, and statements made durable by a node.

    ./dev bench ledger [--quick] [--json FILE] [--write docs/performance-ledger.md]

All of it in one run, and what is compared in turn, round after round, so that what else the machine does befalls both.
Rates on shared machines vary by a factor of two: the ratios are what counts.  --write writes the page of the
documentation.
"""

import argparse
import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from load.ledgerpage import Report, page
from load.page import machine
from load.servers import state_directory
from load.statements import entering
from load.trees import OCTETS, PORTION, Sizes, appending, comparing, growing, memory, reading_tiles


@dataclass(frozen=True)
class Plan:
    sizes: Sizes
    clients: tuple[int, ...]
    seconds: float  # of each run with so many clients


FULL: Final = Plan(
    Sizes(
        appended=300_000,
        rounds=7,
        leaves=1_000_000,
        proofs=20_000,
        slow_proofs=3_000,
        growth=(10_000, 100_000, 1_000_000, 10_000_000),
    ),
    clients=(1, 64, 1_024),
    seconds=8.0,
)
QUICK: Final = Plan(
    Sizes(appended=3_000, rounds=1, leaves=3_000, proofs=100, slow_proofs=100, growth=(1_000, 3_000)),
    clients=(1, 64),
    seconds=0.5,
)


def tell(sentence: str) -> None:
    print(sentence, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench ledger", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds: does the bench work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page of the documentation")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    sizes = plan.sizes
    with state_directory() as folder:
        report: Report = {
            "machine": machine(folder),
            "octets": OCTETS,
            "portion": PORTION,
            "appended": sizes.appended,
            "leaves": sizes.leaves,
            "rounds": sizes.rounds,
        }
        tell("statements")
        report["statements"] = asyncio.run(entering(folder / "node", plan.clients, plan.seconds))
        tell("appends beside SHA-256")
        report["appending"] = appending(sizes)
        tell("appends and proofs beside pymerkle")
        report["comparing"] = comparing(sizes)
        tell("tiles in files")
        report["tiles"] = reading_tiles(sizes, folder / "tiles")
    tell(f"growth to {sizes.growth[-1]:,} leaves")
    report["growth"] = growing(sizes)
    report["memory"] = memory(sizes.leaves)
    report["load_after"] = round(os.getloadavg()[0], 1)
    text = page(report)
    print("\n" + text)
    if options.quick:
        tell("A quick run shows that the bench works; its figures mean nothing.")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
