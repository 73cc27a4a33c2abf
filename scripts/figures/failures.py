"""What did not work, in figures."""

from __future__ import annotations

from figures.recorded import FIT_NAMES, as_table, first_rows, results, said, told_spread


def no_gain_by_epochs() -> str:
    """Val accuracy of a solved head, and after each epoch of fine-tuning from there."""
    rows = first_rows("time_to_accuracy")
    row = rows["same seconds"]
    head, *epochs = (f"{100 * one:.1f}" for one in row["val_accuracies"])
    wh = {what: sum(cost["wh"] for cost in rows[what]["bill"].values()) for what in ("scrimp", "same seconds")}
    return said(
        f"On {FIT_NAMES[row['data']]}, {row['model']}: the head alone {head} % on val; after each epoch of fine-tuning",
        f"{', '.join(epochs)} %. The head took {wh['scrimp']:.3f} Wh, all of it {wh['same seconds']:.3f}",
        "(estimates).",
        source="time_to_accuracy",
    )


def towards_94() -> str:
    """What other settings made of CIFAR-10 from nothing."""
    rows = [
        (
            str(row["recipe"]["epochs"]),
            f"`{row['recipe']['augment']}`",
            f"{row['recipe']['px_start']:g}",
            f"{100 * row['val_accuracy']:.1f} %",
            f"{100 * row['test_accuracy']:.2f} %",
        )
        for name in ("cifar10_94_tried", "cifar10_94")
        for row in results(name)["rows"]
    ]
    sources = " ".join(
        f"[{name}.json](../benchmarks/results/{name}.json)" for name in ("cifar10_94_tried", "cifar10_94")
    )
    columns = ("epochs", "augment", "px_start", "val (500 images)", "test")
    now = results("cifar10_94")["rows"][0]["recipe"]["epochs"]
    return f"{as_table(columns, rows)}\n\nOne line a run; those of {now} epochs as the preset is now. {sources}"


def fused_slower() -> str:
    """What a fused optimiser and bfloat16 did to a step."""
    summary = results("step")["summary"]
    alone, brief, full = (
        summary[f"mobilenet_v2_224_{name}"] for name in ("fused_alone", "vs_stock_auto_precision", "vs_stock")
    )
    return said(
        f"Alone, the fused optimiser makes {alone:.2f} times the images per second of stock PyTorch. All settings",
        f"together make {full:.2f} times in float32, and {brief:.2f} times with bfloat16.",
        source="step",
    )


def resize_alike() -> str:
    """What antialiasing of crops did to accuracy."""
    summary = results("resizing")["summary"]
    return said(
        f"Cheap minus antialiased: {summary['cheap_minus_antialiased']:+.1f} points, standard error",
        f"{summary['spread'] / summary['n'] ** 0.5:.1f}, by {summary['n']} pairs of runs.",
        source="resizing",
    )


def search_takes() -> str:
    """What part of a short fit goes into anything but training."""
    rows = [row for row in results("fit")["rows"] if row["contender"] == "fit"]
    row = min(rows, key=lambda one: one["minutes"])
    return said(
        f"Of {row['seconds']:.0f} s, {row['trained_s']:.0f} s were training; the others went into starting, weighing,",
        "heads and measuring.",
        source="fit",
    )


def copies_missed() -> str:
    """What the search for near duplicates does not find."""
    rows = first_rows("inspecting")
    cut = rows["changes"]["found"]["5 % cut off each side"]
    return said(
        f"With 5 % cut off each side, {100 * cut['photos']:.0f} % of photos are still found, and",
        f"{100 * cut['cifar10']:.0f} % of CIFAR-10's images; of the pairs that people found in CIFAR-10,",
        f"{100 * rows['cifar10']['pairs']:.0f} %.",
        source="inspecting",
    )


def diversity_bounded() -> str:
    """How little is left between random draws and the most diverse choice, and what networks learn from it."""
    summary, table = results("diversity")["summary"], results("cifar10_mini")["summary"]["choosing"]
    found = said(
        f"The search beats the best of 10,000 random draws by {100 * (summary['vs_10000_draws_objective'] - 1):.1f} %",
        "of the sum of distances.",
        source="diversity",
    )
    by_chance, diverse, easier = (told_spread(table[f"{name}@1000"]) for name in ("random", "diversity", "el2n"))
    taught = said(
        f"1,000 images of CIFAR-10 drawn by chance taught a network {by_chance}, the most diverse {diverse}, those",
        f"without the hardest {easier}.",
        source="cifar10_mini",
    )
    return f"{found}\n\n{taught}"


def token_maps() -> str:
    """Where Grad-CAM points in a transformer with a class token."""
    row = next(row for row in results("explain")["rows"] if row["model"].startswith("timm:"))
    return said(
        f"With a class token Grad-CAM hit the object that decides in {100 * row['grad_cam']:.0f} % of the images,",
        f"occlusion in {100 * row['occlusion']:.0f} %.",
        source="explain",
    )


def half_a_cache() -> str:
    """What a cache with room for half the images serves."""
    summary = results("remote")["summary"]
    return said(
        f"Keeping what came first, with room for half, served {100 * summary['half_hit_rate']:.1f} % of the second",
        "epoch.",
        source="remote",
    )
