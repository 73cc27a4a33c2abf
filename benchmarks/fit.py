"""Given the same images, cores and wall-clock, is `scrimp fit` as accurate as what one would do instead?

On 5,000 images of CIFAR-10 (500 a class, from scratch, and the whole test split), imagenette-224 and stanford-dogs-10
(cut to their boxes), the last two with the published weights that lie where TORCH_HOME says. Every contender is a
process of its own, measured from its start. Contenders:

fit: `scrimp fit` with the budget, nothing else.
plain-MODEL: each model of fit's list whose weights are there, by the plain recipe (Adam, learning rate 1e-4, batch 32,
no augmentation, 10 epochs, the best on val kept), on packed images, and cut off at the budget.
random: Optuna's random search over model, size, learning rate, batch size, augmentation and freezing of the backbone;
trial after trial of at most 10 epochs until the budget is spent; the best on val looks at test. It reads packed images
and trains with our loop, so that only the choosing differs.
autogluon: AutoGluon's multimodal predictor with all of the budget as its `time_limit`, the images already cut to their
boxes, on mobilenet_v2 with the same weights (fit_autogluon.py, which tells how to install it), by the Python of
`--autogluon`; without that, it does not take part. Its seconds are those of its `fit` alone.

Beside another one, each under `taskset` on a core of its own, a contender has that core alone.

Rows are kept as they come: started again, it goes on with those that are missing.

    python benchmarks/fit.py [--quick] [--minutes 1 3 10] [--seeds 0 1 2] [--data NAME] [--contender NAME]
        [--autogluon PYTHON] [--data-dir FOLDER] [--out FOLDER]

Summary keys: `accuracy.DATA.MINUTES.CONTENDER` (test accuracy: mean, sd (None for one), n); `budget_kept` and
`budget_kept_of` (fits within 103 % of the budget or 1.5 s over it, and how many there were), `search_overhead` (part of
the budget that weighing, ranking and finishing took, mean of the longest fits).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from record import record, spread
from time_to_accuracy import DATA, words_of, write_folders

from scrimp.fitting.candidates import FROM_SCRATCH, PHOTO_SIZES, PRETRAINED
from scrimp.images import Images, find_images
from scrimp.store import write_whole

Row = dict[str, Any]
SCRATCH = "cifar10"
TRIAL_EPOCHS = 10


def source_of(data: str, folder: str) -> str:
    """SRC of the images."""
    return data if data == SCRATCH else str(Path(folder) / data)


def images_of(data: str, folder: str) -> Images:
    """The images that every contender gets."""
    return find_images(source_of(data, folder), **DATA[data], data_dir=folder)


def contenders(data: str) -> list[str]:
    """Who takes part on these images."""
    from scrimp.models import weights_at_hand

    models = FROM_SCRATCH if data == SCRATCH else [name for name in PRETRAINED if weights_at_hand(name)]
    return ["fit", "random", *(f"plain-{model}" for model in models)]


def called(command: list[str]) -> tuple[Row, float]:
    """What a command prints as JSON, with nothing in Scrimp's cache, and its seconds from start to end."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "SCRIMP_CACHE": cache})
        return json.loads(done.stdout), time.perf_counter() - start


def measured(contender: str, data: str, budget_s: int, seed: int, folder: str) -> Row:
    """One process of a contender."""
    source = words_of(source_of(data, folder), DATA[data], folder)
    base = [sys.executable, "-m", "scrimp"]
    with tempfile.TemporaryDirectory() as out:
        place = ["--seed", str(seed), "--out", out, "--json"]
        if contender == "fit":
            found, seconds = called([*base, "fit", *source, "--budget", f"{budget_s}s", *place])
            winner = next(row for row in found["candidates"] if row["wins"])["name"]
            about = {"winner": winner, "story": found["story"], "val_accuracy": found["val"]["mean"]}
            return about | {"test_accuracy": found["test"]["mean"], "seconds": seconds, **shares(found, budget_s)}
        if contender.startswith("plain-"):
            size = "32" if data == SCRATCH else "224"
            options = ["--recipe", "plain", "--model", contender.removeprefix("plain-"), "--image-size", size]
            options += ["--from-scratch"] if data == SCRATCH else []
            # Reading, importing and looking at test take some of the time as well; it is given all of it to train.
            run, seconds = called(
                [*base, "train", *source, *options, "--set", f"recipe.max_seconds={budget_s}", *place]
            )
            scores = {"val_accuracy": run["val"]["top1"], "test_accuracy": run["test"]["top1"]}
            return scores | {"seconds": seconds, "epochs": len(run["history"])}
        row, seconds = called(
            [sys.executable, __file__, "--turn", data, str(budget_s), str(seed), "--data-dir", folder]
        )
        return row | {"seconds": seconds}


def shares(found: Row, budget_s: int) -> Row:
    """Seconds that training took, by what the fit says it did, and the part of the budget that went elsewhere."""
    result = json.loads((Path(found["best"]) / "result.json").read_bytes())
    trained = [one["evidence"]["took_s"] for one in result["decisions"] if one["verdict"] == "trained"]
    return {"trained_s": sum(trained), "overhead": 1 - sum(trained) / budget_s}


def autogluon(python: str, data: str, budget_s: int, seed: int, folder: str) -> Row:
    """The row of fit_autogluon.py, by another Python, on the same images as folders."""
    import torch

    weights = Path(torch.hub.get_dir()) / "checkpoints" / "mobilenet_v2-7ebf99e0.pth"
    with tempfile.TemporaryDirectory() as place:
        write_folders(images_of(data, folder), Path(place) / "images")
        command = [
            python,
            str(Path(__file__).with_name("fit_autogluon.py")),
            f"{place}/images",
            str(budget_s),
            str(seed),
        ]
        command += [] if data == SCRATCH else ["--weights", str(weights)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=place)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


# ---------------------------------------------------------------- random search, in a process of its own


def random_search(data: str, budget_s: int, seed: int, folder: str) -> Row:
    """Optuna's random sampler over the space that fit has, and a little more."""
    started = time.perf_counter()
    import optuna

    import scrimp
    from scrimp.models import weights_at_hand
    from scrimp.training.evaluate import predict

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    images, scratch = images_of(data, folder), data == SCRATCH
    models = list(FROM_SCRATCH) if scratch else [name for name in PRETRAINED if weights_at_hand(name)]
    best: tuple[float, Any] = (-1.0, None)
    tried = 0
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    with tempfile.TemporaryDirectory() as out:
        while (left := budget_s - (time.perf_counter() - started) - 2.0) > 1.0:
            trial = study.ask()
            recipe = scrimp.Recipe(
                model=trial.suggest_categorical("model", models),
                pretrained=not scratch,
                epochs=TRIAL_EPOCHS,
                lr=trial.suggest_float("lr", 1e-5, 1e-2, log=True),
                batch_size=trial.suggest_categorical("batch_size", [16, 32, 64, 128]),
                augment=trial.suggest_categorical("augment", ["none", "basic", "trivial"]),
                freeze=trial.suggest_categorical("freeze", ["none"] if scratch else ["none", "backbone"]),
                max_seconds=left,
                seed=seed,
            )
            px = trial.suggest_categorical("px", [32] if scratch else sorted(PHOTO_SIZES))
            try:
                trained = scrimp.train(scrimp.prepare(images, image_px=px), recipe, out=f"{out}/{tried}")
            except scrimp.ScrimpError:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            val = max(epoch.val_score for epoch in trained.history)
            study.tell(trial, val)
            tried += 1
            best = max(best, (val, trained), key=lambda pair: pair[0])
        val, trained = best
        rows = trained.ready.images.rows("test")
        right = predict(trained.model, trained.ready, rows).argmax(1).numpy() == trained.ready.images.labels[rows]
    return {"val_accuracy": val, "test_accuracy": float(right.mean()), "trials": tried, "winner": trained.recipe.model}


# ---------------------------------------------------------------- one after the other


def summary_of(rows: list[Row]) -> Row:
    """The headline of the rows so far."""
    summary: Row = {}
    for group in dict.fromkeys((row["data"], row["minutes"], row["contender"]) for row in rows):
        found = [r["test_accuracy"] for r in rows if (r["data"], r["minutes"], r["contender"]) == group]
        summary["accuracy.{}.{:g}.{}".format(*group)] = spread(found)
    fits = [row for row in rows if row["contender"] == "fit"]
    kept = [row["seconds"] <= max(1.03 * row["minutes"] * 60, row["minutes"] * 60 + 1.5) for row in fits]
    summary |= {"budget_kept": sum(kept), "budget_kept_of": len(kept)}
    longest = max((row["minutes"] for row in fits), default=None)
    if longest is not None:
        summary["search_overhead"] = mean(row["overhead"] for row in fits if row["minutes"] == longest)
    return summary


def main() -> None:
    """Goes over seeds, minutes, data and contenders, and records after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="half a minute on stanford-dogs-10, fit and one plain model"
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", action="append", choices=list(DATA), help="instead of all; may be repeated")
    parser.add_argument("--contender", action="append", help="instead of all; may be repeated")
    parser.add_argument("--data-dir", default=os.environ.get("SCRIMP_DATA"), help="folder that holds the data sets")
    parser.add_argument("--out", default="runs/fit_benchmark", help="rows that lie here are not measured again")
    parser.add_argument("--autogluon", metavar="PYTHON", help="of an environment that AutoGluon is installed in")
    parser.add_argument("--turn", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.data_dir:
        parser.error("no data: give --data-dir, or set SCRIMP_DATA")
    if asked.turn:
        data, budget_s, seed = asked.turn
        print(json.dumps(random_search(data, int(budget_s), int(seed), asked.data_dir)))
        return
    if asked.quick:
        asked.minutes, asked.seeds, asked.data = [0.5], [0], ["stanford-dogs-10"]
        asked.contender = ["fit", "plain-squeezenet1_0"]
    rows: list[Row] = []
    for seed in asked.seeds:
        for minutes in asked.minutes:
            for data in asked.data or DATA:
                others = ["autogluon"] if asked.autogluon else []
                for contender in asked.contender or [*contenders(data), *others]:
                    file = Path(asked.out) / f"{data}-{minutes:g}-{contender}-{seed}.json"
                    if not file.is_file():
                        how = (data, round(60 * minutes), seed, asked.data_dir)
                        row = (
                            autogluon(asked.autogluon, *how) if contender == "autogluon" else measured(contender, *how)
                        )
                        write_whole(file, json.dumps(row).encode())
                    about = {"data": data, "minutes": minutes, "contender": contender, "seed": seed}
                    rows.append(about | json.loads(file.read_bytes()))
                    record("fit", rows, summary_of(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
