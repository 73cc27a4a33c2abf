"""Images of every difficulty: what a training found hard, chosen so that all that can be learnt is covered."""

from __future__ import annotations

import numpy as np

from scrimp.subset.pool import Choice, Pool

_STRATA = 50  # of equal width, of the scores
_CUT = 0.3  # of the images at most: the hardest, among which are the mislabelled


def coverage_centric(pool: Pool, keep: int, seed: int) -> Choice:
    """As many images of each degree of difficulty, drawn at random, but none of the 30 % that were hardest.

    Coverage-centric coreset selection: Zheng et al. (ICLR 2023, arXiv 2210.15809), for whom keeping the hardest alone
    is worse than chance when few are kept. The scores: EL2N (Paul, Ganguli and Dziugaite, NeurIPS 2021, arXiv
    2107.07075) or how often an image was forgotten (Toneva et al., ICLR 2019, arXiv 1812.05159). Fewer are cut where
    more are to be kept. Cost: `n log n`, and the training that the scores come from.
    """
    chance = np.random.default_rng(seed)
    order = np.lexsort((chance.random(len(pool)), pool.scores))
    rest = order[: max(keep, len(order) - int(_CUT * len(order)))]
    scores = pool.scores[rest]
    edges = np.linspace(scores[0], scores[-1], _STRATA + 1)[1:-1]
    strata = np.split(rest, np.searchsorted(scores, edges, side="left"))
    rows: list[int] = []
    smallest_first = sorted((stratum for stratum in strata if len(stratum)), key=len)
    for number, stratum in enumerate(smallest_first):
        share = (keep - len(rows)) // (len(smallest_first) - number)
        rows += chance.permutation(stratum)[:share].tolist()
    return Choice(np.array(rows), None)
