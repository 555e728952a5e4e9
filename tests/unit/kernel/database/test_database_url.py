"""Database URLs: the forms of libpq are understood, and any other gives one message without a secret."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.errors import ConfigurationError

ONE = DatabaseUrl(hosts=("db",), ports=(5433,), user="u", password="p", database="d")
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@db:5433/d", ONE),
        ("postgres://u:p@db:5433/d", ONE),
        ("postgresql://db:5433/d?user=u&password=p", ONE),
        ("postgresql://u:p@/d?host=db&port=5433", ONE),
        ("postgresql://u:p@elsewhere/?host=db&port=5433&dbname=d", ONE),
        ("postgresql://u:p@db:5433/d?gssencmode=disable&channel_binding=prefer&client_encoding=UTF8", ONE),
        ("postgresql://u:p%40%2F%3A%25@db:5433/d", replace(ONE, password="p@/:%")),
        ("postgresql://u:p#?:@db:5433/d", replace(ONE, password="p#?:")),
        ("postgresql://u:p@[2001:db8::1]:5433/d", replace(ONE, hosts=("2001:db8::1",))),
        ("postgresql://u:p@/d?host=::1&port=5433", replace(ONE, hosts=("::1",))),
        ("postgresql://u:p@[::1]/d", replace(ONE, hosts=("::1",), ports=())),
        ("postgresql://u:p@a:1,b/d", replace(ONE, hosts=("a", "b"), ports=(1, 5432))),
        ("postgresql://u:p@/d?host=a,b&port=5433", replace(ONE, hosts=("a", "b"), ports=(5433, 5433))),
        ("postgresql://u:p@%2Frun%2Fpg:5433/d", replace(ONE, hosts=("/run/pg",))),
        ("postgresql://u:p@/d?host=/run/a+b", replace(ONE, hosts=("/run/a+b",), ports=())),
        ("postgresql://u:p@db:5433/d?connect_timeout=9", replace(ONE, connect_seconds_max=9)),
        ("postgresql://u:p@db:5433/d?connect_timeout=1", replace(ONE, connect_seconds_max=2)),
        ("postgresql://u:p@db:5433/d?connect_timeout=0", replace(ONE, connect_seconds_max=None)),
        ("postgresql://u:p@db:5433/d?sslmode=require", replace(ONE, passed_on={"sslmode": "require"})),
        ("postgresql://u:p@db:5433/d?ssl=true", replace(ONE, passed_on={"sslmode": "require"})),
        ("postgresql://u:p@db:5433/d?sslmode=allow&sslmode=disable", replace(ONE, passed_on={"sslmode": "disable"})),
        (
            "postgresql://u:p@db:5433/d?target_session_attrs=read-write",
            replace(ONE, passed_on={"target_session_attrs": "read-write"}),
        ),
        (
            "postgresql://u:p@db:5433/d?application_name=pool&options=-c%20statement_timeout%3D5s",
            replace(ONE, server_settings={"application_name": "pool", "options": "-c statement_timeout=5s"}),
        ),
        ("postgresql://", DatabaseUrl()),
    ],
)
def test_the_forms_of_libpq_are_understood(url: str, expected: DatabaseUrl) -> None:
    assert DatabaseUrl.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:p@db/d", "must begin with postgresql://"),
        ("postgresql+asyncpg://u:p@db/d", "must begin with postgresql://"),
        ("host=db user=u", "must begin with postgresql://"),
        ("", "must begin with postgresql://"),
        ("postgresql://u:p@db:99999/d", "port must be a number from 1 to 65535"),
        ("postgresql://u:p@db:0/d", "port must be a number"),
        ("postgresql://u:p@db:x/d", "port must be a number"),
        ("postgresql://u:p@a,b,c/d?port=1,2", "one port for all hosts"),
        ("postgresql://u:p@a,,b/d", "name a host between"),
        ("postgresql://u:p@::1/d", "port must be a number"),
        ("postgresql://u:p@[::1/d", "IPv6 address in brackets"),
        ("postgresql://u:p@db/d\n", "line break"),
        ("postgresql://u:p%zz@db/d", "write % as %25"),
        ("postgresql://u:p%ff@db/d", "must be UTF-8"),
        ("postgresql://u:p%00@db/d", "%00"),
        ("postgresql://u:p@db/d?sslmode", "NAME=VALUE"),
        ("postgresql://u:p@db/d?sslmode=on", "sslmode must be one of disable, allow, prefer"),
        ("postgresql://u:p@db/d?target_session_attrs=master", "target_session_attrs must be one of any"),
        ("postgresql://u:p@db/d?connect_timeout=5s", "connect_timeout must be a whole number"),
        ("postgresql://u:p@db/d?sslmode=verify-full&sslrootcert=/none.pem", "file of its sslrootcert"),
        ("postgresql://u:p@db/d?sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
        ("postgresql://u:p@db/d?channel_binding=require", "channel_binding only as disable or prefer"),
        ("postgresql://u:p@db/d?keepalives=1", "cannot do the parameter keepalives"),
        ("postgresql://u:p@db/d?statement_timeout=5", "cannot do the parameter statement_timeout"),
    ],
)
def test_any_other_form_is_refused_with_advice(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DatabaseUrl.parse(url)


@given(user=TEXT, password=TEXT, database=TEXT)
def test_percent_encoded_parts_arrive_as_they_were(user: str, password: str, database: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = DatabaseUrl.parse(f"postgresql://{login}@db:5433/{quote(database, safe='')}")
    assert (url.user, url.password, url.database) == (user, password, database)


@given(password=st.text("s3cret@/:?#&=%[],\n ", min_size=8, max_size=24))
def test_no_message_and_no_shown_url_holds_a_piece_of_the_password(password: str) -> None:
    password = f"hunter{password}hunter"
    try:
        shown = repr(DatabaseUrl.parse(f"postgresql://u:{password}@db/d"))
    except ConfigurationError as error:
        shown = str(error)
    assert "hunter" not in shown


def test_certificates_reach_the_driver(tmp_path: Path) -> None:
    (tmp_path / "ca 1.pem").touch()
    ours = DatabaseUrl.parse(f"postgresql://u@db/d?sslmode=verify-full&sslrootcert={tmp_path}/ca%201.pem")
    path = quote(f"{tmp_path}/ca 1.pem", safe="")
    assert ours.arguments()["dsn"] == f"postgresql://?sslmode=verify-full&sslrootcert={path}"
    of_the_system = DatabaseUrl.parse("postgresql://u@db/d?sslrootcert=system").arguments()
    assert (of_the_system["ssl"], of_the_system["dsn"]) == (True, None)
