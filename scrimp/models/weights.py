"""Initial weights: the published ones, from their library's cache or hub, or a file's."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from scrimp.errors import NotFound, WeightsError
from scrimp.models.table import MODELS, ModelCard

if TYPE_CHECKING:
    from scrimp.models.classifier import Classifier

_CONNECT_SECONDS = 5
_SILENT_SECONDS = 30  # after which a download is taken to have stalled
_NAMES_TOLD = 5
_BESIDE_BODY = ("mean", "std", "target_mean", "target_sd")  # in a file of Scrimp's own
_WAYS_OUT = "Give a file with --weights FILE, or start from random numbers with --from-scratch."


def weights_at_hand(name: str) -> bool:
    """Whether the published weights of a model of the table lie in the local cache; asks no network."""
    card = MODELS.get(name)
    return card is not None and card.weights is not None and cached_file(card) is not None


def cached_file(card: ModelCard) -> Path | None:
    """The published file of a model in the cache of its library, or None if it is not there."""
    if card.source == "timm":
        return _in_hub_cache(str(card.weights))
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(card.weights)
    return file if file.is_file() else None


def torchvision_state(card: ModelCard) -> Mapping[str, Tensor]:
    """The published state of a torchvision model, fetched into its cache if not there.

    Raises `WeightsError`, also where the server falls silent for half a minute.
    """
    from torchvision.models import get_model_weights

    entry: Any = get_model_weights(card.name).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        if cached_file(card) is None:
            _check_reachable(entry.url)
        with _limited_silence():
            state: Mapping[str, Tensor] = entry.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # refused connections, damaged files and wrong hashes share no type
        raise _unavailable(card.name, entry.url, folder / str(card.weights), error) from error
    return state


def timm_file(name: str, published: str) -> Path:
    """The published file "OWNER/REPOSITORY/FILE", from the Hugging Face cache or fetched into it.

    Raises `WeightsError` after a few seconds where the hub itself would go on trying for most of a minute.
    """
    from huggingface_hub import constants, hf_hub_download

    held = _in_hub_cache(published)
    if held is not None:
        return held
    repository, _, filename = published.rpartition("/")
    held_in = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    url = f"{constants.ENDPOINT}/{repository}/resolve/main/{filename}"
    try:
        _check_reachable(constants.ENDPOINT)
        return Path(hf_hub_download(repository, filename))
    except Exception as error:  # the hub's client raises its own errors and those of its HTTP library
        raise _unavailable(name, url, held_in, error) from error


def _in_hub_cache(published: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, _, filename = published.rpartition("/")
    found = try_to_load_from_cache(repository, filename)
    return Path(found) if isinstance(found, str) else None


@contextmanager
def _limited_silence() -> Iterator[None]:
    """torch.hub waits for its server for ever, and takes no limit; the hub of Hugging Face has its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check_reachable(url: str) -> None:
    """Raise at once where the libraries would wait for long, or announce a download that cannot start."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=_CONNECT_SECONDS).close()
    except HTTPError as answer:  # whatever it says, somebody answered: the download decides
        answer.close()


def _unavailable(name: str, url: str, looked_in: Path, error: Exception) -> WeightsError:
    reason = (str(getattr(error, "reason", error)).strip() or type(error).__name__).splitlines()[0]
    if looked_in.is_file():
        return WeightsError(
            f"The ImageNet weights of {name} in '{looked_in}' cannot be read: {reason}. "
            f"Delete it to have it fetched again. Or: {_WAYS_OUT[0].lower()}{_WAYS_OUT[1:]}"
        )
    return WeightsError(
        f"No ImageNet weights for {name}: wanted {url}, looked for '{looked_in}' first; "
        f"fetching failed: {reason}. {_WAYS_OUT}"
    )


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a PyTorch state dict, by name, wrappers and prefixes taken off.

    Raises `NotFound` if there is no such file, `WeightsError` if it holds anything but tensors: loading that
    could run code hidden in it.
    """
    if not file.is_file():
        raise NotFound(f"No weights file at '{file}'.")
    try:
        content = _load_tensors(file)
    except Exception as error:  # a damaged or hostile file fails in as many ways as there are bytes
        reason = str(error).strip().splitlines()[:1]
        raise WeightsError(
            f"'{file}' was refused: it is not a plain file of tensors, and loading anything else could "
            f"run code hidden in it ({type(error).__name__}: {''.join(reason)[:120]}). "
            "Save the model's state_dict(), best as .safetensors."
        ) from None
    state = _tensors_in(content)
    if not state:
        raise WeightsError(f"'{file}' holds no named tensors: give a file of the model's state_dict().")
    for prefix in ("module.", "_orig_mod.", "body."):
        state = _without_prefix(state, prefix)
    return state


def _load_tensors(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _tensors_in(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for wrapper in ("state_dict", "model"):
        if isinstance(content.get(wrapper), Mapping):
            return _tensors_in(content[wrapper])
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Takes a prefix off where all names bear it; normalisation and units of a Scrimp file lie beside its body."""
    if not all(name.startswith(prefix) or name in _BESIDE_BODY for name in state):
        return state
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def fit_weights(classifier: Classifier, state: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Copy into a classifier what fits of a state with the body's names, and say by name what does not.

    Normalisation comes along. The units of a model that gives a number do not: training sets those of its own images.
    Raises `WeightsError` if not one tensor before the head fits.
    """
    wanted = classifier.body.state_dict()
    fits = {name: tensor for name, tensor in state.items() if _same_shape(tensor, wanted.get(name))}
    head = {name for name in wanted if name.startswith(f"{classifier.head_path}.")}
    if not fits.keys() - head:
        raise WeightsError(
            f"{source} does not fit {classifier.name}: of its {len(state)} tensors ({_some(list(state))}) "
            f"none has the name and shape of one of the model's {len(wanted)} ({_some(list(wanted))})."
        )
    whole = {f"body.{name}": tensor for name, tensor in fits.items()}
    whole |= {name: state[name] for name in ("mean", "std") if _same_shape(state.get(name), classifier.mean)}
    classifier.load_state_dict(whole, strict=False)
    return _notes(wanted, state, fits.keys(), head)


def _same_shape(tensor: Tensor | None, wanted: Tensor | None) -> bool:
    return tensor is not None and wanted is not None and tensor.shape == wanted.shape


def _notes(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], fits: Collection[str], head: Collection[str]
) -> tuple[str, ...]:
    # BatchNorm's counter of batches is left out: nothing here uses it, and old files do not have it.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    statistics = [name for name in missing if _is_statistic(name) and _weight_beside(name) in fits]
    unknown = [name for name in state if name not in wanted and name not in _BESIDE_BODY]
    reshaped = {
        name: f"{name} (file {tuple(state[name].shape)}, model {tuple(wanted[name].shape)})"
        for name in wanted
        if name in state and name not in fits
    }
    told = (
        ("head of another size, starts anew", [text for name, text in reshaped.items() if name in head]),
        ("of another shape, not loaded", [text for name, text in reshaped.items() if name not in head]),
        ("missing from the file, left as initialised", [name for name in missing if name not in statistics]),
        ("BatchNorm statistics missing, predictions are off until training renews them", statistics),
        ("in the file but not in the model", unknown),
    )
    return tuple(f"{what}: {_some(names)}" for what, names in told if names)


def _is_statistic(name: str) -> bool:
    return name.endswith((".running_mean", ".running_var"))


def _weight_beside(statistic: str) -> str:
    return f"{statistic.rpartition('.')[0]}.weight"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return ", ".join(names[:_NAMES_TOLD]) + more
