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
from torch.nn import Module
from torchvision.models import mobilenet_v2

FACTS = {"interpolation": "bilinear", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PUBLISHED = {"architecture": "mobilenetv2_100", "num_features": 1280, "input_size": [3, 224, 224], "crop_pct": 0.875}
SCRATCH = {"architecture": "resnet18", "num_features": 512, "input_size": [3, 64, 64], "crop_pct": 1.0}


def published(weights: Path) -> Module:
    """The network of the published file, under the names of timm."""
    theirs = mobilenet_v2()
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    ours: Module = create_model(PUBLISHED["architecture"], pretrained=False)
    names = ours.state_dict()
    ours.load_state_dict(dict(zip(names, theirs.state_dict().values(), strict=True)))
    images = torch.randn(4, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-3, atol=1e-3)
    return ours


def from_nothing(seed: int) -> Module:
    """A network of random numbers."""
    torch.manual_seed(seed)
    ours: Module = create_model(SCRATCH["architecture"], pretrained=False)
    return ours


def as_folder(model: Module, facts: dict[str, Any], folder: Path) -> Path:
    """What AutoGluon takes for a model of timm; it makes a head of its own."""
    body = {name: value for name, value in model.state_dict().items() if not name.startswith(("classifier.", "fc."))}
    torch.save(body, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(facts | FACTS))
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
        model, facts = (published(asked.weights), PUBLISHED) if asked.weights else (from_nothing(asked.seed), SCRATCH)
        settings["model.timm_image.checkpoint_name"] = str(as_folder(model, facts, Path(place)))
        if not asked.weights:
            settings["optim.lr"] = 1e-3
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
