"""`vyrox triage try` and `evaluate`: judge a file of alerts. Needs no service and no database."""

import sys
from pathlib import Path

import click
import msgspec

from vyrox.cli.output import json_option, print_json, printable
from vyrox.cli.tables import print_table
from vyrox.triage.evaluation import About, Measures, Share, measure, read_about
from vyrox.triage.rules import VERSION
from vyrox.triage.score import OwnRules
from vyrox.triage.trying import Read, read_line, results

_file = click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True)


@click.command("try")
@click.argument("file", type=_file)
@click.option(
    "--sigma",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Judge by the Sigma rules in DIR too.",
)
@json_option
def try_(file: Path, sigma: Path | None, as_json: bool) -> None:  # noqa: ARG001  (always JSON)
    """Judge the alerts in FILE (JSON lines): a JSON line for each, with score, incident, reasons.

    A line is an alert as `vyrox queue peek --json` prints it; every member may be missing or null.
    Exits with 1 if a line is no alert; every other line is judged.
    """
    reads, failed = _read(file, own=_own(sigma))
    for result in results(reads):
        click.echo(printable(msgspec.json.encode(result).decode()))
    if failed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("files", type=_file, nargs=-1, required=True)
@json_option
def evaluate(files: tuple[Path, ...], as_json: bool) -> None:
    """Measure the verdicts on labelled alerts, with the vendor's fields and without.

    Exits with 1 if a line is no alert; the measures are of every other line.
    """
    lines = [line for file in files for line in _lines(file)]
    found: dict[str, Measures] = {}
    failed = 0
    for name, masked in (("with the vendor's fields", False), ("without them", True)):
        pairs, failed = _labelled(lines, masked=masked, quiet=masked)
        found[name] = measure([read for read, _ in pairs], [about for _, about in pairs])
    if as_json:
        print_json({"rules": VERSION, "unread_lines": failed, **found})
    else:
        for name, measures in found.items():
            _print_measures(name, measures)
    if failed:
        raise click.exceptions.Exit(1)


def _print_measures(name: str, measures: Measures) -> None:
    rows: list[tuple[str, str, str]] = [
        ("in review or urgent", _shown(measures.recall), _shown(measures.raised)),
        ("in urgent", _shown(measures.urgent), _shown(measures.urgent_benign)),
    ]
    for share, threshold in (("1 %", measures.at_1), ("5 %", measures.at_5)):
        above = f"above {threshold.score:.0f}, which {share} reach"
        rows.append((above, _shown(threshold.recall), share))
    for title, parts in (
        ("tier", measures.tiers),
        ("system", measures.systems),
        ("family", measures.families),
    ):
        for part, each in parts.items():
            rows.append((f"{title} {part}", _shown(each.malicious), _shown(each.benign)))
    click.echo(f"{name}: {measures.alerts} alerts, rules {VERSION}")
    print_table(("", "MALICIOUS", "BENIGN"), rows)
    if measures.grouping is not None:
        grouping = measures.grouping
        click.echo(
            f"grouping of {grouping.stories} stories: pairwise F1 {grouping.pairwise_f1:.2f}, "
            f"B-cubed F1 {grouping.bcubed_f1:.2f}\n  (precision {grouping.bcubed_precision:.2f}, "
            f"recall {grouping.bcubed_recall:.2f})"
        )
    click.echo(
        f"explained {_shown(measures.explained)}, without an incident {measures.missing},\n"
        f"  incidents of two tenants {measures.tenants_mixed}\n"
    )


def _shown(share: Share) -> str:
    if not share.of:
        return "-"
    return f"{share.share:.2f} ({share.low:.2f}-{share.high:.2f} of {share.of})"


def _labelled(
    lines: list[bytes], *, masked: bool, quiet: bool
) -> tuple[list[tuple[Read, About]], int]:
    """Return the alerts with what their lines say of them, and the number of lines that fail."""
    pairs: list[tuple[Read, About]] = []
    failed = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            about = read_about(line)
            pairs += [(read, about) for read in read_line(line, number, masked=masked)]
        except (ValueError, RecursionError) as exc:
            failed += 1
            if not quiet:
                click.echo(f"line {number}: {printable(str(exc))[:200]}", err=True)
    return pairs, failed


def _lines(file: Path) -> list[bytes]:
    return (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).splitlines()


def _own(directory: Path | None) -> OwnRules | None:
    if directory is None:
        return None
    from vyrox.triage.sigma.rules import load

    return load(directory)


def _read(file: Path, own: OwnRules | None) -> tuple[list[Read], int]:
    reads: list[Read] = []
    failed = 0
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            reads += read_line(line, number, own=own)
        except (ValueError, RecursionError) as exc:
            failed += 1
            click.echo(f"line {number}: {printable(str(exc))[:200]}", err=True)
    return reads, failed
