"""Small pictures: a screenshot with few colours, as an indexed PNG."""

import base64
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.async_api import Page

FEW_COLOURS: Final = """async (png) => {
    const image = new Image();
    image.src = "data:image/png;base64," + png;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const { data } = canvas.getImageData(0, 0, image.width, image.height);
    const pixels = new Uint32Array(data.buffer);
    const counts = new Map();
    for (const each of pixels) counts.set(each, (counts.get(each) || 0) + 1);
    const parts = (colour) => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
    const apart = (one, other) => Math.hypot(...one.map((part, at) => part - other[at]));
    const chosen = [];
    // The most frequent ones that differ: what is left out is near one of them.
    for (const [colour] of [...counts].sort((one, other) => other[1] - one[1]))
        if (chosen.length < 64 && chosen.every((each) => apart(each, parts(colour)) > 9))
            chosen.push(parts(colour));
    const nearest = new Map();
    for (const colour of counts.keys()) {
        const far = chosen.map((each) => apart(each, parts(colour)));
        nearest.set(colour, far.indexOf(Math.min(...far)));
    }
    const places = Uint8Array.from(pixels, (each) => nearest.get(each));
    let text = "";
    for (let at = 0; at < places.length; at += 32768)
        text += String.fromCharCode(...places.subarray(at, at + 32768));
    return [image.width, image.height, chosen.flat(), btoa(text)];
}"""


async def small(page: "Page", png: bytes) -> bytes:
    """Return a picture with at most 64 colours.

    Args:
        page: A blank page, in which the browser reads the picture.
    """
    width, height, colours, encoded = await page.evaluate(
        FEW_COLOURS, base64.b64encode(png).decode()
    )
    places = base64.b64decode(encoded)
    rows = b"".join(b"\0" + places[at : at + width] for at in range(0, len(places), width))
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 3, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, data)
        for name, data in (
            (b"IHDR", header),
            (b"PLTE", bytes(colours)),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + name + data + checksum
