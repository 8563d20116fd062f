"""Which accounts are a person, so that the same one on two hosts means something."""

import re
from typing import Final

_NO_PERSON: Final = re.compile(
    r"^(?:system|root|administrator|admin|guest|nobody|daemon|local service|network service|service"
    r"|localsystem|networkservice|localservice|defaultaccount|user|test|owner|vagrant|ubuntu|debian"
    r"|centos|ec2-user|azureuser|www-data|apache|nginx|postgres|mysql|oracle|jenkins|ansible|deploy"
    r"|docker|git|gitlab-runner|backup|operator|bin|sys|nt authority|dwm-\d|umfd-\d|sophos\w*)$"
    r"|^(?:svc|srv|sa|service|app|task|batch|sql|iis|bot|ci)[-_.$]|[-_.](?:svc|service|sa|bot|job)$"
    r"|^s-1-5-|\$$"
)


def person(username: str | None) -> str | None:
    """Return the account's name without its domain, or None if it is not a person's."""
    name = (username or "")[:256].replace("\0", "").strip().casefold()
    name = name.encode("utf-8", "replace").decode()
    name = name.rpartition("\\")[2].partition("@")[0]
    if not name or name in {"-", "n/a", "none", "unknown", "null"} or _NO_PERSON.search(name):
        return None
    return name
