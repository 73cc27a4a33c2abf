"""Each method of selection against its definition, written out pair by pair or image by image."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist, squareform

from scrimp.images.fingerprint import hash_ranks
from scrimp.subset import chance
from scrimp.subset.chance import at_random, best_draw, diversity_of
from scrimp.subset.coverage import probcover, pure_radius
from scrimp.subset.difficulty import coverage_centric
from scrimp.subset.herding import herding
from scrimp.subset.k_center import k_center
from scrimp.subset.pool import Pool, unit
from scrimp.subset.submodular import facility_location, graph_cut, lazy_greedy
from scrimp.subset.typicality import clusters_of, typicality, typiclust


def pool_of(values, scores=(), radius=None):
    features = unit(np.asarray(values, dtype=np.float32))
    keys = tuple(f"{row:04d}" for row in range(len(features)))
    return Pool(keys=keys, features=features, scores=np.array(scores, dtype=np.float32), radius=radius)


def vectors(n, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def greedy(n, keep, value):
    """The plain way: every gain worked out anew for every step."""
    rows = []
    for _ in range(keep):
        rows.append(max((row for row in range(n) if row not in rows), key=lambda row: value([*rows, row])))
    return rows


def likeness(values):
    return 1 - cdist(values, values, "cosine") / 2


@pytest.mark.parametrize("scale", [1e-44, 1e-25, 1, 1e20, 8e37])
def test_rows_have_length_1_however_large_they_were(scale):
    values = (np.array([[3.0, 4, 0], [0, 0, 0], [-1, 2, 2]]) * scale).astype(np.float32)
    exact = values.astype(np.float64)
    lengths = np.sqrt((exact**2).sum(axis=1))
    lengths[1] = 1
    found = unit(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :3], exact / lengths[:, None], rtol=1e-6)
    assert found[:, 3].tolist() == [0, 1, 0]


# ---------------------------------------------------------------- chance


def test_chance_goes_by_a_hash_of_the_names():
    pool = pool_of(vectors(50))
    expected = sorted(range(50), key=lambda row: int(hash_ranks(pool.keys, "select/4")[row]))
    assert at_random(pool, 9, 4).rows.tolist() == expected[:9]


def test_diversity_without_looking_at_pairs():
    values = vectors(30)
    assert diversity_of(unit(values)) == pytest.approx(pdist(values, "cosine").sum(), rel=1e-5)


def test_the_best_draw_is_the_best_of_all_where_all_are_drawn(monkeypatch):
    monkeypatch.setattr(chance, "DRAWS", 2_000)
    values = vectors(9)
    table = squareform(pdist(values, "cosine"))
    best = max(itertools.combinations(range(9), 3), key=lambda rows: table[np.ix_(rows, rows)].sum())
    choice = best_draw(pool_of(values), 3, 0)
    assert sorted(choice.rows.tolist()) == list(best)
    assert choice.objective == pytest.approx(table[np.ix_(best, best)].sum() / 2, rel=1e-5)


# ---------------------------------------------------------------- k-center


def test_each_time_the_furthest():
    values = vectors(40)
    table = squareform(pdist(values, "cosine"))
    choice = k_center(pool_of(values), 8, 3)
    rows = choice.rows.tolist()
    for count in range(1, 8):
        reached = table[rows[:count]].min(axis=0)
        assert reached[rows[count]] == pytest.approx(reached.max(), abs=1e-6)
    assert choice.objective == pytest.approx(min(table[i, j] for i, j in itertools.combinations(rows, 2)), abs=1e-6)


def test_at_most_twice_as_bad_as_the_best():
    """Of Euclidean distances between rows of length 1, which have the same order and obey the triangle inequality."""
    values = vectors(11, d=3)
    table = cdist(unit(values), unit(values))

    def least(rows):
        return min(table[i, j] for i, j in itertools.combinations(rows, 2))

    best = max(map(least, itertools.combinations(range(11), 4)))
    for seed in range(5):
        assert least(k_center(pool_of(values), 4, seed).rows.tolist()) >= best / 2


# ---------------------------------------------------------------- submodular


@pytest.mark.parametrize("seed", range(4))
def test_lazy_is_as_good_as_plain_for_facility_location(seed):
    values = vectors(60, seed=seed)
    alike = likeness(values)
    choice = facility_location(pool_of(values), 12, 0)
    assert choice.rows.tolist() == greedy(60, 12, lambda rows: alike[:, rows].max(axis=1).sum())
    assert choice.objective == pytest.approx(alike[:, choice.rows].max(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_lazy_is_as_good_as_plain_for_graph_cut(seed):
    values = vectors(60, seed=seed)
    alike = likeness(values)

    def cut(rows):
        return 2 * alike[:, rows].sum() - alike[np.ix_(rows, rows)].sum()

    choice = graph_cut(pool_of(values), 12, 0)
    assert choice.rows.tolist() == greedy(60, 12, cut)
    assert choice.objective == pytest.approx(cut(choice.rows.tolist()), rel=1e-5)


def test_facility_location_reaches_what_greedy_must():
    alike = likeness(vectors(10))
    best = max(alike[:, rows].max(axis=1).mean() for rows in map(list, itertools.combinations(range(10), 3)))
    assert facility_location(pool_of(vectors(10)), 3, 0).objective >= (1 - 1 / np.e) * best


def test_lazy_greedy_works_little_out_twice():
    """Of a sum, whose gains do not shrink at all, one look at the best is enough for each."""
    worth, asked = np.arange(1000.0), []

    def gains(rows):
        asked.extend(rows.tolist())
        return worth[rows]

    assert lazy_greedy(worth.copy(), gains, lambda row: None, 5).tolist() == [999, 998, 997, 996, 995]
    assert len(asked) == 5 * 8


# ---------------------------------------------------------------- herding, typicality, coverage, difficulty


def test_herding_brings_the_mean_nearest():
    features = unit(vectors(50)).astype(np.float64)
    mean, rows = features.mean(axis=0), []
    for _ in range(10):
        left = [row for row in range(50) if row not in rows]
        rows.append(min(left, key=lambda row: np.linalg.norm(features[[*rows, row]].mean(axis=0) - mean)))
    choice = herding(pool_of(vectors(50)), 10, 0)
    assert choice.rows.tolist() == rows
    assert choice.objective == pytest.approx(np.linalg.norm(features[rows].mean(axis=0) - mean), rel=1e-4)


@pytest.mark.parametrize("n", [2, 5, 60])
def test_typical_is_what_has_near_neighbours(n):
    features = unit(vectors(n))
    table = np.sort(cdist(features, features), axis=1)
    expected = 1 / table[:, 1:21].mean(axis=1)
    np.testing.assert_allclose(typicality(features), expected, rtol=1e-3)


def test_alone_is_not_typical():
    assert typicality(unit(vectors(1))).tolist() == [0]


def test_typical_images_block_by_block(monkeypatch):
    features = unit(vectors(70))
    whole = typicality(features)
    monkeypatch.setattr("scrimp.subset.typicality._BLOCK", 16)
    np.testing.assert_allclose(typicality(features), whole, rtol=1e-4)


def test_one_of_each_cluster_the_large_ones_first():
    directions, sizes = np.eye(4), [12, 30, 20, 3]
    random = np.random.default_rng(0)
    values = np.concatenate([directions[n] + 0.05 * random.normal(size=(size, 4)) for n, size in enumerate(sizes)])
    owner = np.repeat(range(4), sizes)
    rows = typiclust(pool_of(values), 4, 0).rows
    assert owner[rows].tolist()[:3] == [1, 2, 0]
    for row in rows[:3]:
        of_cluster = np.flatnonzero(owner == owner[row])
        assert of_cluster[typicality(unit(values[of_cluster])).argmax()] == row
    assert owner[rows[3]] == 1, "the cluster of three is too small, so the largest gives a second"


def test_many_are_clustered_from_parts(monkeypatch):
    monkeypatch.setattr("scrimp.subset.typicality._MINIBATCH_FROM", 50)
    values = np.repeat(np.eye(3), 40, axis=0) + 0.01 * vectors(120, d=3)
    found = clusters_of(unit(values), 3, 0)
    assert [len(set(found[start : start + 40])) for start in (0, 40, 80)] == [1, 1, 1]
    assert len(set(found)) == 3


def test_probcover_by_hand():
    values = vectors(80, d=3)
    table = cdist(values, values, "cosine")
    near = table <= 0.15
    held, rows = np.zeros(80, dtype=bool), []
    choice = probcover(pool_of(values, radius=0.15), 10, 0)
    for row in choice.rows.tolist():
        gains = (near & ~held).sum(axis=1)
        gains[rows] = -1
        assert gains[row] == gains.max()
        held |= near[row]
        rows.append(row)
    assert choice.objective == pytest.approx(held.mean())


def test_balls_of_one_class(monkeypatch):
    values, labels = vectors(60, d=3), np.arange(60) % 3
    table = cdist(values, values, "cosine")
    to_others = [table[row, labels != labels[row]].min() for row in range(60)]
    assert pure_radius(unit(values), labels, 0) == pytest.approx(np.quantile(to_others, 0.05), abs=1e-5)


def test_every_degree_of_difficulty_but_the_hardest():
    scores = np.arange(1000) / 1000
    rows = coverage_centric(pool_of(vectors(1000), scores=scores), 100, 0).rows
    assert scores[rows].max() < 0.7
    counts, _ = np.histogram(scores[rows], bins=50, range=(0, 0.699))
    assert counts.min() == counts.max() == 2


def test_small_strata_give_all_and_the_rest_comes_from_large_ones():
    scores = np.concatenate([np.zeros(60), np.full(4, 0.5), np.ones(60)])
    rows = coverage_centric(pool_of(vectors(124), scores=scores), 60, 0).rows
    taken = np.bincount((scores[rows] * 2).astype(int), minlength=3)
    assert taken.tolist() == [33, 4, 23]  # 37 of the hardest are cut; a third is 20, then half of 56 is 28


def test_all_alike_is_by_chance():
    pool = pool_of(vectors(50), scores=np.ones(50))
    one, other = (set(coverage_centric(pool, 10, seed).rows.tolist()) for seed in (0, 1))
    assert one != other


def test_some_speak_for_many(monkeypatch):
    """Of 60 images, 20 are asked: the choice is the greedy one for these."""
    monkeypatch.setattr("scrimp.subset.submodular._JUDGES", 20)
    values = vectors(60)
    asked = np.random.default_rng(7).permutation(60)[:20]
    alike = likeness(values)[asked]
    choice = facility_location(pool_of(values), 9, 7)
    assert choice.rows.tolist() == greedy(60, 9, lambda rows: alike[:, rows].max(axis=1).sum())
    assert choice.objective == pytest.approx(alike[:, choice.rows].max(axis=1).mean(), rel=1e-5)
