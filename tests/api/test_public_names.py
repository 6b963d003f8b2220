"""`import waypost` costs next to nothing; what is used is imported then."""

import subprocess
import sys

import pytest

import waypost

HEAVY = [
    "aiohttp",
    "asyncio",
    "click",
    "logging",
    "msgspec",
    "prometheus_client",
    "rich",
    "sqlite3",
    "ssl",
    "structlog",
]


def imported(program: str) -> list[str]:
    """The modules of HEAVY that `program` imports."""
    shown = f"{program}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run(
        [sys.executable, "-I", "-c", shown], check=True, capture_output=True, text=True
    ).stdout.split()


def test_importing_waypost_imports_nothing_else() -> None:
    assert imported("import waypost; waypost.__version__; dir(waypost)") == []


def test_the_synchronous_client_needs_no_event_loop() -> None:
    assert imported("import waypost; waypost.SyncClient('http://127.0.0.1:1').close()") == ["msgspec", "ssl"]


def test_the_asynchronous_client_needs_no_server() -> None:
    assert "prometheus_client" not in imported("import waypost; waypost.Client")


def test_errors_need_nothing() -> None:
    assert imported("from waypost import RemoteError, UnreachableError") == []


@pytest.mark.parametrize("name", waypost.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert name in dir(waypost)
    assert getattr(waypost, name).__doc__ or name == "WaypostError"


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="Klient"):
        waypost.Klient  # noqa: B018
