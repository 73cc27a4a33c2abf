"""Draws docs/pictures/augmentations.jpg: what each augmentation does to four little scenes that are drawn here, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scrimp import find_images
from scrimp.report import write_contact_sheet

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "augmentations.jpg"
PX = 224


def ground(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    """From one colour above to another below."""
    part = np.linspace(0, 1, PX)[:, None, None]
    pixels = np.broadcast_to((1 - part) * np.array(top) + part * np.array(bottom), (PX, PX, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def house(draw: ImageDraw.ImageDraw) -> None:
    """With a red roof, and the sun."""
    draw.rectangle((0, 170, PX, PX), (96, 140, 62))
    draw.ellipse((22, 20, 62, 60), (250, 214, 92))
    draw.rectangle((80, 104, 176, 186), (232, 214, 180))
    draw.polygon([(68, 106), (128, 54), (188, 106)], (176, 62, 48))
    draw.rectangle((94, 122, 118, 148), (92, 128, 160))
    draw.rectangle((136, 132, 158, 186), (112, 72, 44))


def boat(draw: ImageDraw.ImageDraw) -> None:
    """Under sail."""
    draw.rectangle((0, 146, PX, PX), (36, 92, 138))
    for y in range(158, PX, 16):
        draw.arc((y % 48 - 30, y, y % 48 + 60, y + 14), 200, 340, (120, 170, 205), 2)
        draw.arc((y % 64 + 80, y, y % 64 + 190, y + 12), 200, 340, (120, 170, 205), 2)
    draw.polygon([(56, 146), (176, 146), (152, 172), (78, 172)], (128, 66, 40))
    draw.polygon([(112, 34), (112, 136), (56, 136)], (246, 242, 232))
    draw.polygon([(120, 54), (120, 136), (164, 136)], (226, 96, 74))


def tree(draw: ImageDraw.ImageDraw) -> None:
    """In leaf, with apples."""
    draw.rectangle((0, 178, PX, PX), (126, 158, 74))
    draw.polygon([(102, 192), (108, 110), (122, 110), (130, 192)], (102, 70, 46))
    for x, y in ((60, 78), (92, 48), (132, 48), (160, 82), (112, 86)):
        draw.ellipse((x - 42, y - 32, x + 42, y + 40), (58, 116, 60))
    for x, y in ((70, 90), (104, 54), (150, 66), (128, 104), (170, 98)):
        draw.ellipse((x - 7, y - 7, x + 7, y + 7), (206, 48, 44))


def fish(draw: ImageDraw.ImageDraw) -> None:
    """Among weed and bubbles."""
    for x in (24, 48, 190, 206):
        draw.line([(x + 6 * (n % 2), PX - 20 * n) for n in range(6)], (40, 130, 92), 6)
    draw.polygon([(160, 112), (206, 78), (198, 112), (206, 148)], (236, 150, 44))
    draw.ellipse((46, 70, 174, 156), (240, 170, 60))
    for x in (96, 122, 146):
        draw.arc((x - 40, 78, x, 148), 300, 60, (250, 250, 240), 6)
    draw.ellipse((66, 96, 84, 114), (255, 255, 255))
    draw.ellipse((71, 101, 80, 110), (20, 20, 20))
    for x, y, r in ((40, 60, 6), (30, 40, 8), (46, 22, 10)):
        draw.ellipse((x - r, y - r, x + r, y + r), None, (190, 225, 235), 2)


Colour = tuple[int, int, int]
SCENES: dict[str, tuple[Callable[[ImageDraw.ImageDraw], None], Colour, Colour]] = {
    "boat": (boat, (164, 200, 226), (222, 228, 224)),
    "fish": (fish, (70, 150, 180), (20, 70, 110)),
    "house": (house, (120, 176, 222), (206, 224, 232)),
    "tree": (tree, (150, 196, 228), (224, 230, 214)),
}


def main() -> None:
    """Scenes with some grain, as if photographed, in class folders; then the sheet."""
    dice = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for name, (draw, top, bottom) in SCENES.items():
            scene = ground(top, bottom)
            draw(ImageDraw.Draw(scene))
            pixels = np.asarray(scene.filter(ImageFilter.GaussianBlur(0.7))) + dice.normal(0, 4, (PX, PX, 3))
            for copy in range(4):  # as few as divide into train, val and test
                path = Path(folder) / name / f"{copy}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        sheet = write_contact_sheet(find_images(folder), Path(folder) / "sheet.png")
        Image.open(sheet).save(PICTURE, quality=80)


if __name__ == "__main__":
    main()
