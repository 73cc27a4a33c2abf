"""A look at the data before anything is learnt: what is there, what is wrong, what the cheapest model gets."""

from scrimp.images.inspection.inspecting import inspect_images
from scrimp.images.inspection.kinds import Inspection

__all__ = ["Inspection", "inspect_images"]
