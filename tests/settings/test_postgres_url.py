"""`DATABASE_URL` as platforms hand it out, and TLS by default (contract 102)."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from vyrox.settings.postgres_url import database_url

SECRET = "p4ss-w0rd"
SYSTEM = "sslmode=verify-full&sslrootcert=system"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h:5433/d", "postgresql://u:p@h:5433/d?sslmode=require"),
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d?sslmode=require"),
        ("postgres://u:p@h/d?sslmode=disable", "postgresql://u:p@h/d?sslmode=disable"),
        ("postgres://u:p@localhost/d", "postgresql://u:p@localhost/d"),
        ("postgres://u:p@127.0.0.2/d", "postgresql://u:p@127.0.0.2/d"),
        ("postgres://u:p@[::1]:5/d", "postgresql://u:p@[::1]:5/d"),
        ("postgres://u:p@[fd00::1]:5/d", "postgresql://u:p@[fd00::1]:5/d?sslmode=require"),
        ("postgresql:///d?host=/run/pg", "postgresql:///d?host=%2Frun%2Fpg"),
        ("postgresql://u@/d?host=/run/pg", "postgresql://u@/d?host=%2Frun%2Fpg"),
        ("postgres://u:p@a:1,b:2/d", "postgresql://u:p@a:1,b:2/d?sslmode=require"),
        ("postgres://localhost,h/d", "postgresql://localhost,h/d?sslmode=require"),
        ("postgres://u:p@h/d?sslmode=verify-full", f"postgresql://u:p@h/d?{SYSTEM}"),
        (  # Neon
            "postgresql://u:p@ep-a-pooler.eu.aws.neon.tech/d?sslmode=require&channel_binding=require",
            f"postgresql://u:p@ep-a-pooler.eu.aws.neon.tech/d?{SYSTEM}",
        ),
        (  # Neon, for clients without SNI
            "postgresql://u:p@h/d?options=endpoint%3Dep-a&sslmode=require",
            "postgresql://u:p@h/d?options=endpoint%3Dep-a&sslmode=require",
        ),
        (  # Supabase's pooler, the address for Prisma
            "postgres://postgres.abc:p@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true",
            "postgresql://postgres.abc:p@aws-0-eu.pooler.supabase.com:6543/postgres?sslmode=require",
        ),
        (
            "postgres://u:p@h/d?target_session_attrs=read-write&sslmode=require",
            "postgresql://u:p@h/d?target_session_attrs=read-write&sslmode=require",
        ),
    ],
)
def test_what_platforms_hand_out_is_taken_contract_102(url: str, expected: str) -> None:
    assert database_url(url) == expected


def test_an_own_authority_is_checked_as_libpq_does_contract_102(tmp_path: Path) -> None:
    """RDS: `sslmode=require` with `sslrootcert` checks the certificate."""
    (tmp_path / "rds.pem").touch()
    query = parse_qs(
        urlsplit(
            database_url(f"postgres://h/d?sslmode=require&sslrootcert={tmp_path}/rds.pem")
        ).query
    )
    assert query == {"sslmode": ["verify-ca"], "sslrootcert": [f"{tmp_path}/rds.pem"]}


def test_a_password_with_every_special_character_is_kept_contract_102() -> None:
    url = database_url("postgres://u:p%40%3A%2F%3F%23%25@h/d")
    assert sa.make_url(url).password == "p@:/?#%"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "must be a postgres:// or"),
        ("h/d", "must be a postgres:// or"),
        ("sqlite:///x.db", "must be a postgres:// or"),
        ("mysql://u:p@h/d", "must be a postgres:// or"),
        ("postgresql+psycopg://h/d", "must be a postgres:// or"),
        ("postgres:///d", "must be a postgres:// or"),
        (f"postgres://u:{SECRET}@h:x/d", "must be a postgres:// or"),
        (f"postgres://u:{SECRET}@h:65536/d", "must be a postgres:// or"),
        (f"postgres://u:{SECRET}@a,/d", "must be a postgres:// or"),
        (f"postgres://u:{SECRET}@h/d#x", "must be a postgres:// or"),
        (f"postgres://u:{SECRET}@h/d?x=1", "takes no parameters but"),
        (f"postgres://u:{SECRET}@h/d?sslmod=require", "; sslmode?"),
        (f"postgres://u:{SECRET}@h/d?ssl=require", "; sslmode?"),
        (f"postgres://u:{SECRET}@h/d?sslmode=on", "as sslmode one of"),
        (f"postgres://u:{SECRET}@h/d?sslmode=require&sslmode=disable", "sslmode only once"),
        (f"postgres://u:{SECRET}@h/d?sslrootcert=/not/there", "path of a file"),
        (f"postgres://u:{SECRET}@h/d?channel_binding=yes", "as channel_binding one of"),
        (f"postgres://u:{SECRET}@h/d?channel_binding=require&sslmode=disable", "only with TLS"),
    ],
)
def test_a_bad_url_is_refused_without_its_password_contract_102(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"must|takes") as caught:
        database_url(url)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


@given(st.text(), st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_any_text_is_a_url_or_an_error_of_ours_contract_102(start: str, query: str) -> None:
    for text in (start, f"postgres://u:{SECRET}@h/d?{query}", f"postgres://{start}"):
        said = told(text)
        assert said.startswith(("postgresql://", "must ", "takes "))
        assert said.startswith("postgresql://") or SECRET not in said


def told(text: str) -> str:
    try:
        return database_url(text)
    except ValueError as exc:
        return str(exc)
