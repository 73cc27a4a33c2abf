"""The loaders that `loading.py` compares with, each run by the Python of its own environment.

    python loading_peers.py NAME FOLDER PX     answers every line of standard input with the seconds of some epochs
    python loading_peers.py ffcv-write FOLDER FILE LONGEST     writes once, and answers with the seconds

Nothing here imports Scrimp. Each is set up as its own documentation says for speed: 2 workers or threads, memory and
workers kept between epochs, batches of 64, random resized crop and mirror.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH, WORKERS = 64, 2
TURN_S = 4  # seconds that a turn takes at least: whole epochs, as many as it needs
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def torchvision(folder: str, px: int, *, floats: bool) -> Callable[[], int]:
    """ImageFolder, Pillow and transforms v2 in DataLoader's processes."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps: list[Any] = [v2.RandomResizedCrop(px), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    if floats:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    loader = DataLoader(
        ImageFolder(folder, v2.Compose(steps)),
        batch_size=BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        prefetch_factor=4,
    )
    return lambda: sum(len(labels) for _, labels in loader)


def dali(folder: str, px: int, *, floats: bool) -> Callable[[], int]:
    """NVIDIA DALI on the CPU, decoding only the part that the crop needs."""
    from nvidia.dali import fn, pipeline_def, types

    count = sum(1 for _ in Path(folder).glob("*/*.jpg"))

    @pipeline_def(batch_size=BATCH, num_threads=WORKERS, device_id=None, prefetch_queue_depth=2)
    def pipeline() -> Any:
        files, labels = fn.readers.file(file_root=folder, random_shuffle=True, name="files", initial_fill=count)
        images = fn.decoders.image_random_crop(
            files, device="cpu", random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
        )
        images = fn.resize(images, resize_x=px, resize_y=px, interp_type=types.INTERP_LINEAR, antialias=False)
        coin = fn.random.coin_flip(probability=0.5)
        if floats:
            images = fn.crop_mirror_normalize(
                images, mirror=coin, mean=[255 * v for v in MEAN], std=[255 * v for v in STD], output_layout="HWC"
            )
        else:
            images = fn.flip(images, horizontal=coin)
        return images, labels

    pipe = pipeline()
    pipe.build()

    def epoch() -> int:
        seen = 0
        while seen < count:
            images, _ = pipe.run()
            seen += len(images)
        return seen

    return epoch


def ffcv(file: str, px: int, *, floats: bool) -> Callable[[], int]:
    """FFCV from a file of raw pixels that lies in memory."""
    import numpy as np
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage

    image: list[Any] = [RandomResizedCropRGBImageDecoder((px, px)), RandomHorizontalFlip()]
    if floats:
        image.append(NormalizeImage(np.array(MEAN) * 255, np.array(STD) * 255, np.float32))
    image += [ToTensor(), ToTorchImage()]
    loader = Loader(
        file,
        batch_size=BATCH,
        num_workers=WORKERS,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={"image": image, "label": [IntDecoder(), ToTensor()]},
    )
    return lambda: sum(len(labels) for _, labels in loader)


def ffcv_write(folder: str, file: str, longest: int) -> float:
    """Seconds that FFCV's writer takes."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from torchvision.datasets import ImageFolder

    images = ImageFolder(folder)
    start = time.perf_counter()
    fields = {"image": RGBImageField(write_mode="raw", max_resolution=longest), "label": IntField()}
    DatasetWriter(file, fields, num_workers=WORKERS).from_indexed_dataset(images)
    return time.perf_counter() - start


EPOCHS = {"torchvision": torchvision, "dali": dali, "ffcv": ffcv}


def main() -> None:
    """Answers on standard output, one JSON document a line."""
    name, place, *rest = sys.argv[1:]
    if name == "ffcv-write":
        print(json.dumps({"seconds": ffcv_write(place, rest[0], int(rest[1]))}), flush=True)
        return
    which, kind = name.rsplit("-", 1)
    epoch = EPOCHS[which](place, int(rest[0]), floats=kind == "float")
    epoch()  # compiling, starting workers and filling queues are not what is compared
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start, cpu, images = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < TURN_S:
            images += epoch()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps({"images": images, "seconds": seconds, "cpu_seconds": cpu}), flush=True)


if __name__ == "__main__":
    main()
