"""Reads the documents of a YAML file, as pySigma does: a key that is there twice is an error."""

from collections.abc import Iterator
from typing import Any, Final

import yaml
from sigma.rule.base import SigmaYAMLLoader

MAX_BYTES: Final = 1_048_576


def documents(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the documents of a file.

    Raises:
        yaml.YAMLError: It is no YAML. The documents before the error were yielded.
        TypeError: A document is no mapping.
        ValueError: The file is too large.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    for document in yaml.load_all(content, SigmaYAMLLoader):
        if not isinstance(document, dict):
            raise TypeError("it is no Sigma rule: not a mapping")
        yield document
