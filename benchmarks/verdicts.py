"""Measures the processor time of one verdict, and how many are made in a second, without stores.

`python -m benchmarks.verdicts` takes about half a minute; `--floods` also tries, for each pattern,
a line of 32 KiB that repeats the texts which the pattern needs.
"""

import argparse
import base64
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from vyrox.models import NormalizedAlert
from vyrox.triage import catalogue
from vyrox.triage.rules import SIGNALS
from vyrox.triage.score import judge
from vyrox.triage.trying import Read, group, read_line

SAMPLES: Final = Path(__file__).parent.parent / "tests" / "data" / "triage"
LONG: Final = 8 * 1024
LONGEST: Final = 32 * 1024
TARGETS_MS: Final = {"median": 0.3, "p99 at 8 KiB": 2.0, "worst of a kind": 20.0}


def main() -> None:
    """Print the figures beside the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floods", action="store_true", help="one hostile line for each pattern")
    arguments = parser.parse_args()
    measure(floods=arguments.floods)


def measure(*, floods: bool = False) -> None:
    """Print the figures beside the targets, which are for a machine of 40 us for a bare 202."""
    began = time.process_time()
    judge(_alert("whoami"))
    print(f"first verdict, with {len(SIGNALS)} signals read: {_ms(began):.0f} ms")
    reads = list(_samples())
    took = sorted(_times(read.judged.alert for read in reads for _ in range(3)))
    print(f"{len(reads)} samples: {_quantiles(took)}   (target: median {TARGETS_MS['median']} ms)")
    for name, lines in _long_lines().items():
        took = sorted(_times(map(_alert, lines)))
        target = f"(target: p99 {TARGETS_MS['p99 at 8 KiB']} ms)"
        print(f"8 KiB, {name}: {_quantiles(took)}   {target}")
    for name, line in _hostile().items():
        best = min(_times([_alert(line)] * 3))
        print(f"hostile, {name}: {best:.1f} ms   (target: {TARGETS_MS['worst of a kind']} ms)")
    _print_rates(reads)
    if floods:
        _print_floods()


def _samples() -> Iterator[Read]:
    for file in sorted(SAMPLES.glob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            yield from read_line(line, number)


def _alert(line: str) -> NormalizedAlert:
    return NormalizedAlert(
        id="a", tenant_id="t", source="generic", raw_id="r", timestamp=0.0, process_cmdline=line
    )


def _ms(began: float) -> float:
    return (time.process_time() - began) * 1e3


def _times(alerts: Iterable[NormalizedAlert]) -> Iterator[float]:
    for alert in alerts:
        began = time.process_time()
        judge(alert)
        yield _ms(began)


def _quantiles(took: list[float]) -> str:
    count = len(took)
    return (
        f"median {took[count // 2]:.2f}, p99 {took[int(count * 0.99)]:.2f}, max {took[-1]:.2f} ms"
    )


def _long_lines() -> dict[str, list[str]]:
    rng = random.Random(8)  # noqa: S311
    script = [
        "$r = Get-ChildItem -Path 'D:\\Data\\{}' -Recurse | Where-Object {{ $_.Length -gt {} }};",
        "foreach ($f in $r) {{ Write-Output ('file {} has ' + $f.Length + ' bytes of {}') }};",
        "if (Test-Path 'C:\\Program Files\\Acme\\{}.dll') {{ Set-Variable -Name x -Value {} }};",
    ]
    jars = "/opt/app/lib/{}-{}.jar:"
    samples = [read.judged.alert.process_cmdline or "" for read in _samples()]
    scripts = [_filled(script, "powershell -NoProfile -Command ", rng) for _ in range(200)]
    return {
        "a script": scripts,
        "a class path": [_filled([jars], "java -Xmx2g -cp ", rng) for _ in range(200)],
        "an encoded script": [f"powershell -enc {_wide(line[:3000])}" for line in scripts],
        "dozens of attacks in one line": [
            " & ".join(rng.sample(samples, 150))[:LONG] for _ in range(40)
        ],
    }


def _filled(parts: list[str], start: str, rng: random.Random) -> str:
    line = start
    while len(line) < LONG:
        line += rng.choice(parts).format(f"part{rng.randrange(10**6)}", rng.randrange(10**6))
    return line[:LONG]


def _wide(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-le")).decode()


def _hostile() -> dict[str, str]:
    rng = random.Random(7)  # noqa: S311
    nested = "calc"
    while len(nested) < LONGEST:
        nested = f"powershell -enc {_wide(nested)}"
    return {
        "one letter": "a" * 1_000_000,
        "carets": "^" * 1_000_000,
        "joins": "'+'" * 300_000,
        "formats": '("{0}"-f' * 100_000,
        "backslashes": "\\" * 1_000_000,
        "variables": "%temp%" * 100_000,
        "fetches": "curl " * 200_000,
        "random punctuation": "".join(rng.choice("ab \\/-'\"|&;^%${}()[]") for _ in range(100_000)),
        "bidi": "\u202e" * 300_000,
        "nested encodings": nested,
        "encodings in vain": " ".join(f"-enc {n:012}" for n in range(10_000)),
    }


def _print_rates(reads: list[Read]) -> None:
    began = time.perf_counter()
    for read in reads:
        judge(read.judged.alert)
    judged = time.perf_counter()
    group(reads)
    ended = time.perf_counter()
    both = len(reads) / (ended - began)
    print(
        f"{len(reads) / (judged - began):.0f} alerts/s judged, {both:.0f}/s judged and grouped, "
        "in one process   (target: 2000/s judged and grouped)",
        flush=True,
    )


def _print_floods() -> None:
    found = []
    for signal in SIGNALS:
        if not isinstance(signal.find, catalogue.Finder):
            continue
        for pattern in signal.find.patterns:
            texts = [max(each, key=len) for each in pattern.clauses]
            unit = " ".join(texts) + " "
            line = (unit * (LONGEST // len(unit) + 1))[:LONGEST]
            found.append((min(_times([_alert(line)])), signal.name, unit[:60]))
    found.sort(reverse=True)
    above = sum(each[0] > TARGETS_MS["worst of a kind"] for each in found)
    print(f"{above} of {len(found)} floods take longer than {TARGETS_MS['worst of a kind']} ms")
    for took, name, unit in found[:10]:
        print(f"  {took:6.1f} ms  {name}: {unit}")


if __name__ == "__main__":
    main()
