"""Tables for how people decide: their keys, the console, Discord, leases and break glass."""

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Make the tables of each part."""
    _keys()
    _console()
    _discord()
    _leases()
    _break_glass()
    _notifications()


def _keys() -> None:
    """Passkeys, the codes that enrol them, and statements that were shown."""


def _console() -> None:
    """Sessions of the console."""


def _discord() -> None:
    """Discord: the channels of tenants, and the messages in them."""


def _leases() -> None:
    """Containments that end by themselves."""


def _break_glass() -> None:
    """Actions without an approval that wait for an acknowledgement."""


def _notifications() -> None:
    """Reminders, and channels beside webhooks."""
