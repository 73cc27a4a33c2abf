"""Bytes from a disk or from anywhere that fsspec reaches ("s3://…", "memory://…"), the cache folder, and `push`."""

from scrimp.store.files import (
    NO_FILE,
    File,
    cache_folder,
    describe,
    is_folder,
    is_web,
    join,
    list_files,
    list_folders,
    open_bytes,
    read_bytes,
    write_whole,
)
from scrimp.store.parallel import in_order
from scrimp.store.pushing import Pushed, push
from scrimp.store.reading import Reader, reader
from scrimp.store.remote import THREADS, is_uri

__all__ = [
    "NO_FILE",
    "THREADS",
    "File",
    "Pushed",
    "Reader",
    "cache_folder",
    "describe",
    "in_order",
    "is_folder",
    "is_uri",
    "is_web",
    "join",
    "list_files",
    "list_folders",
    "open_bytes",
    "push",
    "read_bytes",
    "reader",
    "write_whole",
]
