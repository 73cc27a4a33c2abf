"""Runs that travel: images that arrive whole, nodes that die, and what comes home."""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from make_runs import make_run

from scrimp import cluster, sweeping
from scrimp.batches import Preparation, pack_up, prepare, unpack
from scrimp.batches.packing import machine_mark
from scrimp.cluster import Place, connected
from scrimp.errors import SettingError
from scrimp.fitting import Budget, fit
from scrimp.images import find_images
from scrimp.meter import Run, load_run, load_runs
from scrimp.sweeping import sweep, vary
from scrimp.training import Recipe
from scrimp.tuning import tune

BASE: dict[str, Any] = {"preparation": {"image_px": 16}, "recipe": {"model": "ultralight", "batch_size": 8, "lr": 3e-3}}


@pytest.mark.parametrize("pack", ["raw", "jpeg"])
@pytest.mark.parametrize("source", ["photos", "digits"])
def test_images_arrive_whole_on_a_machine_that_has_nothing(
    photos: Path, source: str, pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepare(find_images(str(photos) if source == "photos" else "digits"), image_px=16, pack=pack)
    luggage, files = pack_up(ready)
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "elsewhere"))
    arrived = unpack(luggage, files)
    assert arrived.pack is not None
    assert arrived.pack.folder.is_relative_to(tmp_path / "elsewhere")
    rows = np.array([0, 7, len(ready.images) - 1])
    assert (arrived.pixels[rows] == ready.pixels[rows]).all()
    assert (arrived.images.fingerprint, arrived.images.keys) == (ready.images.fingerprint, ready.images.keys)
    assert (arrived.images.splits == ready.images.splits).all()
    assert (arrived.cost, arrived.oddities, arrived.packed_bytes) == (ready.cost, ready.oddities, ready.packed_bytes)
    before = arrived.pack.folder.stat().st_mtime_ns
    unpack(luggage, files)
    assert arrived.pack.folder.stat().st_mtime_ns == before, "the second time it is there already"


def test_images_that_only_lie_here_cannot_be_sent(photos: Path) -> None:
    with pytest.raises(SettingError, match="other machines cannot see"):
        pack_up(prepare(find_images(photos), image_px=16, pack="none"))


def test_only_places_that_exist_are_taken(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="on='dask' is no place to run"), connected("dask", 1):
        pass
    plans = vary(BASE | {"images": {"source": str(photos)}}, {})
    with pytest.raises(SettingError, match="apart=True is for runs here"):
        sweep(plans, tmp_path, apart=True, on="ray")


def test_a_cluster_that_ray_cannot_reach_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs the ray extra")

    def init(**_: object) -> None:
        raise ValueError("Ray Client requires pip package `ray[client]`.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SettingError, match=r"No Ray cluster answers at 'ray://head:10001': .*ray\[client\]"):
        connected("ray://head:10001", 1).__enter__()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process as a node, without a cluster; the folder where its runs take place."""
    pytest.importorskip("ray", reason="needs the ray extra")
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(cluster, "_place", lambda start: (Place(1.0, "Ran here."), torch.get_num_threads()))
    monkeypatch.setattr("scrimp.progress.be_silent", lambda: None)
    monkeypatch.setattr("scrimp.cost.warm_up_sensor", lambda: None)
    return folder


def test_a_run_leaves_nothing_and_clears_up_after_those_that_were_killed(node: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    mark = machine_mark()
    lost, live = (node / f"scrimp-run-{mark}-{pid}-abc" for pid in (ended.pid, os.getpid()))
    elsewhere, other = node / f"scrimp-run-{'0' * 6}-{ended.pid}-abc", node / "something"
    for folder in (lost, live, elsewhere, other):
        folder.mkdir()
        (folder / "file").touch()

    def work(folder: Path, **_: Any) -> bytes:
        assert f"-{os.getpid()}-" in folder.name
        return (folder / "checkpoint.pt").read_bytes()

    assert cluster._on_node(None, "key", 1, {}, b"so far", work) == ("", {"checkpoint.pt": b"so far"}, b"so far")
    assert set(node.iterdir()) == {live, elsewhere, other}, "that of a live process may be another run's"


def test_what_the_environment_says_here_is_said_on_the_node(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIMP_WATTS", "10")  # so that it is put back
    failure, _, watts = cluster._on_node(
        None, "key", 1, {"SCRIMP_WATTS": "35"}, None, lambda **_: os.environ["SCRIMP_WATTS"]
    )
    assert (failure, watts) == ("", "35")


def test_ctrl_c_before_any_run_has_ended_is_no_result(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []

    def run_there(plan: Any, *_: Any) -> Any:
        if not done:
            raise KeyboardInterrupt
        return done.pop()

    monkeypatch.setattr(sweeping, "connected", lambda *_: nullcontext(SimpleNamespace(slots=1, stop=lambda: None)))
    monkeypatch.setattr(sweeping, "run_there", run_there)
    plans = vary(BASE | {"images": {"source": str(photos)}}, {"recipe.seed": [0, 1, 2]})
    with pytest.raises(KeyboardInterrupt):
        sweep(plans, tmp_path / "out", on="ray")
    assert not (tmp_path / "out" / "runs.csv").exists()
    first = make_run()
    done.append(first)
    assert sweep(plans, tmp_path / "out", on="ray") == [first], "what has come to its end is kept"


# ---------------------------------------------------------------- three nodes


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[Any], list[Path]]]:
    """A head, where nothing runs, and two nodes of one processor each, which share no cache with it or one another."""
    pytest.importorskip("ray", reason="needs the ray extra")
    import ray
    from ray.cluster_utils import Cluster

    caches = [tmp_path_factory.mktemp(f"node{n}") for n in range(2)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_worker_niceness", "0")  # a busy machine would let nicer processes starve
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        workers = [cluster.add_node(num_cpus=1, env_vars={"SCRIMP_CACHE": str(cache)}) for cache in caches]
    cluster.connect()
    yield cluster, workers, caches
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_nodes_are_told_what_this_machine_was_told(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**_: Any) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "SCRIMP_WATTS")}

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("SCRIMP_WATTS", "35")
    with connected("ray", 1) as found:
        told = found.run(said, (), tmp_path)
    assert told == {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "SCRIMP_WATTS": "35"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_a_search_on_a_cluster(nodes: Any, photos: Path, tmp_path: Path) -> None:
    recipe = Recipe(model="ultralight", pretrained=False, epochs=3, batch_size=16, lr=3e-3)
    images = find_images(photos)
    chosen = tune(images, recipe, preparation=Preparation(image_px=16), trials=4, search=["lr"], out=tmp_path, on="ray")
    with (tmp_path / "trials.csv").open() as file:
        assert {row["state"] for row in csv.DictReader(file)} <= {"complete", "pruned"}
    runs = load_runs(tmp_path)
    assert len(runs) == 4
    assert [run.plan for run in runs if run.test] == [chosen.best.plan]
    assert len({note for run in runs for note in run.notes if note.startswith("Ran on")}) == 2, "both nodes worked"
    for cache in nodes[2]:
        assert len(list((cache / "packs").iterdir())) == 1, "the pack came once"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_budget_is_spent_on_all_nodes_at_a_time(nodes: Any, photos: Path, tmp_path: Path) -> None:
    names = ["ultralight", "simple_cnn", "vgg8"]
    chosen = fit(
        find_images(photos),
        Budget(seconds=60),
        models=names,
        image_sizes=[16],
        out=tmp_path,
        usd_per_hour=36.0,
        on="ray",
    )
    best = chosen.best
    assert best.test is not None
    assert any(note.startswith("Ran on the node") for note in best.notes)
    assert [one.verdict for one in best.decisions].count("last") == 2, "two nodes, two at a time"
    assert chosen.bill.usd == pytest.approx(2 * chosen.bill.seconds * 0.01, rel=1e-6), "both nodes are paid for"
    assert 40 < chosen.bill.seconds < 62
    assert load_run(best.folder or "").test == best.test


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_node_that_dies_takes_no_run_with_it(nodes: Any, photos: Path, tmp_path: Path) -> None:
    cluster, workers, _ = nodes
    base = BASE | {"images": {"source": photos.as_uri()}}  # which each node reads for itself
    plans = vary(base, {"recipe.epochs": [30], "recipe.seed": [0, 1]})
    plans += vary(base, {"recipe.teacher": ["nowhere"]})
    runs: list[Run] = []
    sweeping = threading.Thread(target=lambda: runs.extend(sweep(plans, tmp_path / "out", usd_per_hour=3.6, on="ray")))
    sweeping.start()
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("*/checkpoint.pt"))) < 2:
        assert sweeping.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    cluster.remove_node(workers[1], allow_graceful=False)
    sweeping.join(200)
    assert [run.plan for run in runs] == plans
    assert [run.status for run in runs[:2]] == ["finished"] * 2
    for run in runs[:2]:
        assert run.folder is not None
        assert load_run(run.folder) == run
        assert [epoch.epoch for epoch in run.history] == list(range(1, 31))
        assert run.cost.usd == pytest.approx(run.cost.seconds * 0.001), "one of the node's one processor"
        files = {path.name for path in Path(run.folder).iterdir()}
        assert files == {
            "result.json", "plan.toml", "history.csv", "model.safetensors", "model.json", "examples.jpg",
        }  # fmt: skip
    assert runs[2].status == "failed"
    assert "No trained model in 'nowhere'" in runs[2].reason
    notes = [" ".join(run.notes) for run in runs[:2]]
    taken_up = ["Start 2: the node of an earlier one had died" in told for told in notes]
    assert sorted(taken_up) == [False, True]
    assert ["Went on after epoch" in told for told in notes] == taken_up
    assert (tmp_path / "out" / "runs.csv").is_file()
