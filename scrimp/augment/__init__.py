"""Changes to training images that keep their label: one table of names, each a function of a whole batch.

The names are wanted before PyTorch is (to check a recipe), so each function imports it for itself.
"""

from scrimp.augment.geometry import crop, mirror, shift
from scrimp.augment.table import AUGMENTATIONS, Augmentation, Card, augmentations, remade_part

__all__ = ["AUGMENTATIONS", "Augmentation", "Card", "augmentations", "crop", "mirror", "remade_part", "shift"]
