"""Where in an image a model sees what speaks for an answer: Grad-CAM, and occlusion as a second opinion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import isqrt
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scrimp.errors import ImageError, SettingError
from scrimp.models import Classifier

Heat = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_LEAST_SIDE = 4  # positions: a coarser grid points nowhere
_MOST_PREFIX = 5  # tokens before those of the image: of the class, of distillation, registers
_WINDOW, _STEPS = 4, 2  # an occlusion hides a fourth of the side, and moves by half of that
_OPACITY = 0.7
_AT_ONCE = 16  # occluded images in one batch


class Layer(NamedTuple):
    """A layer whose output is a square grid of positions.

    path: where it is inside the model's body. side: positions along each side. form: how its output lies: "maps"
    (n, c, side, side), "last" (n, side, side, c), or "tokens" (n, prefix + side * side, c).
    """

    path: str
    side: int
    form: Literal["maps", "last", "tokens"]
    prefix: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The grid of an output as maps (n, c, side, side)."""
        if self.form == "last":
            return output.permute(0, 3, 1, 2)
        if self.form == "tokens":
            return output[:, self.prefix :].transpose(1, 2).reshape(len(output), -1, self.side, self.side)
        return output

    def output(self, maps: Tensor, before: Tensor) -> Tensor:
        """The output that has these maps as its grid, and all else as it was."""
        if self.form == "last":
            return maps.permute(0, 2, 3, 1)
        if self.form == "tokens":
            return torch.cat([before[:, : self.prefix], maps.flatten(2).transpose(1, 2)], dim=1)
        return maps


@torch.inference_mode(False)  # whatever the caller is in: slopes are needed
@torch.enable_grad()
def heat_map(model: Classifier, pixels: Pixels, class_index: int) -> Heat:
    """What of an image speaks for a class, by Grad-CAM: float32 (px, px), from 0 to 1 at its hottest.

    In the form of HiResCAM: each position's activations by its own slopes. Where the head averages maps, as in most
    CNNs, that is Grad-CAM to the letter; elsewhere the mean slope of Grad-CAM points at what has no say.

    model: in eval mode; of one that answers with the mean over mirror images, the plain half is explained. pixels:
    uint8 (px, px, 3), as the model is fed. class_index: the output that is explained: a class, a label, or 0 for the
    target, where the heat is on what makes it larger. All 0 where nothing speaks for it.
    The layer is found anew (see `find_layer`). Nothing of the model is changed, but nobody else may use it meanwhile,
    since hooks hang in it. Raises `SettingError` for a model without a grid of positions, `ImageError` for pixels that
    are not a square. Cost: some four forward and backward passes.
    Selvaraju and others, "Grad-CAM" (arXiv 1610.02391); Draelos and Carin, "HiResCAM" (arXiv 2011.08891).
    """
    from captum.attr import LayerAttribution, LayerGradientXActivation

    layer = find_layer(model, pixels)
    grid = nn.Identity()  # which captum watches: whatever form the layer's output has, maps go through it
    module = model.body.get_submodule(layer.path)
    handle = module.register_forward_hook(lambda _, inputs, output: layer.output(grid(layer.maps(output)), output))
    try:
        image = _normalised(model, pixels).requires_grad_()
        evidence = LayerGradientXActivation(model.body, grid).attribute(image, target=class_index)
    finally:
        handle.remove()
    cam = evidence.sum(dim=1, keepdim=True).clamp(min=0)
    return _from_0_to_1(LayerAttribution.interpolate(cam, pixels.shape[:2], interpolate_mode="bilinear")[0, 0])


def occlusion_map(model: Classifier, pixels: Pixels, class_index: int) -> Heat:
    """What of an image a class is lost without: float32 (px, px), from 0 to 1 where hiding it costs most.

    A grey square (the mean colour that the model normalises with) of a fourth of the side hides one part after the
    other; the heat of a pixel is the mean loss of the class's output over the squares that hid it. It asks only what
    the model answers, so that it can contradict Grad-CAM. The arguments are those of `heat_map`.
    Cost: 50 forward passes. Zeiler and Fergus (arXiv 1311.2901).
    """
    from captum.attr import Occlusion

    window = max(1, len(pixels) // _WINDOW)
    step = max(1, window // _STEPS)
    losses = Occlusion(model.body).attribute(
        _normalised(model, pixels),
        sliding_window_shapes=(3, window, window),
        strides=(3, step, step),
        baselines=0,
        target=class_index,
        perturbations_per_eval=_AT_ONCE,
    )
    return _from_0_to_1(losses[0, 0].clamp(min=0))


def overlay(pixels: Pixels, heat: Heat) -> Pixels:
    """The image with its heat laid over it, uint8 (px, px, 3): yellow is hottest, what is cold stays as it is."""
    colours = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = _OPACITY * heat[..., None]
    laid: Pixels = np.rint(pixels * (1 - weight) + colours * weight).astype(np.uint8)
    return laid


@torch.inference_mode(False)
@torch.enable_grad()
def find_layer(model: Classifier, pixels: Pixels) -> Layer:
    """The layer that Grad-CAM looks at: the last that still knows where something is.

    That is, in the order in which they are done, the last before the head whose output is a grid of 4 x 4 positions
    or more, each of which has a say in the answer, and that all the answer knows of the image goes through. (Of a
    transformer with a class token it is the last block but one: after the last attention only that token has a say.)
    Pools that only sum up for the head, and layers that are used twice, do not count.
    Raises `SettingError` for a model without any, `ImageError` for pixels that are not a square.
    Cost: two or three forward and backward passes, some more for a transformer.
    """
    found = _grids(model, pixels)
    if not found:
        raise SettingError(f"{model.name} has no layer whose output is a grid of positions: no heat map can be made.")
    least = min(_LEAST_SIDE, max(layer.side for layer, _ in found))
    fine = [(layer, has_a_say) for layer, has_a_say in reversed(found) if layer.side >= least]
    suited = (layer for layer, has_a_say in fine if has_a_say and _all_goes_through(layer, model, pixels))
    return next(suited, fine[0][0])


def _grids(model: Classifier, pixels: Pixels) -> list[tuple[Layer, bool]]:
    """Every layer whose output is a grid, in the order in which they are done, and whether that has a say."""
    body = model.body
    done: list[tuple[str, Tensor]] = []
    at_the_head: list[bool] = []

    def keeper(path: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not at_the_head:
                done.append((path, output))

        return keep

    pools = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
    modules = [(path, module) for path, module in body.named_modules() if path and not isinstance(module, pools)]
    handles = [module.register_forward_hook(keeper(path)) for path, module in modules]
    handles.append(model.head.register_forward_pre_hook(lambda *_: at_the_head.append(True)))
    try:
        answer = body(_normalised(model, pixels).requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(path for path, _ in done)
    grids = [(_layer(path, output, body), output) for path, output in done if times[path] == 1]
    found = [(layer, output) for layer, output in grids if layer is not None]
    slopes = torch.autograd.grad(answer.sum(), [output for _, output in found], allow_unused=True) if found else ()
    return [
        (layer, slope is not None and bool(layer.maps(slope).any()))
        for (layer, _), slope in zip(found, slopes, strict=True)
    ]


def _all_goes_through(layer: Layer, model: Classifier, pixels: Pixels) -> bool:
    """Whether the answer no longer depends on the image when this output is cut off from it."""
    image = _normalised(model, pixels).requires_grad_()
    module = model.body.get_submodule(layer.path)
    handle = module.register_forward_hook(lambda _, inputs, output: output.detach().requires_grad_().clone())
    try:
        [slope] = torch.autograd.grad(model.body(image).sum(), [image], allow_unused=True)
    finally:
        handle.remove()
    return slope is None


def _layer(path: str, output: Tensor, body: nn.Module) -> Layer | None:
    """What grid an output is, if it is one of a single image."""
    shape = output.shape
    if shape[0] != 1 or not output.requires_grad:
        return None
    if output.ndim == 4 and shape[2] == shape[3]:
        return Layer(path, shape[2], "maps")
    if output.ndim == 4 and shape[1] == shape[2]:
        return Layer(path, shape[1], "last")
    if output.ndim == 3:
        prefix = getattr(body, "num_prefix_tokens", shape[1] - isqrt(shape[1]) ** 2)
        side = isqrt(max(0, shape[1] - prefix))
        if prefix <= _MOST_PREFIX and side and side**2 + prefix == shape[1]:
            return Layer(path, side, "tokens", prefix)
    return None


def _normalised(model: Classifier, pixels: Pixels) -> Tensor:
    """What the model's body is given, (1, 3, px, px); the mean colour is 0."""
    if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1]:
        raise ImageError(f"A heat map is made of square pixels (px, px, 3), not {pixels.shape}.")
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].to(model.mean)
    return (image - model.mean) / model.std


def _from_0_to_1(heat: Tensor) -> Heat:
    values: Heat = heat.detach().float().cpu().numpy()
    hottest = float(values.max())
    return values / np.float32(hottest) if hottest > 0 else values
