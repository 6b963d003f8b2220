"""What every test may use."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

DEV = Path(__file__).resolve().parents[1] / ".dev"
NODE_MODULES = DEV / "npm" / "node_modules"
PIP = DEV / "pip" / "{}.{}".format(*sys.version_info[:2])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=None, help="fuzz each decoder for so long")
    parser.addoption("--update-golden", action="store_true", help="rewrite the transcripts in tests/golden")
    parser.addoption("--seeds", default=None, help="storm with so many seeds, or with those of 2000:3000")


def pytest_configure() -> None:
    # Peers written in Python (aiocoap-client) lie beside the interpreter, also when it was called by its path.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.peer("tshark")`: without tshark the test is skipped, and fails where CI=true.

    `peer("npm:coap")` and `peer("pip:DTLSSocket")` are packages that `./dev test` takes from npm and builds with pip,
    `peer("path:/usr/share/gocode")` is what a package of Debian has;
    `peer("unshare:net")` is leave to make networks, `peer("device:/dev/net/tun")` to open a device,
    `peer("user:root")` to become another user, `peer("trace:processes")` to trace them with strace.
    """
    missing = [name for mark in item.iter_markers("peer") for name in mark.args if not has_peer(name)]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{', '.join(missing)}: not installed", pytrace=False)
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")


def has_peer(name: str) -> bool:
    kind, _, package = name.rpartition(":")
    match kind:
        case "npm":
            return (NODE_MODULES / package).is_dir()
        case "pip":
            return (PIP / package).is_dir()
        case "path":
            return Path(package).exists()
        case "device":
            return os.access(package, os.R_OK | os.W_OK)
        case "user":
            return pwd.getpwuid(os.geteuid()).pw_name == package
        case "trace":
            return shutil.which("strace") is not None and may_trace()
        case "unshare":
            return shutil.which("ip") is not None and may_unshare()
        case _:
            return shutil.which(name) is not None


@cache
def may_unshare() -> bool:
    command = ["unshare", "--map-root-user", "--net", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
    )


@cache
def may_trace() -> bool:
    return subprocess.run(["strace", "--output=/dev/null", "true"], check=False, capture_output=True).returncode == 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.storm(300, 3000)`: `seed` is each of the first 300, with --long of 3,000, or as --seeds says.

    With --seeds 2000:3000 a long run is done in slices, in any order: each seed is a storm of its own.
    """
    for mark in metafunc.definition.iter_markers("storm"):
        short, long = mark.args
        asked = metafunc.config.getoption("--seeds")
        marks = [pytest.mark.long]
        seeds = [
            seed if asked is not None or seed < short else pytest.param(seed, marks=marks)
            for seed in (range(long) if asked is None else seeds_in(asked))
        ]
        metafunc.parametrize("seed", seeds)


def seeds_in(text: str) -> range:
    """`300` is the first so many; `2000:3000` those from the one up to the other, which is not of them."""
    first, _, end = text.rpartition(":")
    return range(int(first or 0), int(end))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """golden(text) compares with the test's transcript in tests/golden; --update-golden rewrites it."""
    path = Path(__file__).parent / "golden" / f"{request.node.name}.txt"

    def compare(text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), "the transcript has changed: see --update-golden"

    return compare


@pytest.fixture
def printed(request: pytest.FixtureRequest) -> Callable[..., list[str]]:
    """printed(*seeds): the lines that the test's own file prints for them, the same under three PYTHONHASHSEEDs."""

    def run(*seeds: int) -> list[str]:
        command = [sys.executable, str(request.path), *map(str, seeds)]
        runs = [
            subprocess.run(
                command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
            ).stdout.splitlines()
            for hash_seed in ("0", "1", "4242")
        ]
        assert runs[0] == runs[1] == runs[2]
        return runs[0]

    return run
