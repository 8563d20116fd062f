"""The slash commands, as they are registered for a server (contract 67)."""

from collections.abc import Mapping
from typing import Final

_READERS: Final = {
    "status": "What waits for a decision, and what is contained",
    "incidents": "The open incidents",
    "contained": "The devices that Vyrox has contained",
    "drill": "The last drill, and who has answered it",
}

COMMANDS: Final[list[Mapping[str, object]]] = [
    {
        "name": "vyrox",
        "type": 1,
        "description": "Vyrox: approvals of this channel. Only you see the answers",
        "contexts": [0],
        "options": [
            {
                "type": 1,
                "name": "register",
                "description": "Make this account an approver's",
                "options": [
                    {
                        "type": 3,
                        "name": "code",
                        "description": "The one-time code that the operator gave you",
                        "required": True,
                    }
                ],
            },
            *({"type": 1, "name": name, "description": text} for name, text in _READERS.items()),
        ],
    }
]
"""`/vyrox register|status|incidents|contained|drill`. None of them acts."""
