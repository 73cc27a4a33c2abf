"""Hashes: one that names a set of images, and one that puts images in an order no one chose."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Part = str | int | npt.NDArray[np.generic] | Sequence[str]


def fingerprint(*parts: Part) -> str:
    """A BLAKE2b in hex over texts, numbers, lists of texts and arrays, in this order.

    Every part is preceded by its kind and length, so that ("ab", "c") and ("a", "bc") differ.
    Cost: linear in the bytes.
    """
    total = hashlib.blake2b(digest_size=32)
    for part in parts:
        if isinstance(part, np.ndarray):
            _add_array(total, part)
        elif isinstance(part, str | int):
            _add(total, type(part).__name__, as_bytes(str(part)))
        else:
            encoded = [as_bytes(text) for text in part]
            _add_array(total, np.array([len(text) for text in encoded], dtype="<i8"))
            _add(total, "list", b"".join(encoded))
    return total.hexdigest()


def as_bytes(text: str) -> bytes:
    """UTF-8, also of names that are not valid text: file systems hold any bytes."""
    return text.encode("utf-8", "surrogatepass")


def hash_ranks(keys: Sequence[str], salt: str) -> npt.NDArray[np.uint64]:
    """A number for each key, (n,), whose order is that of sha256("salt/key"): the same on every machine.

    An accented letter counts the same whichever of its two spellings in Unicode the file system keeps.
    Cost: a few seconds per million keys.
    """
    head = as_bytes(salt) + b"/"
    digests = b"".join(hashlib.sha256(head + as_bytes(composed(key))).digest()[:8] for key in keys)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def composed(key: str) -> str:
    """The same name with accented letters in the one of their two spellings in Unicode that is shorter (NFC)."""
    return key if key.isascii() else unicodedata.normalize("NFC", key)


def _add(total: hashlib.blake2b, kind: str, content: bytes) -> None:
    total.update(f"{kind}:{len(content)}:".encode())
    total.update(content)


def _add_array(total: hashlib.blake2b, array: npt.NDArray[np.generic]) -> None:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    _add(total, f"{little.dtype.str}{array.shape}", little.tobytes())
