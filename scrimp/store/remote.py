"""What is not on this machine: the file system behind a URI, and asking it again when the connection drops."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from scrimp.errors import MissingExtra, NotFound, ScrimpError, SettingError, StorageError

T = TypeVar("T")

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Seconds waited before each further try of what a dropped connection broke off."""
THREADS = 64
"""Requests that are under way at once: a small object takes little but waiting."""

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_S3 = ("s3", "s3a")
_ETAG_IS_MD5 = (*_S3, "gs", "gcs")
_PASSING = {"HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseParserError", "ClientError"}
"""What botocore and aiohttp call a connection that failed; some of it is no OSError."""
_FINAL = {errno.EINVAL, errno.ENAMETOOLONG, errno.ENOSYS, errno.EPERM, errno.EMSGSIZE, errno.ENOTEMPTY}
_FINAL_KINDS = (FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError, ScrimpError)


def is_uri(path: str | Path) -> bool:
    """Whether this is a URI ("s3://bucket/key") and not a path on this machine."""
    return isinstance(path, str) and _URI.match(path) is not None


def is_s3(uri: str) -> bool:
    """Whether a URI is that of an S3 bucket or of what lies in one."""
    return _protocol(uri) in _S3


def ask(
    uri: str, call: Callable[[Any, str], T], doing: str = "read", *, sleep: Callable[[float], object] = time.sleep
) -> T:
    """What `call(file system, path inside it)` returns, tried again after each of `PAUSES_S` if the connection drops.

    Raises `NotFound`, or `StorageError` saying that the URI cannot be read (or what else `doing` says) and why;
    `MissingExtra` or `SettingError` for a kind of URI that is not known here.
    """
    system, path = _file_system(uri)
    for pause in (*PAUSES_S, None):
        try:
            return call(system, path)
        except Exception as error:  # what the libraries below raise has no common root
            if pause is None or not _may_pass(error):
                raise failure(uri, error, doing) from None
        sleep(pause)
    raise AssertionError("the last try has no pause")


def failure(path: str, error: Exception, doing: str = "read") -> ScrimpError:
    """The error to raise when a path or URI could not be read, or whatever else `doing` says."""
    if isinstance(error, ScrimpError):
        return error
    if isinstance(error, FileNotFoundError):
        return NotFound(f"Nothing at '{path}'.")
    tried = f", {len(PAUSES_S) + 1} times in a row" if is_uri(path) and _may_pass(error) else ""
    hint = ""
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        hint = (
            " Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; FSSPEC_S3_ANON=true reads what is public."
        )
    return StorageError(f"'{path}' cannot be {doing}{tried}: {reason(error)}.{hint}")


def reason(error: Exception) -> str:
    """Why, in a few words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk full"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way"
    told = getattr(error, "strerror", None) or str(error).strip().split("\n")[0] or type(error).__name__
    return str(told[:1].lower() + told[1:]).rstrip(".")


def make_bucket(uri: str) -> None:
    """Makes the bucket of a URI unless it is there; `StorageError` where one may not."""

    def make(system: Any, bucket: str) -> None:
        if not is_s3(uri):
            system.makedirs(bucket, exist_ok=True)
        elif not system.exists(bucket):
            region = system.s3.meta.region_name
            with suppress(FileExistsError):  # another process was first
                system.mkdir(bucket, region_name=None if region in ("us-east-1", "aws-global") else region)

    ask("/".join(uri.split("/")[:3]), make, "made")


def known_md5(uri: str, stamp: str) -> str | None:
    """The MD5 of an object, where its stamp is one: S3 gives it as the etag of what was sent in one part."""
    return stamp if _protocol(uri) in _ETAG_IS_MD5 and re.fullmatch(r"[0-9a-f]{32}", stamp) else None


def md5_by_asking(uri: str) -> str | None:
    """The MD5 of an object: of S3 that which `push` noted, or its etag; None where neither is one.

    The etag of what was sent in parts, or is encrypted by a key of the user's, is no MD5. Of another store the object
    is read for it.
    """

    def look(system: Any, path: str) -> str | None:
        if not is_s3(uri):
            return hashlib.md5(system.cat_file(path), usedforsecurity=False).hexdigest()
        bucket, key, _ = system.split_path(path)
        head = system.call_s3("head_object", Bucket=bucket, Key=key)
        noted = head.get("Metadata", {}).get("md5")
        encrypted = head.get("SSECustomerAlgorithm") or "kms" in str(head.get("ServerSideEncryption"))
        return noted or (None if encrypted else known_md5(uri, str(head.get("ETag")).strip('"')))

    return ask(uri, look)


def stamp_of(entry: dict[str, Any]) -> str:
    """What an fsspec entry has that changes with its content; stores differ in what they call it."""
    if entry.get("md5Hash"):  # Google's, in base 64
        return base64.b64decode(entry["md5Hash"]).hex()
    names = ("ETag", "etag", "mtime", "LastModified", "last_modified", "Last-Modified", "created")
    return next((str(entry[name]).strip('"') for name in names if entry.get(name) is not None), "")


def endpoint() -> str:
    """The address of the S3 server that the environment names, "" for Amazon's or that of a profile."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


# ---------------------------------------------------------------- fsspec


def _protocol(uri: str) -> str:
    return uri.partition("://")[0].lower()


def _file_system(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path inside it."""
    import fsspec  # costs 50 ms, so only where a URI is used

    protocol = _protocol(uri)
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        if protocol in _S3:
            raise MissingExtra(f"'{uri}'", "s3") from None
        raise StorageError(f"'{uri}' cannot be reached: {error}.") from None
    except ValueError as error:
        raise SettingError(f"'{uri}' cannot be reached: {error}.") from None
    options = _s3_options() if protocol in _S3 else {}
    system = kind(**kind._get_kwargs_from_urls(uri), **options)
    if protocol in _S3:
        system.retries = 1  # `ask` tries again, and it alone
    return system, kind._strip_protocol(uri)


def _s3_options() -> dict[str, Any]:
    """Many connections, one request for a read, no remembered listings, no checksums that only Amazon knows."""
    config: dict[str, Any] = {
        "max_pool_connections": THREADS,
        "retries": {"total_max_attempts": 1},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    options = {"config_kwargs": config, "max_concurrency": 1, "use_listings_cache": False}
    if endpoint():
        options["endpoint_url"] = endpoint()  # botocore would find it, but not notice when it changes
    return options


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    status = getattr(error, "status", None)  # HTTP's, of aiohttp
    if isinstance(status, int):
        return status >= 500 or status == 429
    if isinstance(error, OSError):
        return not isinstance(error, _FINAL_KINDS) and error.errno not in _FINAL
    return any(kind.__name__ in _PASSING for kind in type(error).__mro__)
