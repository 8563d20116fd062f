"""`vyrox triage`: judge a file of alerts, and show the rules. Needs no service and no database."""

import sys
from pathlib import Path

import click
import msgspec

from vyrox.cli.output import json_option, print_json, print_table, printable
from vyrox.triage.evaluation import Share, measure
from vyrox.triage.rules import SIGNALS, VERSION
from vyrox.triage.trying import Read, read_line, results

_file = click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True)


@click.command("try")
@click.argument("file", type=_file)
@json_option
def try_(file: Path, as_json: bool) -> None:  # noqa: ARG001  (each line is JSON already)
    """Judge the alerts in FILE (JSON lines): a JSON line for each, with score, incident, reasons.

    A line is an alert as `vyrox queue peek --json` prints it; every member may be missing or null.
    Exits with 1 if a line is no alert; every other line is judged.
    """
    reads, failed = _read(file, masked=False)
    for result in results(reads):
        click.echo(printable(msgspec.json.encode(result).decode()))
    if failed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("files", type=_file, nargs=-1, required=True)
@json_option
def evaluate(files: tuple[Path, ...], as_json: bool) -> None:
    """Measure the verdicts on labelled alerts, with the vendor's fields and without."""
    found = {}
    for name, masked in (("with the vendor's fields", False), ("without them", True)):
        reads = [read for file in files for read in _read(file, masked=masked)[0]]
        found[name] = measure(reads)
    if as_json:
        print_json(found)
        return
    for name, measures in found.items():
        click.echo(f"{name}: {measures.alerts} alerts, rules {VERSION}")
        click.echo(f"  malicious in review or urgent  {_shown(measures.recall)}")
        click.echo(f"  benign in review or urgent     {_shown(measures.raised)}")
        click.echo(f"  malicious at 1 % of benign     {measures.recall_at_1:.2f}")
        click.echo(f"  malicious at 5 % of benign     {measures.recall_at_5:.2f}")
        f1 = "no stories" if measures.grouping_f1 is None else f"{measures.grouping_f1:.2f}"
        click.echo(f"  grouping, pairwise F1          {f1}")
        click.echo(f"  incidents of two tenants       {measures.tenants_mixed}")


@click.command()
@json_option
def signals(as_json: bool) -> None:
    """List the signals with their weights."""
    rows = [(each.name, each.weight, each.technique) for each in SIGNALS]
    if as_json:
        print_json([dict(zip(("signal", "weight", "technique"), row, strict=True)) for row in rows])
        return
    print_table(("SIGNAL", "WEIGHT", "TECHNIQUE"), rows)


def _shown(share: Share) -> str:
    return f"{share.share:.2f} ({share.low:.2f} to {share.high:.2f}, of {share.of})"


def _read(file: Path, *, masked: bool) -> tuple[list[Read], int]:
    lines = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).splitlines()
    reads: list[Read] = []
    failed = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            reads += read_line(line, number, masked=masked)
        except (ValueError, RecursionError) as exc:
            failed += 1
            click.echo(f"line {number}: {printable(str(exc))[:200]}", err=True)
    return reads, failed
