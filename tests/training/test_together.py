"""Several processes train as one would: the same batches, the same steps, the same decisions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scrimp.cost
from scrimp.augment import augmentations
from scrimp.batches import batches, prepare
from scrimp.cost import Cost
from scrimp.errors import ScrimpError, SettingError
from scrimp.images import find_images
from scrimp.subset import features
from scrimp.subset.features import see_scores
from scrimp.training import Recipe, together, train
from scrimp.training.dynamics import Dynamics
from scrimp.training.together import Team, run_together

PLAIN = Recipe(
    model="simple_cnn",
    epochs=3,
    batch_size=8,
    augment="none",
    optimiser="sgd",
    lr=0.02,
    schedule="constant",
    precision="float32",
)
AS_ONE = {
    "plain": PLAIN,
    "crops": PLAIN.but(augment="crop,mirror"),
    "parts": PLAIN.but(accumulate=2, average="ema", sam=0.02),
    "stopping": PLAIN.but(epochs=30, patience=2, min_delta=0.5),
}
ABOUT = {
    "norms": Recipe(model="ultralight", epochs=6, batch_size=16, lr=5e-3, mix="mixup", dropout=0.1, bn_reestimate=True),
    "found": PLAIN.but(lr="auto"),
    "solved": PLAIN.but(head_first="ridge", epochs=1),
}


class Sensor:
    source = "estimate: TDP x load"

    def read_wh(self) -> float:
        return 1.0


def work(photos: Path, out: Path) -> dict[str, Any]:
    """Trains by each recipe; also what this process is called with."""
    scrimp.cost.CodeCarbonSensor = Sensor  # type: ignore[misc, assignment]
    torch.set_num_threads(1)
    ready = prepare(find_images(photos), image_px=16)
    found = {}
    for name, recipe in (AS_ONE | ABOUT).items():
        trained = train(ready, recipe, out=out / name)
        weights = {key: value.numpy() for key, value in trained.model.state_dict().items()}
        found[name] = (trained.history, weights, trained.best_epoch, trained.status, trained.notes)
    return found


def test_two_processes_learn_what_one_does(photos: Path, tmp_path: Path) -> None:
    """Shares of 3 and 4 images: the mean over the batch is not the mean of their means."""
    one, two = work(photos, tmp_path / "one"), run_together(2, work, photos, tmp_path / "two")
    for name in AS_ONE:
        (history, weights, best, status, notes), (history2, weights2, best2, status2, notes2) = one[name], two[name]
        assert (len(history), best, status) == (len(history2), best2, status2)
        for epoch, epoch2 in zip(history, history2, strict=True):
            assert epoch2.val_score == pytest.approx(epoch.val_score, abs=1e-6)
            assert (epoch2.train_loss, epoch2.val_loss) == pytest.approx((epoch.train_loss, epoch.val_loss), abs=2e-4)
            assert epoch2.train_score == pytest.approx(epoch.train_score, abs=0.03)
        assert all(np.allclose(weights[key], weights2[key], rtol=0, atol=1e-4) for key in weights), name
        assert "Trained by 2 processes" in str(notes2)
        assert "Trained by" not in str(notes)
    assert one["stopping"][3] == "stopped early"
    assert one["norms"][0][-1].val_score > 0.9
    assert two["norms"][0][-1].val_score > 0.9
    assert two["found"][0][-1].val_score > 0.9
    assert two["solved"][0][0].epoch == 0
    assert two["solved"][0][0].val_loss == pytest.approx(one["solved"][0][0].val_loss, abs=1e-5)
    assert {path.name for path in (tmp_path / "two" / "plain").iterdir()} == {
        "history.csv", "model.safetensors", "model.json",
    }  # fmt: skip


def watch_what_is_hard(photos: Path, out: Path) -> None:
    """Leaves what each process makes of it in a file of its own; each has its own cache, as on two machines."""
    scrimp.cost.CodeCarbonSensor = Sensor  # type: ignore[misc, assignment]
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "alone")
    os.environ["SCRIMP_CACHE"] = str(out / f"cache-{rank}")
    features._EPOCHS = 2
    images = find_images(photos)
    ready = prepare(images, image_px=16)
    rows, dynamics = ready.images.rows("train"), Dynamics(len(images))
    train(ready, PLAIN.but(epochs=4), out=out / "run", dynamics=dynamics)
    scores = [see_scores(images, "el2n", 16).scores]
    if rank == "1":
        shutil.rmtree(out / "cache-1" / "features")
    scores.append(see_scores(images, "el2n", 16).scores)
    np.save(out / f"{rank}.npy", [dynamics.el2n(rows).numpy(), dynamics.forgetting(rows).numpy(), *scores])


def test_two_processes_find_hard_what_one_does(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_EPOCHS", 2)  # the processes set these two for themselves
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path))
    run_together(2, watch_what_is_hard, photos, tmp_path)
    watch_what_is_hard(photos, tmp_path)
    first, second, alone = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1, "alone"))
    assert np.array_equal(first, second)
    assert np.array_equal(first[2], first[3])
    assert np.allclose(first[0], alone[0], atol=1e-3)
    assert (first[1] == alone[1]).mean() > 0.9, "an answer on the verge may fall to either side"


def only_the_second_fails() -> None:
    if os.environ["RANK"] == "1":
        raise SettingError("no such thing")
    together.totals(1)


def test_one_that_fails_does_not_leave_the_others_waiting() -> None:
    with pytest.raises(ScrimpError, match="no such thing"):
        run_together(2, only_the_second_fails)


def test_shares_make_up_the_batch(photos: Path) -> None:
    ready = prepare(find_images(photos), image_px=16)
    rows = ready.images.rows("train")

    def fed(share: tuple[int, int], changes: str) -> list[Any]:
        order = torch.Generator().manual_seed(3)
        chosen = augmentations(changes)
        return [
            (batch.pixels.clone(), batch.rows)
            for batch in batches(ready, rows, 8, order=order, changes=chosen, share=share)
        ]

    for changes in ("none", "crop,mirror"):
        thirds = [fed((rank, 3), changes) for rank in range(3)]
        for (pixels, order), *parts in zip(fed((0, 1), changes), *thirds, strict=True):
            assert np.concatenate([part for _, part in parts]).tolist() == order.tolist()
            assert torch.equal(torch.cat([part for part, _ in parts]), pixels)
    first, second = (torch.cat([pixels for pixels, _ in fed((rank, 2), "shift")]) for rank in (0, 1))
    plain = [torch.cat([pixels for pixels, _ in fed((rank, 2), "none")]) for rank in (0, 1)]
    moved = [(ours != theirs).flatten(1).any(1) for ours, theirs in zip((first, second), plain, strict=True)]
    assert moved[0][:18].tolist() != moved[1][:18].tolist(), "each share is shifted by chances of its own"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_seconds": 5.0}, "max_seconds=5.0 goes by each process' own clock"),
        ({"skip_easy": 0.5}, "skip_easy=0.5 goes by losses"),
        ({"batch_size": 4}, "batch_size=4 makes batches of 3 images, too few for 2 processes"),
    ],
)
def test_what_cannot_be_shared_is_refused(changes: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together.check_shares(PLAIN.but(**changes), 42)
    monkeypatch.setattr(together, "team", lambda: Team(0, 2))
    with pytest.raises(SettingError, match=told):
        together.check_shares(PLAIN.but(**changes), 42)
    together.check_shares(PLAIN, 42)


def test_energy_of_one_machine_is_counted_once() -> None:
    def bill(wh: float | None, source: str) -> Cost:
        return Cost(seconds=2, cpu_seconds=3, wh=wh, wh_source=source, usd=None)

    by_load = together._of_one_machine(
        [bill(1, "CodeCarbon (estimate: TDP x load)"), bill(2, "CodeCarbon (estimate: TDP x load)")]
    )
    assert (by_load.wh, by_load.cpu_seconds) == (3, 6)
    assert together._of_one_machine([bill(1, "CodeCarbon (RAPL)"), bill(2, "CodeCarbon (RAPL)")]).wh == 2
    assert together._of_one_machine([bill(1, "CodeCarbon (RAPL)"), bill(None, "")]).wh is None
