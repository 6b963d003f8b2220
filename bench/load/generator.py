"""Builds bench/coapload.c, once for each version of its source, and runs it."""

import json
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
CACHE = BENCH.parent / ".dev"
SOURCES = tuple(BENCH / name for name in ("coapload.c", "coapoptions.h", "coapresult.h", "coapwire.h"))


def build() -> Path:
    """The generator's path.  Ends the bench if there is no C compiler."""
    digest = sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:16]
    program = CACHE / f"coapload-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("the load generator needs a C compiler (Debian: gcc libc6-dev)")
    CACHE.mkdir(exist_ok=True)
    fresh = program.with_suffix(".new")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", fresh, SOURCES[0]], check=True)
    return fresh.replace(program)


def load(program: Path, host: str, port: int, *arguments: str | int | float | Path) -> dict[str, Any]:
    """One run's result, as the head of coapload.c describes it."""
    command = [program, "-h", host, "-p", port, *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"coapload ended with {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
