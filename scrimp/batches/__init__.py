"""Decode once, feed fast: packs of pixels or small JPEGs, and batches that several threads fill in time."""

from scrimp.batches.feeding import Batch, batches
from scrimp.batches.preparing import Preparation, Prepared, prepare
from scrimp.batches.shaping import square
from scrimp.batches.shipping import write_pack

__all__ = ["Batch", "Preparation", "Prepared", "batches", "prepare", "square", "write_pack"]
