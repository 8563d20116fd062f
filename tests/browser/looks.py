"""How a page looks: axe-core's rules, its width, the size of what is pressed, and what has run."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.async_api import Page

TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]

MIN_TARGET: Final = 24
"""Pixels, as WCAG 2.2 AA asks for."""

MIN_BUTTON: Final = 43.9
"""Pixels, for a thumb."""

COLOURS: Final = ["color-contrast", "link-in-text-block"]
"""The rules on which a scheme has any influence."""

AXE: Final = """async (runOnly) => {
    const options = {runOnly, resultTypes: ["violations"]};
    if (runOnly.type === "tag") options.rules = {"target-size": {enabled: true}};
    const {violations} = await axe.run(document, options);
    return violations.flatMap(({id, nodes}) => nodes.map(
        ({html, failureSummary}) => `${id}: ${html.slice(0, 200)} ${failureSummary}`));
}"""

SEEN: Final = """([minTarget, minButton]) => {
    const root = document.documentElement;
    const problems = [];
    if (root.scrollWidth > root.clientWidth) {
        const wide = [...document.querySelectorAll("body *")].filter(
            (each) => each.getBoundingClientRect().right > root.clientWidth + 1);
        problems.push(`scrolls sideways: ${wide.map((each) => each.outerHTML.slice(0, 120))}`);
    }
    const pressed = "button, .button, summary, select, input:not([type=hidden]), textarea, nav a";
    for (const each of document.querySelectorAll(pressed)) {
        const {width, height} = each.getBoundingClientRect();
        const least = each.matches("button, .button") ? minButton : minTarget;
        if (each.checkVisibility() && Math.min(width, height) < least)
            problems.push(`too small to press: ${each.outerHTML.slice(0, 120)}`);
    }
    if (window.ran) problems.push("what an attacker wrote has run");
    for (const each of document.querySelectorAll("img, b, [onclick], [onerror], main [style]"))
        problems.push(`markup that no template has: ${each.outerHTML.slice(0, 120)}`);
    return problems;
}"""


@cache
def axe_script() -> str:
    """Return axe-core."""
    return (files("axe_playwright_python") / "axe.min.js").read_text()


async def problems(page: "Page") -> list[str]:
    """Return what is wrong with the page that is open, except axe's rules."""
    seen: list[str] = await page.evaluate(SEEN, [MIN_TARGET, MIN_BUTTON])
    return seen


async def violations(page: "Page") -> list[str]:
    """Return what axe has against the page that is open. It runs beside the page's policy."""
    await page.emulate_media(color_scheme="light")
    found = await _asked(page, "tag", TAGS)
    await page.emulate_media(color_scheme="dark")
    return [*found, *(f"dark: {each}" for each in await _asked(page, "rule", COLOURS))]


async def _asked(page: "Page", kind: str, values: list[str]) -> list[str]:
    if not await page.evaluate("Boolean(window.axe)"):
        await page.evaluate(axe_script())
    found: list[str] = await page.evaluate(AXE, {"type": kind, "values": values})
    return found
