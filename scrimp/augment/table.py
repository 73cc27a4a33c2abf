"""The table of augmentations, and how a recipe names them: `mirror,noise:0.1`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from scrimp.augment.chosen import rand, trivial
from scrimp.augment.colour import brightness, clahe, contrast, edge, posterise, saturation
from scrimp.augment.geometry import crop, cutout, mirror, rotate, shift
from scrimp.augment.quality import blur, grid, jpeg, noise, salt
from scrimp.errors import SettingError, UnknownName

if TYPE_CHECKING:
    from torch import Generator, Tensor

Augmentation: TypeAlias = "Callable[[Tensor, Generator], Tensor]"
"""Takes uint8 (n, 3, h, w) on any device and a generator on the CPU; returns the same shape, dtype and device."""


class Card(NamedTuple):
    """An augmentation, what it does, and its strength: unit, the usual one, and from where to where it goes.

    change: an `Augmentation`, which takes a strength as its third argument where there is a unit; None for what is not
    done to a batch by itself. whole: whether the strength is a whole number. nothing: the strength that changes
    nothing, None where none does.
    """

    change: Callable[..., Tensor] | None
    says: str
    unit: str = ""
    usual: float = 0.0
    least: float = 0.0
    most: float = 1.0
    whole: bool = False
    nothing: float | None = None


AUGMENTATIONS: dict[str, Card] = {
    "crop": Card(crop, "a part of it, 8 to 100 % of its area and 3:4 to 4:3, as the whole"),
    "shift": Card(shift, "moved, reflecting at the border", "part of the side", 1 / 8, 0, 0.5, nothing=0),
    "mirror": Card(mirror, "left and right exchanged in half of the images"),
    "rotate": Card(rotate, "turned either way, reflecting at the border", "degrees", 15, 0, 180, nothing=0),
    "cutout": Card(cutout, "a square covered with grey", "side of the square, part of the side", 0.5, nothing=0),
    "brightness": Card(brightness, "all levels times a factor", "part that the factor may differ by", 0.4, nothing=0),
    "contrast": Card(contrast, "levels spread or squeezed", "part that the factor may differ by", 0.4, nothing=0),
    "saturation": Card(saturation, "colours stronger or greyer", "part that the factor may differ by", 0.4, nothing=0),
    "posterise": Card(posterise, "fewer levels", "bits taken away", 4, 0, 7, whole=True, nothing=0),
    "clahe": Card(clahe, "adaptive histogram equalisation (CLAHE)", "part that it may become", 1.0, nothing=0),
    "edge": Card(edge, "blended with its own edges", "part that it may become", 1.0, nothing=0),
    "noise": Card(noise, "Gaussian noise", "standard deviation, part of white", 0.1, nothing=0),
    "salt": Card(salt, "salt and pepper: white and black pixels", "part of the pixels", 0.05, nothing=0),
    "grid": Card(grid, "a grid of lighter or darker lines", "change of level, part of white", 0.2, nothing=0),
    "blur": Card(blur, "the median of a square", "pixels on each side", 2, 0, 7, whole=True, nothing=0),
    "jpeg": Card(jpeg, "compressed as JPEG", "lowest quality", 20, 1, 100, whole=True),
    "trivial": Card(trivial, "TrivialAugment: one change of random kind and strength"),
    "rand": Card(rand, "RandAugment: two changes of random kind", "magnitude", 9, 0, 30, whole=True),
    "autoencoder": Card(
        None, "made anew by an autoencoder of the training images", "part of the images", 0.5, nothing=0
    ),
}
"""Every augmentation by name; "basic" stands for "shift,mirror", or "shift" where a mirror image changes label.

A strength of "basic" is that of its shift."""

_ALSO_CALLED = {"flip": "mirror"}
_MIXING = ("mixup", "cutmix")


class _Wanted(NamedTuple):
    name: str
    strength: float | None


def augmentations(names: str, *, mirror_ok: bool = True) -> list[Augmentation]:
    """The functions that a recipe's `augment` names, in its order; "autoencoder", which is none, is passed over.

    Raises `UnknownName` for a name that the table does not hold, `SettingError` for a strength that is out of its
    range, and for "mirror" where a mirrored image changes its label.
    """
    return [_with(one) for one in _parsed(names, mirror_ok) if AUGMENTATIONS[one.name].change is not None]


def remade_part(names: str) -> float:
    """Which part of the images an autoencoder is to make anew, 0 to 1, by a recipe's `augment`; 0 without one."""
    card = AUGMENTATIONS["autoencoder"]
    parts = [
        card.usual if one.strength is None else one.strength for one in _parsed(names) if one.name == "autoencoder"
    ]
    return parts[-1] if parts else 0.0


def _with(wanted: _Wanted) -> Augmentation:
    change: Any = AUGMENTATIONS[wanted.name].change
    if wanted.strength is None:
        return change  # type: ignore[no-any-return]
    return lambda pixels, generator: change(pixels, generator, wanted.strength)


def _parsed(names: str, mirror_ok: bool = True) -> list[_Wanted]:
    if names == "none":
        return []
    found: list[_Wanted] = []
    for part in names.split(","):
        name, colon, strength = (word.strip() for word in part.partition(":"))
        name = _ALSO_CALLED.get(name, name)
        if name == "basic":
            found.append(_Wanted("shift", _strength(names, "shift", strength) if colon else None))
            found += [_Wanted("mirror", None)] if mirror_ok else []
            continue
        if name == "none":
            raise SettingError(f"augment='{names}': 'none' stands alone, or not at all: leave it out.")
        if name in _MIXING:
            raise SettingError(
                f"augment='{names}': {name} blends labels too, so it has a setting of its own: mix='{name}' in a "
                f"recipe, --set recipe.mix={name} on the command line."
            )
        if name not in AUGMENTATIONS:
            raise UnknownName("augmentation", name, [*AUGMENTATIONS, "none", "basic"])
        if name == "mirror" and not mirror_ok:
            raise SettingError(
                f"augment='{names}' mirrors, but a mirrored image of this set changes its label: leave mirror out, or "
                "take 'basic', which then only shifts."
            )
        found.append(_Wanted(name, _strength(names, name, strength) if colon else None))
    return found


def _strength(names: str, name: str, text: str) -> float:
    card = AUGMENTATIONS[name]
    if not card.unit:
        raise SettingError(f"augment='{names}': {name} has no strength: write it without ':{text}'.")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not card.least <= value <= card.most or (card.whole and value != int(value)):
        kind = "a whole number " if card.whole else ""
        raise SettingError(
            f"augment='{names}': the strength of {name} is its {card.unit}, {kind}from {card.least:g} to "
            f"{card.most:g}, usually {card.usual:g}, not '{text}'."
        )
    return value
