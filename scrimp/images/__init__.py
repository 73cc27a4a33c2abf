"""What there is to learn from: where the images are, what they show, which are kept for the test."""

from scrimp.images.find import find_images
from scrimp.images.inspection import Inspection, inspect_images
from scrimp.images.kinds import Images, ImageSource, LeftOut

__all__ = ["ImageSource", "Images", "Inspection", "LeftOut", "find_images", "inspect_images"]
