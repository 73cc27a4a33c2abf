"""AutoGluon's multimodal predictor on folders of images, in a process and an environment of its own.

What fit.py compares with. It knows nothing of Scrimp: FOLDER holds train, val and test, each with a folder a class.
With weights it fine-tunes mobilenet_v2 from the file that torchvision publishes, which is given to AutoGluon under the
names of timm's mobilenetv2_100 (the same network: its answers are compared first); without, resnet18 from random
numbers on images of 64 pixels. All else is left as AutoGluon has it, but for what helps it in minutes on a CPU: steps
of 32 images instead of 128, and from scratch a learning rate of 1e-3.

    python -m venv autogluon && autogluon/bin/pip install autogluon.multimodal
    autogluon/bin/python benchmarks/fit_autogluon.py FOLDER SECONDS SEED [--weights mobilenet_v2-7ebf99e0.pth]

Prints a line of JSON: `test_accuracy`, `val_accuracy`, `seconds` (of `fit` alone) and `versions`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas
import torch
from autogluon.multimodal import MultiModalPredictor
from timm import create_model
from torchvision.models import mobilenet_v2

TIMM_NAME = "mobilenetv2_100"
NOT_WEIGHTS = {"num_features": 1280, "input_size": [3, 224, 224], "interpolation": "bilinear", "crop_pct": 0.875}
MEAN_AND_STD = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def renamed(weights: Path, folder: Path) -> Path:
    """The published file as a folder that AutoGluon takes for a model of timm."""
    theirs = mobilenet_v2()
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    ours = create_model(TIMM_NAME, pretrained=False)
    names = ours.state_dict()
    ours.load_state_dict(dict(zip(names, theirs.state_dict().values(), strict=True)))
    images = torch.randn(4, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-3, atol=1e-3)
    body = {name: value for name, value in ours.state_dict().items() if not name.startswith("classifier.")}
    torch.save(body, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"architecture": TIMM_NAME, **NOT_WEIGHTS, **MEAN_AND_STD}))
    return folder


def table(folder: Path) -> pandas.DataFrame:
    """Paths and labels of a split."""
    paths = sorted(folder.glob("*/*"))
    return pandas.DataFrame({"image": [str(path) for path in paths], "label": [path.parent.name for path in paths]})


def main() -> None:
    """One fit, and one look at test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float, help="time limit")
    parser.add_argument("seed", type=int)
    parser.add_argument("--weights", type=Path)
    asked = parser.parse_args()
    tables = {split: table(asked.folder / split) for split in ("train", "val", "test")}
    with tempfile.TemporaryDirectory() as place:
        settings: dict[str, Any] = {"model.names": ["timm_image"], "env.num_gpus": 0, "env.num_workers": 2}
        settings |= {"env.batch_size": 32, "env.per_gpu_batch_size": 32}
        if asked.weights:
            settings["model.timm_image.checkpoint_name"] = str(renamed(asked.weights, Path(place)))
        else:
            settings |= {"model.timm_image.checkpoint_name": "resnet18", "model.timm_image.pretrained": False}
            settings |= {"model.timm_image.image_size": 64, "optim.lr": 1e-3}
        predictor = MultiModalPredictor(label="label", path=f"{place}/model", verbosity=0)
        start = time.perf_counter()
        predictor.fit(
            tables["train"],
            tuning_data=tables["val"],
            time_limit=asked.seconds,
            seed=asked.seed,
            hyperparameters=settings,
        )
        seconds = time.perf_counter() - start
        scores = {
            f"{split}_accuracy": float(predictor.evaluate(tables[split], metrics=["accuracy"])["accuracy"])
            for split in ("val", "test")
        }
    versions = {name: version(name) for name in ("autogluon.multimodal", "torch", "timm")}
    print(json.dumps(scores | {"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()
