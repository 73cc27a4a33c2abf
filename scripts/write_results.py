"""Writes the measured figures into the pages that quote them, between two marks, from benchmarks/results/*.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from figures.choices import (
    by_estimate,
    far_images,
    few_labels,
    few_megabytes,
    in_seconds,
    many_images,
    untrusted_data,
    users_waiting,
    without_gpu,
    without_weights,
)
from figures.data import augmenting, autoencoder, inspecting, loading, remote, resizing
from figures.failures import (
    copies_missed,
    diversity_bounded,
    fused_slower,
    half_a_cache,
    no_gain_by_epochs,
    resize_alike,
    search_takes,
    token_maps,
    towards_94,
)
from figures.fits import fit_in_docs, fit_in_readme
from figures.models import explain, exporting, serving
from figures.recorded import ROOT
from figures.studies import frameworks, study
from figures.subsets import distillation, diversity, mini, selecting
from figures.training import cifar10_94, presets, step, techniques, time_to_accuracy

BEGIN, END = "<!-- figures: make docs-results -->\n", "<!-- end of figures -->\n"
STUDIES = ("birds", "cifar10-mini", "dogs", "imagenet", "speedy")

PAGES: dict[Path, tuple[Callable[[], str], ...]] = {
    ROOT / "README.md": (fit_in_readme,),
    ROOT / "docs" / "choose.md": (
        in_seconds,
        without_gpu,
        without_weights,
        few_labels,
        few_megabytes,
        many_images,
        far_images,
        by_estimate,
        untrusted_data,
        users_waiting,
    ),
    ROOT / "docs" / "failures.md": (
        no_gain_by_epochs,
        towards_94,
        fused_slower,
        resize_alike,
        search_takes,
        half_a_cache,
        copies_missed,
        diversity_bounded,
        token_maps,
    ),
    ROOT / "docs" / "costs.md": (by_estimate,),
    ROOT / "docs" / "fit.md": (fit_in_docs,),
    ROOT / "docs" / "augment.md": (augmenting, autoencoder),
    ROOT / "docs" / "distill.md": (distillation,),
    ROOT / "docs" / "train.md": (step,),
    ROOT / "docs" / "recipes.md": (time_to_accuracy, presets, cifar10_94),
    ROOT / "docs" / "techniques.md": (techniques,),
    ROOT / "docs" / "explain.md": (explain,),
    ROOT / "docs" / "inspect.md": (inspecting,),
    ROOT / "docs" / "remote.md": (remote,),
    ROOT / "docs" / "select.md": (selecting, diversity, mini),
    ROOT / "docs" / "prepare.md": (resizing, loading),
    ROOT / "docs" / "export.md": (exporting,),
    ROOT / "docs" / "scale.md": (serving,),
    ROOT / "docs" / "studies" / "frameworks.md": (frameworks,),
    **{ROOT / "docs" / "studies" / f"{name}.md": (study(name),) for name in STUDIES},
}
"""The pages that quote figures, and what writes them, from top to bottom."""


def with_figures(page: Path) -> str:
    """The page with what stands between the marks written anew."""
    before, *parts = page.read_text(encoding="utf-8").split(BEGIN)
    for part, write in zip(parts, PAGES[page], strict=True):
        before += f"{BEGIN}{write()}\n{END}{part.split(END)[1]}"
    return before


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_figures(page), encoding="utf-8")
