"""What Discord takes as a message (reference: message and component objects)."""

from typing import Any, Final

from vyrox.trial.fake_discord.world import Json, RefusedError

_FIELD_LIMITS: Final = {"title": 256, "description": 4096}


def check_message(body: Json, *, is_new: bool) -> None:
    """Return if Discord takes `body`.

    Raises:
        RefusedError: With 400 and the code that Discord has for it.
    """
    content = body.get("content") or ""
    embeds = body.get("embeds") or []
    if is_new and not content and not embeds:
        raise RefusedError(400, 50006, "Cannot send an empty message")
    _require(len(content) <= 2000, "content", "Must be 2000 or fewer in length.")
    _require(len(str(body.get("nonce", ""))) <= 25, "nonce", "Must be 25 or fewer in length.")
    _require(len(embeds) <= 10, "embeds", "Must be 10 or fewer in length.")
    _require(sum(map(_embed_size, embeds)) <= 6000, "embeds", "Embed size exceeds 6000")
    _check_mentions(body.get("allowed_mentions") or {})
    _check_components(body.get("components") or [])


def _embed_size(embed: dict[str, Any]) -> int:
    for name, limit in _FIELD_LIMITS.items():
        _require(len(embed.get(name, "")) <= limit, f"embeds.{name}", f"Must be {limit} or fewer.")
    fields = embed.get("fields") or []
    _require(len(fields) <= 25, "embeds.fields", "Must be 25 or fewer in length.")
    for each in fields:
        _require(0 < len(each["name"]) <= 256, "embeds.fields.name", "Must be 1 to 256.")
        _require(0 < len(each["value"]) <= 1024, "embeds.fields.value", "Must be 1 to 1024.")
    texts = [embed.get(name, "") for name in _FIELD_LIMITS]
    return sum(map(len, texts)) + sum(len(each["name"] + each["value"]) for each in fields)


def _check_mentions(allowed: dict[str, Any]) -> None:
    both = set(allowed.get("parse") or []) & {
        name for name in ("roles", "users") if allowed.get(name)
    }
    _require(not both, "allowed_mentions", "Mutually exclusive.")


def _check_components(components: list[dict[str, Any]]) -> None:
    _require(len(components) <= 5, "components", "Must be 5 or fewer in length.")
    ids: list[str] = []
    for row in components:
        _require(row.get("type") == 1, "components", "Only rows.")
        buttons = row.get("components") or []
        _require(1 <= len(buttons) <= 5, "components", "Must be 1 to 5 in length.")
        for button in buttons:
            _check_button(button)
            ids += [button["custom_id"]] if "custom_id" in button else []
    _require(len(ids) == len(set(ids)), "components", "Component custom id cannot be duplicated")


def _check_button(button: dict[str, Any]) -> None:
    _require(button.get("type") == 2, "components", "Only buttons.")
    _require(len(button.get("label", "")) <= 80, "label", "Must be 80 or fewer in length.")
    if button.get("style") == 5:
        url = button.get("url", "")
        _require(url.startswith("https://"), "url", "Not a well formed URL.")
        _require(len(url) <= 512 and "custom_id" not in button, "url", "Must be 512 or fewer.")
        return
    _require(button.get("style") in {1, 2, 3, 4}, "style", "Not a style.")
    _require(1 <= len(button.get("custom_id", "")) <= 100, "custom_id", "Must be 1 to 100.")


def _require(is_right: bool, where: str, words: str) -> None:
    if not is_right:
        errors = {where: {"_errors": [{"code": "BASE_TYPE", "message": words}]}}
        raise RefusedError(400, 50035, "Invalid Form Body", errors)
