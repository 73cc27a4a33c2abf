"""Models: the table, the exact sizes, and what happens to every kind of weights file."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2, squeezenet1_0

from scrimp.errors import NotFound, SettingError, UnknownName, WeightsError
from scrimp.models import MODELS, Classifier, Shape, build, list_models, macs, size_mb, weights_at_hand
from scrimp.models import weights as weights_module
from scrimp.models.own import smallest_px
from scrimp.models.saved import load_model, save_model
from scrimp.training import Recipe

DOCS = Path(__file__).parents[1] / "docs" / "models.md"


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def scratch(name: str = "ultralight", classes: int = 3, seed: int = 0) -> Classifier:
    return build(name, classes=classes, image_px=32, pretrained=False, seed=seed)


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


# The table


def test_listing_does_not_load_pytorch() -> None:
    code = "import sys, scrimp.models.table; from scrimp.models import MODELS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_list_starts_with_the_lightest() -> None:
    sizes = [card.parameters for card in list_models()]
    assert sizes == sorted(sizes)
    assert len(sizes) == len(MODELS)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mnasnet0_5", 2_218_512),
        ("mobilenet_v3_large", 5_483_032),
        ("mobilenet_v3_small", 2_542_856),
        ("shufflenet_v2_x0_5", 1_366_792),
        ("shufflenet_v2_x1_0", 2_278_604),
    ],
)
def test_published_parameter_counts(name: str, published: int) -> None:
    assert MODELS[name].parameters == published


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [("tiny_vit_5m", 120, 5_110_284), ("vgg8", 10, 550_570), ("simple_cnn", 10, 29_642)],
)
def test_parameter_counts_with_other_heads(name: str, classes: int, count: int) -> None:
    assert parameters(build(name, classes=classes, pretrained=False)) == count


def test_the_shape_of_ultralight_can_be_chosen_and_is_kept(tmp_path: Path) -> None:
    """Counted by hand: k * k * in * out for a convolution, two numbers a channel for its norm or one for its bias."""

    def by_hand(few: int, some: int, many: int, depth: int, norm: int, classes: int = 10) -> int:
        stem = 27 * few + norm * few
        second = 9 * few * some + norm * some
        plus = 9 * some * some + norm * some
        third = some * many + norm * many
        separable = 9 * many + norm * many + many * many + norm * many
        return stem + second + depth * plus + third + depth * separable + (many + 1) * classes

    wanted = {
        Shape(): by_hand(24, 64, 128, 1, 2),
        Shape(width=0.5): by_hand(16, 32, 64, 1, 2),  # 12 is rounded to 16, the even one of 8 and 16 times 1.5
        Shape(width=2, depth=3): by_hand(48, 128, 256, 3, 2),
        Shape(depth=2, batch_norm=False): by_hand(24, 64, 128, 2, 1),
    }
    for shape, count in wanted.items():
        model = build("ultralight", classes=10, image_px=32, shape=shape)
        assert parameters(model) == count
        assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == shape.batch_norm
        pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
        spread = model.eval().features(pixels).std().item()
        assert shape.batch_norm or 0.1 < spread < 2, "signals keep their scale without norms"
        save_model(model, tmp_path, classes=[str(n) for n in range(10)], image_px=32)
        assert same(load_model(tmp_path).model, model)
    with pytest.raises(SettingError, match=r"width=2.0, depth=3: the shape of vgg8 is fixed; .*ultralight"):
        build("vgg8", classes=10, image_px=32, shape=Shape(width=2.0, depth=3))
    with pytest.raises(SettingError, match="batch_norm=False: the shape of resnet18 is fixed"):
        Recipe(model="resnet18", batch_norm=False)


def test_ultralight_is_light_at_every_size() -> None:
    models = [build("ultralight", classes=10, image_px=px) for px in (32, 64, 128, 224)]
    assert {parameters(model) for model in models} == {parameters(models[0])}
    assert parameters(models[0]) == 79_426 < 100_000
    work = [macs(model, px) for model, px in zip(models, (32, 64, 128, 224), strict=True)]
    assert work[2] < 2 * work[0], "a 128-pixel photo should cost about what a 32-pixel one does"
    assert [macs(models[0], 128) / work[0]] == pytest.approx([16], rel=0.02)


@pytest.mark.parametrize("name", ["ultralight", "fast_cnn"])
@pytest.mark.parametrize("px", [48, 49, 96, 97, 224])
def test_the_smallest_side_of_a_build_for_large_images_goes_through_and_the_next_does_not(name: str, px: int) -> None:
    """The next that training makes of them: a multiple of 4."""
    model, least = build(name, classes=3, image_px=px), smallest_px(MODELS[name], px)
    assert model(torch.zeros(2, 3, least, least)).shape == (2, 3)
    with pytest.raises(RuntimeError):
        model.eval()(torch.zeros(1, 3, (least - 1) // 4 * 4, (least - 1) // 4 * 4))


def test_docs_show_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d.]+) \| (\d+|) \| (\d+) \|", DOCS.read_text(), re.M)
    told = [(name, int(count.replace(",", "")), mb, px, int(least)) for name, count, mb, px, least in rows]
    assert told == [
        (card.name, card.parameters, f"{card.size_mb:.2f}", str(card.weights_px or ""), card.min_px)
        for card in MODELS.values()
    ]


# Counting


def test_macs_of_a_convolution_and_a_dense_layer() -> None:
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Classifier(body.append(nn.Linear(8, 5)), name="two layers", head="3").train()
    assert macs(model, 10) == 5 * 5 * 8 * 27 + 8 * 5
    assert model.training
    assert all(module.training for module in model.modules())


def test_size_counts_every_tensor() -> None:
    body = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5))
    model = Classifier(body, name="small", head="2")
    # weight, bias, mean, variance; the batch counter of 8 bytes; the dense layer; the normalisation
    assert size_mb(model) == pytest.approx((4 * 3 * 4 + 8 + 65 * 4 + 6 * 4) / 1e6)


# Names and settings


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'mobilenet_v3_small'") as caught:
        build("mobilnet_v3_small", classes=2)
    assert f"all {len(MODELS)}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("timm:resnet10", "resnet10t"),
        ("timm:lcnet_075.ra2_in1", "lcnet_075.ra2_in1k"),
    ],
)
def test_unknown_name_in_timm_offers_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match="in timm called") as caught:
        build(name, classes=2)
    assert f"Did you mean '{nearest}'" in str(caught.value)


def test_any_model_of_timm() -> None:
    model = build("timm:lcnet_035", classes=4, image_px=48, pretrained=True)
    assert model.start == "from scratch: no weights of timm:lcnet_035 are published"
    assert model.head_path == "classifier"
    assert model.eval()(torch.zeros(1, 3, 48, 48)).shape == (1, 4)


def test_a_fixed_size_is_the_one_asked_for() -> None:
    model = build("timm:vit_tiny_patch16_224", classes=4, image_px=64, pretrained=False).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    assert model.mean.flatten().tolist() == pytest.approx([127.5] * 3), "its own normalisation, not ImageNet's"


def test_two_heads_are_refused() -> None:
    with pytest.raises(SettingError, match="no single final layer"):
        build("timm:deit_tiny_distilled_patch16_224", classes=4, pretrained=False)


def test_no_classes_are_refused() -> None:
    with pytest.raises(SettingError, match="classes=0"):
        build("simple_cnn", classes=0)


# Seeds


def test_another_seed_gives_other_weights() -> None:
    assert not same(scratch(seed=0), scratch(seed=1))


# Files of weights


def test_own_file_loads_whole(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    trained = scratch(seed=5)
    trained.mean += 1
    save_file(trained.state_dict(), file)
    model = build("ultralight", classes=3, image_px=32, weights=file)
    assert same(model, trained)
    assert model.load_notes == ()
    assert model.start == f"weights {file}"


def test_own_file_of_a_model_that_gives_a_number_loads_without_its_units(tmp_path: Path) -> None:
    trained = scratch("simple_cnn", classes=1, seed=5)
    trained.set_units(40.0, 7.0)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    model = build("simple_cnn", classes=1, weights=tmp_path / "model.safetensors")
    assert same(model.body, trained.body)
    assert model.load_notes == ()
    assert model.target_mean is model.target_sd is None


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "body.", "module.body.", "_orig_mod."])
def test_wrappers_and_prefixes_come_off(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    trained = scratch("simple_cnn", seed=5)
    state: dict[str, Any] = {f"{prefix}{name}": value for name, value in trained.body.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "last.pth")
    model = build("simple_cnn", classes=3, weights=tmp_path / "last.pth")
    assert same(model, trained)
    assert model.load_notes == ()


def test_head_of_another_size_starts_anew(tmp_path: Path) -> None:
    save_file(scratch("simple_cnn", classes=5, seed=5).state_dict(), tmp_path / "five.safetensors")
    model = build("simple_cnn", classes=3, weights=tmp_path / "five.safetensors", seed=1)
    assert model.load_notes == (
        "head of another size, starts anew: head.weight (file (5, 1024), model (3, 1024)), "
        "head.bias (file (5,), model (3,))",
    )
    assert torch.equal(model.head.weight, scratch("simple_cnn", seed=1).head.weight)
    assert torch.equal(model.body.layers[0].weight, scratch("simple_cnn", seed=5).body.layers[0].weight)


def test_missing_and_unexpected_tensors_are_told_by_name(tmp_path: Path) -> None:
    state = scratch(seed=5).body.state_dict()
    for name in [name for name in state if name.startswith("layers.7")]:
        state[name.replace("layers.7", "tail")] = state.pop(name)
    torch.save(state, tmp_path / "renamed.pth")
    missing, unexpected = build("ultralight", classes=3, weights=tmp_path / "renamed.pth").load_notes
    assert missing.startswith("missing from the file, left as initialised: layers.7.inner.0.0.weight, ")
    assert missing.endswith(" and 5 more")
    assert unexpected.startswith("in the file but not in the model: tail.inner.0.0.weight, ")


def test_missing_batchnorm_statistics_are_told(tmp_path: Path) -> None:
    state = {name: value for name, value in scratch().state_dict().items() if "running" not in name}
    save_file(state, tmp_path / "bare.safetensors")
    (note,) = build("ultralight", classes=3, weights=tmp_path / "bare.safetensors").load_notes
    assert note.startswith("BatchNorm statistics missing, predictions are off until training renews them: ")


def test_old_files_without_batch_counters_are_whole(tmp_path: Path) -> None:
    state = {name: value for name, value in scratch().state_dict().items() if "tracked" not in name}
    save_file(state, tmp_path / "old.safetensors")
    assert build("ultralight", classes=3, weights=tmp_path / "old.safetensors").load_notes == ()


def test_other_shapes_are_told(tmp_path: Path) -> None:
    state = scratch("simple_cnn").state_dict()
    state["body.layers.3.weight"] = torch.zeros(64, 16, 3, 3)
    save_file(state, tmp_path / "narrow.safetensors")
    (note,) = build("simple_cnn", classes=3, weights=tmp_path / "narrow.safetensors").load_notes
    assert note == ("of another shape, not loaded: layers.3.weight (file (64, 16, 3, 3), model (64, 32, 3, 3))")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit simple_cnn: of its 1 tensors \(a.weight\) none"):
        build("simple_cnn", classes=3, weights=tmp_path / "a.safetensors")


class Hostile:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    torch.save({"state_dict": Hostile(mark)}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile(mark)))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(WeightsError, match=f"{name}' was refused: .* run code"):
            build("simple_cnn", classes=3, weights=tmp_path / name)
    assert not mark.exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert mark.exists(), "the file of this test is harmless, so it tests nothing"


@pytest.mark.parametrize("name", ["page.pth", "page.safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>404</html>")
    with pytest.raises(WeightsError, match="was refused"):
        build("simple_cnn", classes=3, weights=tmp_path / name)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "log.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        build("simple_cnn", classes=3, weights=tmp_path / "log.pth")


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"No weights file at '.*nowhere.pth'"):
        build("simple_cnn", classes=3, weights=tmp_path / "nowhere.pth")


# A saved model


def test_weights_and_class_names_that_were_not_saved_together_are_refused(tmp_path: Path) -> None:
    older, newer = tmp_path / "older", tmp_path / "newer"
    save_model(scratch(seed=1), older, classes=["blue", "green", "red"], image_px=32)
    save_model(scratch(seed=2), newer, classes=["cat", "dog", "owl"], image_px=32)
    (newer / "model.safetensors").replace(older / "model.safetensors")  # as where a second saving is killed half way
    with pytest.raises(WeightsError, match=rf"'{older}/model.safetensors' is not what .* try again; .* train it again"):
        load_model(older)
    facts = json.loads((older / "model.json").read_text())
    del facts["weights_sha256"]
    (older / "model.json").write_text(json.dumps(facts))
    assert same(load_model(older).model, scratch(seed=2)), "older files tell of no weights"


# Published weights


def cut_off(*_: Any, **__: Any) -> None:
    raise URLError("Network is unreachable")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mobilenet_v3_small", "mobilenet_v3_small-047dcff4.pth"),
        ("tiny_vit_5m", "timm/tiny_vit_5m_224.dist_in22k_ft_in1k/resolve/main/model.safetensors"),
        ("timm:lcnet_075", "timm/lcnet_075.ra2_in1k/resolve/main/model.safetensors"),
    ],
)
def test_without_a_network_both_ways_out_are_told(
    name: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights_module, "urlopen", cut_off)
    monkeypatch.setattr(weights_module, "_in_hub_cache", lambda _: None)
    began = time.perf_counter()
    with pytest.raises(WeightsError, match="Network is unreachable") as caught:
        build(name, classes=2)
    assert time.perf_counter() - began < 10
    for part in (wanted, str(tmp_path), "--weights FILE", "--from-scratch"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_download_that_breaks_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights_module, "_check_reachable", lambda _: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", cut_off)
    with pytest.raises(WeightsError, match="Network is unreachable"):
        build("resnet18", classes=2)


def test_a_download_that_stalls_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            given_up.wait(10)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights_module, "_check_reachable", lambda _: None)
    monkeypatch.setattr(weights_module, "_SILENT_SECONDS", 0.5)
    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url, fetch = f"http://127.0.0.1:{web.server_port}/resnet18.pth", torch.hub.load_state_dict_from_url
        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda _, **more: fetch(url, **more))
        with pytest.raises(WeightsError, match="fetching failed: timed out"):
            build("resnet18", classes=2)
        given_up.set()
        web.shutdown()
    assert socket.getdefaulttimeout() is None


def test_a_damaged_download_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    file.write_text("../../elsewhere.pth")
    with pytest.raises(WeightsError, match=rf"'{file}' cannot be read: .* Delete it to have it fetched again"):
        build("resnet18", classes=2)


def test_published_weights_leave_the_head_to_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = scratch("mobilenet_v2", classes=1000, seed=9)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not weights_at_hand("mobilenet_v2")
    torch.save(published.body.state_dict(), tmp_path / "hub" / "checkpoints" / str(MODELS["mobilenet_v2"].weights))
    assert weights_at_hand("mobilenet_v2")
    model = build("mobilenet_v2", classes=4, seed=1)
    assert model.start == "ImageNet weights mobilenet_v2-7ebf99e0.pth"
    assert model.load_notes == ()
    assert torch.equal(model.head.weight, scratch("mobilenet_v2", classes=4, seed=1).head.weight)
    assert torch.equal(model.backbone_parameters()[0], published.backbone_parameters()[0])
    assert same(build("mobilenet_v2", classes=1000), published), "the published head fits, and is kept"


def test_weights_of_timm_come_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = scratch("lcnet_100", classes=1000, seed=9)
    save_file(published.body.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(weights_module, "_in_hub_cache", lambda _: tmp_path / "model.safetensors")
    monkeypatch.setattr(weights_module, "urlopen", cut_off)
    assert weights_at_hand("lcnet_100")
    model = build("lcnet_100", classes=4, seed=1)
    assert model.start == "ImageNet weights timm/lcnet_100.ra2_in1k/model.safetensors"
    assert torch.equal(model.backbone_parameters()[0], published.backbone_parameters()[0])
    assert model.head.weight.shape == (4, 1280)


def test_damaged_weights_of_timm_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = scratch("lcnet_100", classes=1000)
    save_file(published.body.state_dict(), tmp_path / "content")
    (tmp_path / "content").write_bytes((tmp_path / "content").read_bytes()[:1000])
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "content")
    monkeypatch.setattr(weights_module, "_in_hub_cache", lambda _: tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=rf"'{tmp_path}/content' .*Delete it to have it fetched again"):
        build("lcnet_100", classes=4)


def test_what_timm_takes_for_another_format_is_loaded_as_the_file_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    name = "vit_tiny_patch16_224"
    assert timm.models.get_pretrained_cfg(name).custom_load, "or this tests nothing"
    published = build(f"timm:{name}", classes=1000, pretrained=False, seed=9)
    save_file(published.body.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(weights_module, "_in_hub_cache", lambda _: tmp_path / "model.safetensors")
    overlays: list[Any] = []
    real = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **more: overlays.append(more["pretrained_cfg_overlay"]) or real(*a, **more)
    )
    assert torch.equal(build(f"timm:{name}", classes=4).backbone_parameters()[0], published.backbone_parameters()[0])
    assert overlays[0]["custom_load"] is False, "of itself from timm 1.0.31 on"


def test_the_table_names_the_published_files() -> None:
    from timm.models import get_pretrained_cfg
    from torchvision.models import get_model_weights

    for card in MODELS.values():
        if card.source == "torchvision":
            assert get_model_weights(card.name).DEFAULT.url.rpartition("/")[2] == card.weights
        elif card.source == "timm":
            config = get_pretrained_cfg(str(card.weights).split("/")[1])
            assert (f"{config.hf_hub_id}/model.safetensors", config.input_size[1]) == (card.weights, card.weights_px)
            assert config.classifier == card.head


def test_models_without_published_weights_say_so() -> None:
    assert build("vgg8", classes=3).start == "from scratch: no weights of vgg8 are published"
    assert build("vgg8", classes=3, pretrained=False).start == "from scratch"
    assert not weights_at_hand("vgg8")
    assert not weights_at_hand("timm:lcnet_075")


@pytest.fixture
def real_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real weights, two of them also where torchvision looks for its downloads."""
    folder = Path(os.environ.get("SCRIMP_DATA", "")) / "weights"
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("mobilenet_v2", "squeezenet1_0"):
        file = folder / f"{name}.pth"
        if "SCRIMP_DATA" not in os.environ or not file.is_file():
            pytest.skip(f"SCRIMP_DATA names no folder with weights/{name}.pth")
        (checkpoints / str(MODELS[name].weights)).symlink_to(file.resolve())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights_module, "urlopen", cut_off)
    return folder


@pytest.mark.realdata
@pytest.mark.parametrize("maker", [mobilenet_v2, squeezenet1_0])
def test_real_weights_score_as_in_torchvision(maker: Any, real_weights: Path) -> None:
    name = maker.__name__
    assert weights_at_hand(name)
    pixels = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0)).byte()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    theirs = maker(weights="DEFAULT").eval()
    with torch.no_grad():
        expected = theirs((pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        torch.testing.assert_close(build(name, classes=1000).eval()(pixels), expected, rtol=1e-3, atol=1e-3)
    assert build(name, classes=10).load_notes == ()


@pytest.mark.realdata
def test_a_real_partial_file_is_told_by_name(real_weights: Path) -> None:
    file = real_weights / "shufflenet_v2_x0_5_backbone.pth"
    (note,) = build("shufflenet_v2_x0_5", classes=10, weights=file).load_notes
    assert note.startswith("missing from the file, left as initialised: conv5.0.weight, ")
    assert "and 2 more" in note
