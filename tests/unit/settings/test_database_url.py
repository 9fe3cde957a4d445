"""A database URL in a log or an error has no secret in it, also when it is malformed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasker_actors.settings.database_url import is_database_url, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("postgresql://u:p@h1:1,[::1]:2/d?sslmode=require", "postgresql://u:***@h1:1,[::1]:2/d?sslmode=require"),
        ("postgresql:///d?host=/run/a@b", "postgresql:///d?host=/run/a@b"),
        ("postgresql://u@h/d?password=p&x=y", "postgresql://u@h/d?password=***&x=y"),
        ("postgresql://u@h/d?password=p#q/r&x=y", "postgresql://u@h/d?password=***&x=y"),
        ("postgresql://u@h/d?sslpassword=p", "postgresql://u@h/d?sslpassword=***"),
        ("postgresql://u:p@ss/x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:1/x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:1?x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:s@?c=s@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p#x@h/d", "postgresql://u:***@h/d"),
        ("host=h password=p dbname=d", "host=h password=*** dbname=d"),
        ("host=h password = 'a b\\'c' dbname=d", "host=h password = *** dbname=d"),
        ("password='unclosed", "password=***"),
        ("password=a\\ b user=u", "password=*** user=u"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert redact_url(url) == shown


@given(st.text(st.sampled_from("SECRET@/?#:&=% '\\"), min_size=3))
@example("@?C=")
def test_no_password_survives_however_it_is_punctuated(inner):
    password = f"S{inner}S"
    shown = redact_url(f"postgresql://user:{password}@host.example/db")
    assert not any(character.isupper() for character in shown)
    assert shown.startswith("postgresql://user")


def test_a_redacted_url_stays_as_it_is():
    shown = redact_url("postgresql://u:p@h/d?password=x")
    assert redact_url(shown) == shown


@pytest.mark.parametrize("text", ["postgresql://h", "postgres://h/d", "host=h dbname=d", "dbname = d"])
def test_both_forms_of_libpq_are_recognised(text):
    assert is_database_url(text)


@pytest.mark.parametrize("text", ["", "mysql://h", "h:5432", "a database"])
def test_other_texts_are_not(text):
    assert not is_database_url(text)
