"""One sentence a question, for the page on how to choose."""

from __future__ import annotations

from statistics import median

from figures.fits import shortest_fits
from figures.recorded import FIT_NAMES, first_rows, results, said, told_spread


def in_seconds() -> str:
    """What a solved head takes, from the JPEGs on."""
    row = first_rows("time_to_accuracy")["scrimp"]
    name = FIT_NAMES[row["data"]]
    return said(
        f"Measured on {name}, {row['images']['train']} images to learn from: {row['model']} at",
        f"{row['image_px']} px had {100 * row['test_accuracy']:.1f} % on test after {row['seconds']:.0f} s, the whole",
        "process counted, from the JPEGs to the last test image.",
        source="time_to_accuracy",
    )


def without_gpu() -> str:
    """What a step makes of two cores."""
    times = results("step")["summary"]["mobilenet_v2_224_vs_stock"]
    return said(
        f"A training step of mobilenet_v2 at 224 px makes {times:.2f} times the images per second of stock PyTorch",
        "on two cores.",
        source="step",
    )


def without_weights() -> str:
    """What CIFAR-10 takes from nothing."""
    summary = results("cifar10_94")["summary"]
    return said(
        f"{100 * summary['test_accuracy_mean']:.2f} % of CIFAR-10's test images in {summary['seconds_mean'] / 60:.1f}",
        f"minutes on two cores (n = {summary['n']}).",
        source="cifar10_94",
    )


def few_labels() -> str:
    """What 600 labels gave."""
    fits = shortest_fits()
    return said(
        f"200 were not measured. With 600 (ten breeds of dogs) and {fits['minutes']} min, `fit` had",
        f"{told_spread(fits['fit'])} on test, where random search had {told_spread(fits['random'])}.",
        source="fit",
    )


def few_megabytes() -> str:
    """What two models below the ceiling gave by the plain recipe."""
    fits = shortest_fits()
    larger, smaller = fits["plain-mobilenet_v2"], fits["plain-squeezenet1_0"]
    return said(
        f"Each alone, by the plain recipe in {fits['minutes']} min: mobilenet_v2 {told_spread(larger)} on test,",
        f"squeezenet1_0 {told_spread(smaller)}; `fit`, which took the better one, {told_spread(fits['fit'])}.",
        source="fit",
    )


def many_images() -> str:
    """What feeding from a pack is worth."""
    fed = {
        what: median(row["images_per_second"] for row in results("loading")["rows"] if row["what"] == f"{what}-uint8")
        for what in ("pack", "jpeg", "torchvision")
    }
    return said(
        f"Batches at 224 px: {fed['pack']:,.0f} images/s from a pack, {fed['jpeg']:,.0f} from the JPEGs,",
        f"{fed['torchvision']:,.0f} by torchvision's loader.",
        source="loading",
    )


def far_images() -> str:
    """What the second epoch of a bucket takes."""
    summary = results("remote")["summary"]
    kept = summary["cache"]
    return said(
        f"From a server {summary['delay_ms']:.0f} ms away, the first reading of {summary['images']:,.0f} photos took",
        f"{kept['first_epoch_s']:.1f} s, the second {kept['second_epoch_s']:.1f} s and no request.",
        source="remote",
    )


def by_estimate() -> str:
    """What the estimate of energy said of the longest run."""
    row = results("cifar10_94")["rows"][0]
    return said(
        f"By the estimate, {row['seconds'] / 60:.1f} minutes of CIFAR-10 took {row['wh']:.2f} Wh, which is",
        f"{row['wh'] / row['seconds'] * 3600:.0f} W on average.",
        source="cifar10_94",
    )


def untrusted_data() -> str:
    """What an inspection takes and finds."""
    summary = results("inspecting")["summary"]
    return said(
        f"The 60,000 images of CIFAR-10 took {summary['cifar10_seconds']:.0f} s;",
        f"{summary['cifar10_test_in_train']} of its test images turned out to be in train as well.",
        source="inspecting",
    )


def users_waiting() -> str:
    """What one server bears."""
    rows = {row["what"]: row for row in results("serving")["rows"]}
    load, single = rows["load"], rows["single"]
    return said(
        f"mobilenet_v3_small at 224 px: {load['per_second']:,.0f} images a second on two cores,",
        f"{1000 * single['median_s']:.1f} ms for a lone one.",
        source="serving",
    )
