"""The half of frameworks.py that runs in the environment with TensorFlow: it needs Keras and NumPy, nothing of Scrimp.

    python benchmarks/frameworks_keras.py NETWORK FILE [--threads 2]

FILE holds pixels, labels, order and weights, as frameworks.py writes them. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH, LEARNING_RATE = 100, 1e-3


def peak_mb() -> float:
    """Highest resident memory of this program so far (Linux); getrusage would begin with that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def network(name: str, classes: int, px: int) -> Any:
    """The network as PyTorch has it: padding is written out, since Keras pads unevenly where steps are of 2."""
    import keras
    from keras import layers

    image = keras.Input((px, px, 3))
    if name == "cnn":
        maps = layers.Conv2D(32, 3, padding="same", activation="relu", name="0")(image)
        maps = layers.MaxPooling2D(2)(maps)
        maps = layers.Conv2D(64, 3, padding="same", activation="relu", name="3")(maps)
        maps = layers.MaxPooling2D(2)(maps)
        return keras.Model(image, layers.Dense(classes, name="8")(layers.GlobalAveragePooling2D()(maps)))

    def convolved(maps: Any, path: str, norm: str, channels: int, kernel: int, step: int) -> Any:
        if kernel > 1:
            maps = layers.ZeroPadding2D(kernel // 2)(maps)
        maps = layers.Conv2D(channels, kernel, strides=step, use_bias=False, name=path)(maps)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(maps)

    maps = layers.ReLU()(convolved(image, "conv1", "bn1", 64, 7, 2))
    # All values are 0 or more after a ReLU, so that padding by zeros does not win where PyTorch's does not.
    maps = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(maps))
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            path, step = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            inner = layers.ReLU()(convolved(maps, f"{path}.conv1", f"{path}.bn1", channels, 3, step))
            inner = convolved(inner, f"{path}.conv2", f"{path}.bn2", channels, 3, 1)
            if step > 1:
                maps = convolved(maps, f"{path}.downsample.0", f"{path}.downsample.1", channels, 1, step)
            maps = layers.ReLU()(layers.Add()([maps, inner]))
    return keras.Model(image, layers.Dense(classes, name="fc")(layers.GlobalAveragePooling2D()(maps)))


def load(model: Any, weights: dict[str, Any]) -> int:
    """Gives each layer the weights of the PyTorch layer of its name; returns how many arrays that were."""
    loaded = 0
    for layer in model.layers:
        kinds = ("weight", "bias", "running_mean", "running_var")
        found = [weights[f"{layer.name}.{kind}"] for kind in kinds if f"{layer.name}.{kind}" in weights]
        if not found:
            continue
        if found[0].ndim == 4:
            found[0] = found[0].transpose(2, 3, 1, 0)  # (out, in, h, w) to (h, w, in, out)
        elif found[0].ndim == 2:
            found[0] = found[0].T
        layer.set_weights(found)
        loaded += len(found)
    return loaded


def main() -> None:
    """Trains and tests as frameworks.in_torch does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    given = np.load(asked.file)
    start = f"{asked.network}/"
    weights = {key.removeprefix(start): given[key] for key in given if key.startswith(start)}
    pixels, labels = given["train_pixels"].astype(np.float32) / 255, given["train_labels"]
    model = network(asked.network, int(labels.max()) + 1, pixels.shape[1])
    wanted = sum(not key.endswith("num_batches_tracked") for key in weights)
    loaded = load(model, weights)
    if loaded != wanted:
        raise SystemExit(f"{loaded} of {wanted} arrays found their layer")
    optimiser = keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8)  # PyTorch's
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimiser.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def learn(images: Any, truth: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(truth, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    seconds, losses = [], []
    for order in given["order"]:
        began = time.perf_counter()
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            losses.append(float(learn(pixels[rows], labels[rows])))
        seconds.append(time.perf_counter() - began)
    said = model.predict(given["test_pixels"].astype(np.float32) / 255, batch_size=BATCH, verbose=0).argmax(1)
    told = {
        "framework": f"Keras {keras.__version__} on TensorFlow {tf.__version__}",
        "seconds": seconds,
        "losses": losses,
        "test_accuracy": float((said == given["test_labels"]).mean()),
        "peak_mb": peak_mb(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
