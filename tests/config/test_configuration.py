"""Configuration: what is set, by what, and what is refused with which sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.config import Coap, Config, Drip02, Http
from waypost.config.settling import FILE_NAME, KEYS, load
from waypost.engine import Endpoint
from waypost.errors import ConfigError
from waypost.rd.engine import Settings
from waypost.runtime.addresses import has_ipv6, listen_address, loopback
from waypost.runtime.local import default_directory


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"WAYPOST_DIR": str(tmp_path), "HOME": "/home/anna", "PATH": "/bin"}


def write(directory: Path, text: str) -> Path:
    file = directory / FILE_NAME
    file.write_text(text, encoding="utf-8")
    return file


def test_without_anything_a_node_listens_on_loopback_alone(environ: dict[str, str]) -> None:
    config = load({}, environ)
    assert config.coap.listen == loopback(5683, ipv6=has_ipv6())
    assert config.http.listen == ("127.0.0.1:8480",)
    assert config.mdns.interfaces == ()
    assert config.insecure == ()


def test_without_ipv6_a_node_listens_on_ipv4_alone() -> None:
    """Else it would not start in most containers."""
    assert loopback(5683, ipv6=True) == ("127.0.0.1:5683", "[::1]:5683")
    assert loopback(5683, ipv6=False) == ("127.0.0.1:5683",)


def test_the_state_directory_follows_the_platform() -> None:
    assert default_directory({"XDG_DATA_HOME": "/data"}) == Path("/data/waypost")
    assert default_directory({}) == Path("~/.local/share/waypost").expanduser()
    # XDG base directories: a relative path is ignored.
    assert default_directory({"XDG_DATA_HOME": "data"}) == default_directory({})


def test_the_file_in_the_state_directory_is_read(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path, 'insecure = ["coap"]\n[coap]\nlisten = ["[::]:5683"]\n[rd]\ngrace_s = 0\n')
    config = load({}, environ)
    assert (config.coap.listen, config.insecure, config.rd.grace_s) == (("[::]:5683",), ("coap",), 0)


def test_a_named_file_is_read_in_its_place_and_may_name_the_directory(tmp_path: Path) -> None:
    file = write(tmp_path, 'dir = "/var/lib/waypost"\n')
    assert load({}, {}, file).dir == Path("/var/lib/waypost")
    assert load({}, {"WAYPOST_CONFIG": str(file)}).dir == Path("/var/lib/waypost")


@given(
    file=st.none() | st.integers(0, 3600),
    variable=st.none() | st.integers(0, 3600),
    flag=st.none() | st.integers(0, 3600),
)
def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path_factory: pytest.TempPathFactory, file: int | None, variable: int | None, flag: int | None
) -> None:
    directory = tmp_path_factory.mktemp("node")
    if file is not None:
        write(directory, f"[rd]\ngrace_s = {file}\n")
    environ = {"WAYPOST_RD_GRACE_S": str(variable)} if variable is not None else {}
    flags = {"rd.grace_s": str(flag)} if flag is not None else {}
    expected = next((value for value in (flag, variable, file) if value is not None), 86_400)
    assert load(flags | {"dir": str(directory)}, environ).rd.grace_s == expected


def test_commas_separate_the_items_of_a_list(environ: dict[str, str]) -> None:
    config = load({"http.hosts": "a.example, b.example"}, environ | {"WAYPOST_HTTP_LISTEN": ""})
    assert config.http == Http(listen=(), hosts=("a.example", "b.example"))


KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1


def test_peers_of_the_draft_are_tables_of_the_file(tmp_path: Path, environ: dict[str, str]) -> None:
    bell = "[[peers.drip_02]]\nname = 'bell'\nurl = 'https://bell.example:8481'\n"
    write(tmp_path, f"{bell}[[peers.drip_02]]\nname = 'curl'\nkey = '{KEY}'\n")
    assert load({}, environ).peers.drip_02 == (
        Drip02(name="bell", url="https://bell.example:8481"),
        Drip02(name="curl", key=KEY),
    )


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("name = 'a'", "peers.drip_02: a is there twice"),
        (f"name = 'b'\nkey = '01{'0' * 62}'", "peers.drip_02: the key of b is no Ed25519 key"),
    ],
)
def test_peers_of_the_draft_have_names_and_keys_of_their_own(
    tmp_path: Path, environ: dict[str, str], second: str, sentence: str
) -> None:
    write(tmp_path, f"[[peers.drip_02]]\nname = 'a'\n[[peers.drip_02]]\n{second}\n")
    with pytest.raises(ConfigError, match=sentence):
        load({}, environ)


def test_variables_of_others_are_left_alone(environ: dict[str, str]) -> None:
    """Kubernetes sets such names for a service that is called waypost."""
    others = {
        "WAYPOST_SERVICE_HOST": "10.0.0.1",
        "WAYPOST_PORT_8480_TCP": "tcp://10.0.0.1:8480",
        "WAYPOST_URL": "http://h",
    }
    assert load({}, environ | others) == load({}, environ)


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("[cop]\n", "there is no section [cop]", "did you mean coap?"),
        ("[coap]\nlisen = []\n", "there is no key lisen in [coap]", "did you mean listen?"),
        ("colour = 1\n", "there is no key colour at the top", None),
        ("coap = 5\n", "coap is a section, not a key", "write [coap] and its keys below it"),
        ("[rd]\ngrace_s = 'long'\n", "rd.grace_s must be a whole number from 0 to 1000000000, not 'long'", None),
        ("[rd]\ngrace_s = '15'\n", "rd.grace_s must be a whole number from 0 to 1000000000, not '15'", None),
        ("[rd]\ngrace_s = 1.5\n", "rd.grace_s must be a whole number from 0 to 1000000000, not 1.5", None),
        ("[rd]\ngrace_s = -1\n", "rd.grace_s must be a whole number from 0 to 1000000000, not -1", None),
        (
            "[rd]\nregistrations_max = 0\n",
            "rd.registrations_max must be a whole number from 1 to 1000000000, not 0",
            None,
        ),
        ("[log]\nlevel = 'loud'\n", "log.level must be one of debug, error, info, warning, not 'loud'", None),
        ("[coap]\nlisten = 'x'\n", "coap.listen must be a list of texts, not 'x'", None),
        ("[coap]\nlisten = [5683]\n", "coap.listen must be a list of texts, not [5683]", None),
        ("dir = '/elsewhere'\n", "dir cannot be set by the file that lies in it", "use --dir"),
        ("[coap\n", "is not TOML: ", None),
        ("[[peers.drip_02]]\nurl = ''\n", "peers.drip_02 must be tables [[peers.drip_02]] of the file, not ", None),
        ("[[peers.drip_02]]\nname = 'a b'\n", "peers.drip_02 must be tables", None),
        ("[[peers.drip_02]]\nname = 'a'\nurl = 'http://a'\n", "peers.drip_02 must be tables", None),
        ("[[peers.drip_02]]\nname = 'a'\nurl = 'https://a/x'\n", "peers.drip_02 must be tables", None),
        ("[[peers.drip_02]]\nname = 'a'\nkey = 'a'\n", "peers.drip_02 must be tables", None),
        ("[[peers.drip_02]]\nname = 'a'\nvote = true\n", "peers.drip_02 must be tables", None),
    ],
)
def test_a_wrong_file_is_refused_and_told_where(
    tmp_path: Path, environ: dict[str, str], text: str, sentence: str, hint: str | None
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load({}, environ)
    assert str(file) in str(caught.value)
    assert sentence in str(caught.value)
    assert hint in (None, caught.value.hint)


@pytest.mark.parametrize(
    ("name", "text", "sentence", "hint"),
    [
        (
            "WAYPOST_RD_GRACES",
            "1",
            "WAYPOST_RD_GRACES in the environment belongs to no key",
            "did you mean WAYPOST_RD_GRACE_S?",
        ),
        ("WAYPOST_RD_GRACE_S", "x", "WAYPOST_RD_GRACE_S must be a whole number from 0 to 1000000000, not 'x'", None),
        ("WAYPOST_LOG_FORMAT", "xml", "WAYPOST_LOG_FORMAT must be one of human, json, not 'xml'", None),
        ("WAYPOST_CONFIG", "/nowhere/at.all", "/nowhere/at.all cannot be read: No such file or directory", None),
    ],
)
def test_a_wrong_variable_is_refused_by_name(
    environ: dict[str, str], name: str, text: str, sentence: str, hint: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, environ | {name: text})
    assert str(caught.value) == sentence
    assert caught.value.hint == hint


def test_a_wrong_flag_is_refused_by_name(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^--rd-grace-s must be a whole number from 0 to 1000000000, not 'x'$"):
        load({"rd.grace_s": "x"}, environ)
    with pytest.raises(ConfigError, match=r"^there is no key rd.grace$") as caught:
        load({"rd.grace": "1"}, environ)
    assert caught.value.hint == "did you mean rd.grace_s?"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5683", Endpoint("127.0.0.1", 5683)),
        ("localhost:0", Endpoint("127.0.0.1", 0)),
        ("[::1]:65535", Endpoint("::1", 65535)),
        ("[0:0::1]:1", Endpoint("::1", 1)),
    ],
)
def test_an_address_is_a_literal_and_a_port(text: str, address: Endpoint) -> None:
    assert listen_address(text) == address


@given(st.text() | st.from_regex(r"\A[\[\]:.0-9a-f]{0,24}:[0-9]{1,6}\Z"))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = listen_address(text)
    except ConfigError:
        return
    assert 0 <= address.port <= 65535
    assert address.host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":5683",
        "127.0.0.1",
        "127.0.0.1:65536",
        "::1:5683",
        "[127.0.0.1]:1",
        "[::1%lo]:1",
        "node.example:1",
        "1.2.3:1",
    ],
)
def test_names_ranges_and_zones_are_no_addresses(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^coap.listen: .* is not an address and a port$"):
        Config(dir=tmp_path, coap=Coap(listen=(text,)))


@pytest.mark.parametrize("text", ["0.0.0.0:5683", "[::]:5683", "192.0.2.1:0", "[2001:db8::1]:5683"])
def test_other_machines_reach_a_listener_only_when_it_is_declared_insecure(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"other machines can reach .*, and nothing there keeps") as caught:
        Config(dir=tmp_path, coap=Coap(listen=(text,)), insecure=("http",))
    assert "--insecure coap" in (caught.value.hint or "")
    assert Config(dir=tmp_path, coap=Coap(listen=(text,)), insecure=("coap",)).coap.listen == (text,)


def test_an_address_stands_once_unless_its_port_is_free_to_choose(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^http.listen: localhost:1 is listed twice$"):
        Config(dir=tmp_path, http=Http(listen=("127.0.0.1:1", "localhost:1")))
    Config(dir=tmp_path, http=Http(listen=("127.0.0.1:0", "127.0.0.1:0")))


@pytest.mark.parametrize(
    "coap",
    [
        Coap(multicast=("eth0",)),
        Coap(listen=("192.0.2.1:5683",), multicast=("eth0",)),
        Coap(listen=("0.0.0.0:5683",), transports=("tcp",), multicast=("eth0",)),
    ],
)
def test_groups_are_heard_on_a_wildcard_address_alone(tmp_path: Path, coap: Coap) -> None:
    with pytest.raises(ConfigError, match=r"^coap\.multicast: "):
        Config(dir=tmp_path, coap=coap, insecure=("coap",))
    Config(dir=tmp_path, coap=Coap(listen=("[::]:5683",), multicast=("eth0",)), insecure=("coap",))


def test_a_transport_that_there_is_not_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, '[coap]\ntransports = ["sctp"]\n')
    with pytest.raises(ConfigError, match=r"coap\.transports must be a list of tcp, udp, ws, not \['sctp'\]$"):
        load({}, {}, file)


def test_only_listeners_are_declared_insecure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^insecure: there is no listener 'cap'$") as caught:
        Config(dir=tmp_path, insecure=("cap",))
    assert caught.value.hint == "did you mean coap?"


@pytest.mark.parametrize("name", ["Node.example", "node.example:8480", "http://node.example", "node.example.", "", "*"])
def test_a_host_is_a_name_in_lower_case_without_a_port(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^http.hosts: .* is not a name in lower case, without a port$"):
        Config(dir=tmp_path, http=Http(hosts=(name,)))
    Config(dir=tmp_path, http=Http(hosts=("node-1.example", "192.0.2.1", "2001:db8::1")))


def test_every_key_has_a_description_and_names_of_its_own() -> None:
    assert all(key.description.endswith(".") for key in KEYS.values())
    assert len({key.environment for key in KEYS.values()}) == len({key.flag for key in KEYS.values()}) == len(KEYS)


def test_the_defaults_are_those_of_the_directory(tmp_path: Path) -> None:
    rd, settings = Config(dir=tmp_path).rd, Settings()
    assert rd.registrations_max == settings.registrations_max
    assert rd.registrations_per_source == settings.registrations_per_source
    assert rd.registrations_per_second == settings.registrations_per_second
    assert rd.registrations_burst == settings.burst
    assert rd.grace_s == settings.grace_s
