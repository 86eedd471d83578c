from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.redaction import (
    MASK,
    is_secret_key,
    redact,
    secrets_of_options,
    secrets_of_url,
    unforeseen,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot reach mysql://hub:s3cret@db/x", f"cannot reach mysql://hub:{MASK}@db/x"),
        ("postgresql+psycopg://hub:a:b@db", f"postgresql+psycopg://hub:{MASK}@db"),
        ("mysql://:s3cret@db", f"mysql://:{MASK}@db"),
        ("see http://host:8080/a@b", "see http://host:8080/a@b"),
        ("mail to ana@x.test: refused", "mail to ana@x.test: refused"),
    ],
)
def test_passwords_in_urls_are_masked_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_known_secret_is_masked_plain_and_quoted() -> None:
    assert redact("said p@ss/1 and p%40ss%2F1", ["p@ss/1"]) == f"said {MASK} and {MASK}"


SECRET = 'p@ss/"w\\ö\u20ac\n'


@pytest.mark.parametrize(
    "form",
    [
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        repr(SECRET.encode()),
        base64.b64encode(SECRET.encode()).decode(),
        " ".join(SECRET.split()),
    ],
)
def test_a_known_secret_is_masked_however_others_write_it(form: str) -> None:
    assert redact(f"said {form} twice", [SECRET]).replace("b'", "'").strip("\"'") in {
        f"said {MASK} twice",
        f'said "{MASK}" twice',
        f"said '{MASK}' twice",
    }


def test_an_error_that_nobody_foresaw_says_what_it_is_and_no_secret() -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int(SECRET)
    told = unforeseen(raised.value, [SECRET])

    assert str(told) == f"ValueError: invalid literal for int() with base 10: '{MASK}'"
    assert told.__traceback__ is not None, "where it was raised is not lost"


def test_the_longer_secret_is_masked_whole() -> None:
    assert redact("secret-longer", ["secret", "secret-longer"]) == MASK


def test_short_secrets_do_not_eat_words() -> None:
    assert redact("a table", ["a"]) == "a table"


@given(st.text(min_size=3), st.text(), st.text())
def test_a_secret_never_survives(secret: str, before: str, after: str) -> None:
    masked = redact(f"{before}{secret}{after}", [secret])
    assert secret not in masked.replace(MASK, "") or secret in MASK or secret in f"{before}{after}"


def test_secrets_of_a_url_are_its_password_as_written_and_decoded() -> None:
    assert secrets_of_url("mysql://u:p%40ss@h/d") == {"p%40ss", "p@ss"}
    assert secrets_of_url("sqlite:///x.db") == frozenset()
    assert secrets_of_url("http://[broken") == frozenset()


def test_a_password_that_only_drivers_understand_is_found() -> None:
    assert "p/w" in secrets_of_url("mysql://u:p/w@h/d")


def test_secrets_of_options_are_found_at_any_depth() -> None:
    options = {
        "password": "one",
        "port": 22,
        "auth": {"type": "bearer", "value": "two"},
        "headers": [{"Authorization": "three"}],
        "use_tls": True,
        "api_key": 4444,
    }
    assert secrets_of_options(options) == {"one", "bearer", "two", "three", "4444"}


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("password", True),
        ("PASSWD", True),
        ("secret_key", True),
        ("private_key", True),
        ("path", False),
        ("author", False),
    ],
)
def test_names_of_secrets(key: str, secret: bool) -> None:
    assert is_secret_key(key) is secret
