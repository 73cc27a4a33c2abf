"""Decode once, feed fast: packs of pixels or small JPEGs, and batches that several threads fill in time."""

from scrimp.batches.feeding import Batch, batches
from scrimp.batches.moving import Files, Luggage, pack_up, unpack
from scrimp.batches.preparing import Preparation, Prepared, prepare, redivided
from scrimp.batches.shaping import square
from scrimp.batches.shipping import write_pack

__all__ = [
    "Batch",
    "Files",
    "Luggage",
    "Preparation",
    "Prepared",
    "batches",
    "pack_up",
    "prepare",
    "redivided",
    "square",
    "unpack",
    "write_pack",
]
