"""The framing of a request: which bytes belong to it (contract 1)."""

from vyrox.errors import MalformedRequestError


def check_framing(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Check that every server and proxy must parse the same request from these bytes.

    Args:
        version: The HTTP version as the parser names it, such as "1.1".
        headers: Names in lower case.

    Raises:
        MalformedRequestError: The version, the Host or the Transfer-Encoding is ambiguous.

    Source:
        RFC 9112, 3.2 (Host), 6.1 and 6.3 (Transfer-Encoding).
    """
    hosts = [value for name, value in headers if name == b"host"]
    encodings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if version not in {"1.0", "1.1"}:
        raise MalformedRequestError("HTTP version is not 1.0 or 1.1")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise MalformedRequestError("not exactly one Host")
    if not encodings:
        return
    # The parser reads "gzip, chunked" and "chunked " as chunked. A proxy in front may not.
    if version == "1.0" or encodings != [b"chunked"]:
        raise MalformedRequestError("Transfer-Encoding is not chunked")
    if any(name == b"content-length" for name, _ in headers):
        raise MalformedRequestError("both Content-Length and Transfer-Encoding")
