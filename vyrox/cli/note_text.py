"""How `vyrox incident show` prints the note of a language model, if there is one."""

from collections.abc import Iterator

from vyrox.cli.output import as_time, record_lines
from vyrox.triage.notes.rows import Note


def note_lines(note: Note, width: int) -> Iterator[str]:
    """Yield the lines of a note. What it says is escaped: a model has written it.

    Its quotes occur in the alerts; nothing else in it was checked.
    """
    since = "" if note.is_current else "; the incident has changed since"
    yield from record_lines(
        {
            "note": f"written by {note.model} at {as_time(note.at)}, not checked{since}",
            "summary": note.answer.summary,
            "if attack": note.answer.hypothesis_attack,
            "if benign": note.answer.hypothesis_benign,
            **{f"quote {number}": quote for number, quote in enumerate(note.answer.quotes, 1)},
        },
        width,
    )
