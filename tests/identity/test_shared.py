"""Pre-shared keys and OSCORE contexts, as an operator writes them down."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import ConfigError
from waypost.identity import Identity
from waypost.identity.shared import NONE, read_shared

KEY = "8f1c0b7de2a94f5536d80e61c27ba9f4"
SALT = "9e7ca92223786340"
CONTEXT = f"""
[oscore."lamp-4"]
master_secret = "{KEY}"
master_salt = "{SALT}"
sender_id = "01"
recipient_id = "02"
id_context = "37cbf3210017a2d3"
roles = ["device"]
"""


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_shared(text.encode(), "secrets.toml")
    assert KEY not in f"{caught.value} {caught.value.hint}"
    return caught.value


def test_a_key_stands_for_its_name_and_roles() -> None:
    shared = read_shared(f'[psk."lamp-3"]\nkey = "{KEY}"\nroles = ["reader", "device"]\n'.encode(), "secrets.toml")
    assert shared.contexts == ()
    assert [*shared.psks] == [b"lamp-3"]
    found = shared.psks[b"lamp-3"]
    assert (found.key, found.who) == (bytes.fromhex(KEY), Identity("psk", "lamp-3", ("device", "reader")))


def test_a_context_stands_for_its_name_and_roles() -> None:
    (context,) = read_shared(CONTEXT.encode(), "secrets.toml").contexts
    assert context.who == Identity("oscore", "lamp-4", ("device",))
    assert (context.master_secret, context.master_salt) == (bytes.fromhex(KEY), bytes.fromhex(SALT))
    assert (context.sender_id, context.recipient_id) == (b"\1", b"\2")
    assert context.id_context == bytes.fromhex("37cbf3210017a2d3")
    without = "".join(line for line in CONTEXT.splitlines(keepends=True) if not line.startswith(("id_", "roles")))
    (context,) = read_shared(without.encode(), "secrets.toml").contexts
    assert (context.id_context, context.who.roles) == (None, ())


def test_a_file_may_be_empty() -> None:
    assert read_shared(b"# nobody yet\n", "secrets.toml") == NONE


@pytest.mark.parametrize(
    "key",
    [
        "00" * 16, "ff" * 32, "ab" * 16, "0123" * 8,  # all the same, or nearly
        "000102030405060708090a0b0c0d0e0f", "0102030405060708090a0b0c0d0e0f10",  # RFC 8613, appendix C
        "102030405060708090a0b0c0d0e0f000", "0f0e0d0c0b0a09080706050403020100",
        b"changeme-changeme".hex(), b"my Secret 1234567".hex(), b"PASSWORD12345678".hex(), b"waypost-0a8bc-92d".hex(),
    ],
)  # fmt: skip
def test_a_key_from_a_manual_or_a_lazy_one_is_refused(key: str) -> None:
    error = refusal(f'[psk.lamp]\nkey = "{key}"')
    assert str(error) == 'secrets.toml: psk."lamp": key is a sample or can be guessed'
    assert error.hint == "openssl rand -hex 32"
    assert "master_secret is a sample" in str(refusal(CONTEXT.replace(KEY, key)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f'[psk.lamp]\nkey = "{KEY[2:]}"', 'secrets.toml: psk."lamp": key has 15 octets, and 16 to 64 are needed'),
        (f'[psk.lamp]\nkey = "{KEY * 5}"', 'secrets.toml: psk."lamp": key has 80 octets, and 16 to 64 are needed'),
        (f'[psk.lamp]\nkey = "{KEY}0"', 'secrets.toml: psk."lamp": key is not in hexadecimal'),
        ('[psk.lamp]\nkey = "lamplamplamplamp"', 'secrets.toml: psk."lamp": key is not in hexadecimal'),
        ("[psk.lamp]\nkey = 16", 'secrets.toml: psk."lamp": expected `str`, got `int` - at `$.key`'),
        ("[psk.lamp]", 'secrets.toml: psk."lamp": object missing required field `key`'),
        (f'[psk.lamp]\nkey = "{KEY}"\nkeys = 1', 'secrets.toml: psk."lamp": object contains unknown field `keys`'),
        (
            f'[psk.lamp]\nkey = "{KEY}"\nroles = ["operator"]',
            "secrets.toml: psk.\"lamp\": there is no role 'operator'",
        ),
        (
            f'[psk."a b"]\nkey = "{KEY}"',
            "secrets.toml: psk: 'a b' is no name: 1 to 64 letters, digits and ._@-",
        ),
        ("[keys.lamp]", "secrets.toml: there is no section [keys]"),
        ("psk = 1", "secrets.toml: psk is a section, not a key"),
        ("[psk]\nlamp = 1", 'secrets.toml: psk."lamp": expected `object`, got `int`'),
        ("[psk", "secrets.toml is not TOML (at end of document)"),
        (f'[psk.lamp]\nkey = "{KEY}', "secrets.toml is not TOML (at end of document)"),
        (f"[psk.lamp]\nkey = {KEY}", "secrets.toml is not TOML (at line 2, column 8)"),
        ("\N{REPLACEMENT CHARACTER}", "secrets.toml is not TOML (at line 1, column 1)"),
    ],
)
def test_what_is_not_as_it_must_be_is_named(text: str, sentence: str) -> None:
    assert str(refusal(text)) == sentence


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('recipient_id = "01"', "the same id for both sides"),
        ('recipient_id = "0102030405060708"', "more than 7 octets"),
        (f'master_salt = "{"00" * 65}"', "more than 64 octets"),
        (f'id_context = "{"00" * 65}"', "more than 64 octets"),
        ('sender_id = "1"', "sender_id is not in hexadecimal"),
    ],
)
def test_a_context_that_cannot_be_used_is_named(line: str, sentence: str) -> None:
    name = line.partition(" ")[0]
    lines = [line if other.startswith(f"{name} ") else other for other in CONTEXT.splitlines()]
    error = str(refusal("\n".join(lines)))
    assert error.startswith('secrets.toml: oscore."lamp-4": ')
    assert sentence in error


def test_two_contexts_have_two_ids() -> None:
    """RFC 8613, 3.3: the id and its context find the one key that decrypts."""
    both = CONTEXT + CONTEXT.replace("lamp-4", "lamp-5")
    assert str(refusal(both)) == "secrets.toml: oscore: lamp-4 and lamp-5 have the same recipient_id"
    other_context = CONTEXT + CONTEXT.replace("lamp-4", "lamp-5").replace("37cb", "38cb")
    assert len(read_shared(other_context.encode(), "secrets.toml").contexts) == 2


def test_no_text_shows_a_secret() -> None:
    shared = read_shared(f'[psk.lamp]\nkey = "{KEY}"\n{CONTEXT}'.encode(), "secrets.toml")
    shown: Iterable[object] = (shared, *shared.psks.values(), *shared.contexts)
    for item in shown:
        assert KEY not in repr(item)
        assert repr(bytes.fromhex(KEY))[2:-1] not in repr(item)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_octets_are_read_or_raise_config_error(data: bytes) -> None:
    try:
        shared = read_shared(data, "secrets.toml")
    except ConfigError:
        return
    assert shared == NONE
