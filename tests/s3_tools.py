"""What the tests of remote storage look at a bucket with, and disturb it with: none of it goes through scrimp."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any


def _proxy() -> Any:
    spec = importlib.util.spec_from_file_location("proxy", Path(__file__).parents[1] / "benchmarks" / "proxy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Proxy


Proxy = _proxy()


def client() -> Any:
    """Amazon's own library, for the server that the environment names."""
    import boto3

    return boto3.client("s3")


def contents(uri: str) -> dict[str, str]:
    """Key below the prefix -> MD5 of what the server hands out."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = f"{prefix}/" if prefix else ""
    s3, found = client(), {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            found[entry["Key"].removeprefix(prefix)] = hashlib.md5(body).hexdigest()
    return found


def md5s(folder: Path) -> dict[str, str]:
    """Key -> MD5 of the files of a folder."""
    paths = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    return {path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in paths}


def make_files(folder: Path, count: int, size: int = 2000) -> None:
    """Files of random bytes of about this size, each of another, in three folders."""
    for index in range(count):
        path = folder / f"class {index % 3}" / f"{index:04d} ü.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size + index))
