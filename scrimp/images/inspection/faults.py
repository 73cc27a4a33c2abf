"""What makes an image bad to learn from, by rules that say where they come from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scrimp.images.inspection.duplicates import PLAIN
from scrimp.images.inspection.kinds import Fault, FaultKind, Flagged
from scrimp.images.inspection.looking import Looks
from scrimp.images.inspection.naming import named
from scrimp.images.kinds import Images

DARK = 0.32
BRIGHT = 0.95
BLURRY = 0.6
SMALL = 0.25
LONG = 0.35
OUTLIER = 3.5
"""The thresholds of the rules below, where each is said in words, with its reason."""

MAD_OF_NORMAL = 1.4826
"""The standard deviation of normal values over the median of their distances from their median."""

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


def find_faults(seen: Images, looks: Looks, strangeness: Floats | None = None) -> tuple[Fault, ...]:
    """Who breaks which rule, of the readable images `seen`; a rule that nobody breaks is there with no images.

    strangeness: how badly each image could be made anew, (n,), above 0; None leaves that rule out.
    """
    blank = looks.spread <= PLAIN
    sides = looks.sizes
    short = sides.min(axis=1, initial=np.iinfo(np.int64).max)
    least = SMALL * float(np.median(short)) if len(short) else 0.0
    slim = short / np.maximum(sides.max(axis=1, initial=1), 1)
    return (
        _fault(
            seen,
            "blank",
            f"98% of the pixels lie within {PLAIN:.0%} of the range of levels, in every colour",
            "what sensors and JPEG add to a plain surface stays within this",
            looks.spread,
            blank,
        ),
        _fault(
            seen,
            "dark",
            f"99% of the pixels are darker than {DARK:.0%} of white",
            "CleanVision's rule and threshold",
            looks.brightest,
            looks.brightest < DARK,
        ),
        _fault(
            seen,
            "bright",
            f"95% of the pixels are brighter than {BRIGHT:.0%} of white",
            "CleanVision's rule and threshold",
            -looks.darkest,
            looks.darkest > BRIGHT,
        ),
        _fault(
            seen,
            "blurry",
            f"at a short side of at most 224 px, another blur leaves over {BLURRY:.0%} of the differences between "
            "neighbouring pixels",
            "the measure of Crété-Roffet and others (2007); the threshold lies above each of 2,500 sharp photos and "
            "below 94% of them once blurred by 2 px",
            -looks.blur,
            (looks.blur > BLURRY) & ~blank,
        ),
        _fault(
            seen,
            "small",
            f"the short side is below {SMALL:.0%} of the usual one, which is {least / SMALL:,.0f} px",
            "enlarging it four times shows",
            short,
            short < least,
        ),
        _fault(
            seen,
            "long",
            f"the short side is below {LONG:.0%} of the long one",
            "of such an image the middle square, which models are shown, is a third; CleanVision's threshold",
            slim,
            slim < LONG,
        ),
        *(() if strangeness is None else (_outliers(seen, strangeness),)),
    )


def _outliers(seen: Images, strangeness: Floats) -> Fault:
    """Of logarithms, as errors are spread by factors; median and MAD, which the outliers themselves do not move."""
    errors = np.log(np.maximum(strangeness, 1e-12))
    off = errors - np.median(errors) if len(errors) else errors
    spread = MAD_OF_NORMAL * np.median(np.abs(off)) if len(errors) else 0.0
    scores = off / spread if spread else np.zeros_like(off)
    return _fault(
        seen,
        "outlier",
        f"an autoencoder of the training images makes it anew with an error more than {OUTLIER} robust standard "
        "deviations above the median, on a scale of logarithms",
        "what is like nothing else has not been learnt; the threshold of Iglewicz and Hoaglin (1993)",
        -scores,
        scores > OUTLIER,
    )


def _fault(seen: Images, kind: FaultKind, rule: str, reason: str, badness: Floats, broken: Bools) -> Fault:
    """The images that break a rule, those with the lowest `badness` first."""
    rows = np.flatnonzero(broken)
    rows = rows[np.argsort(badness[rows], kind="stable")]
    images = tuple(Flagged(image=named(seen, row), value=abs(float(badness[row]))) for row in rows.tolist())
    return Fault(kind=kind, rule=rule, reason=reason, images=images)
