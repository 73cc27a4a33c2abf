"""What the documents say is so: their code runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image

import scrimp
import scrimp.cost
from scrimp import cli
from scrimp.models import MODELS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
GENERATED = ROOT / "docs" / "commands.md"
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
SERVES = "scrimp.serve("
COMMAND: Any = typer.main.get_command(cli.app)


class Block(NamedTuple):
    """A fenced block: what stands behind the opening fence, its text, and the line it begins at."""

    fence: str
    text: str
    line: int


def blocks_of(markdown: str) -> list[Block]:
    """Every fenced block, in order; a fence closes with one at least as long, indented fences are dedented."""
    blocks: list[Block] = []
    opened: tuple[str, str, str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(markdown.splitlines(), 1):
        mark = re.match(r"( *)(`{3,}|~{3,})(.*)$", line)
        if opened is None:
            if mark:
                opened, inside = (mark[1], mark[2], mark[3].strip(), number + 1), []
        elif mark and mark[2].startswith(opened[1]) and not mark[3].strip():
            blocks.append(Block(opened[2], "\n".join(inside) + "\n", opened[3]))
            opened = None
        else:
            inside.append(line.removeprefix(opened[0]))
    assert opened is None, f"the fence of line {opened and opened[3] - 1} is never closed"
    return blocks


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_in(page: Path) -> list[Block]:
    return blocks_of(page.read_text(encoding="utf-8"))


def commands_in(text: str) -> list[list[str]]:
    """The arguments of every `$ scrimp` line; a backslash at the end of a line continues it."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    words = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
    return [line[1:] for line in words if line and line[0] == "scrimp"]


# ---------------------------------------------------------------- where the code runs


def make_photos(folder: Path) -> None:
    """3 classes of 96 JPEGs of about 80 pixels: each its own colour, with its own texture."""
    random = np.random.default_rng(0)
    for number, (name, colour) in enumerate(
        {"clay": (190, 90, 50), "moss": (70, 140, 60), "slate": (70, 90, 130)}.items()
    ):
        (folder / name).mkdir(parents=True)
        for index in range(96):
            height, width = random.integers(64, 97, 2)
            y, x = np.mgrid[:height, :width]
            waves = (np.sin(y / 3), np.sin(x / 3), np.sin((x + y) / 3))[number]
            pixels = np.array(colour) + 40 * waves[..., None] + random.normal(0, 12, (height, width, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{index:02d}.jpg")


def make_published_weights(folder: Path, code: str) -> None:
    """For each torchvision model that the code names, random numbers under the name of its published file."""
    import torch
    from torchvision.models import get_model

    for card in MODELS.values():
        if card.source == "torchvision" and card.weights and re.search(rf"\b{card.name}\b", code):
            file = folder / "hub" / "checkpoints" / card.weights
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(0)
            torch.save(get_model(card.name, weights=None).state_dict(), file)


class CountingSensor:
    """The real one takes seconds to start."""

    source = "a counter"
    looks = 0

    def read_wh(self) -> float | None:
        self.looks += 1
        return float(self.looks)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a page's code runs: it holds `photos/`."""
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / ".torch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # on a busy machine, threads of tiny models wait for each other
    return tmp_path


@pytest.fixture
def earlier_runs(desk: Path, quick: None) -> None:
    """Two finished runs below `runs/photos`, and the better one as `best`: what a reader has after a first sweep."""
    recipes = [{"model": name, "pretrained": False, "epochs": 2} for name in ("ultralight", "simple_cnn")]
    tables = {"images": {"source": "photos/"}, "preparation": {"image_px": 16}}
    runs = scrimp.sweep([scrimp.Plan(**tables, recipe=recipe) for recipe in recipes], desk / "runs" / "photos")
    (desk / "runs" / "photos" / "best").symlink_to(str(scrimp.compare(runs).best.folder), target_is_directory=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What runs in this process has one thread, an energy sensor that starts at once, and a budget from now on."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    scrimp.cost._starting_sensor.cache_clear()
    monkeypatch.setattr(scrimp.cost, "CodeCarbonSensor", CountingSensor)
    monkeypatch.setattr(cli.running, "process_start", time.perf_counter)
    yield
    scrimp.cost._starting_sensor.cache_clear()
    torch.set_num_threads(threads)


# ---------------------------------------------------------------- code


def runs_here(block: Block) -> bool:
    return (block.fence == "python" and SERVES not in block.text) or block.fence == "console run"


@pytest.mark.usefixtures("quick", "earlier_runs")
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs_here, blocks_in(page)))], ids=page_name)
def test_the_code_of_a_page_runs(
    page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From top to bottom in one namespace, as a reader would type it; commands marked `run` in between."""
    blocks = [block for block in blocks_in(page) if runs_here(block)]
    make_published_weights(desk / ".torch", "".join(block.text for block in blocks))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if block.fence == "python":
            # Blank lines in front, so that a traceback shows the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
            continue
        for arguments in commands_in(block.text):
            monkeypatch.setattr(sys, "argv", ["scrimp", *arguments])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert not ended.value.code, f"{page_name(page)}: scrimp {shlex.join(arguments)}: {capsys.readouterr().err}"


SERVING = [
    pytest.param(page, block, id=f"{page_name(page)}:{block.line}")
    for page in PAGES
    for block in blocks_in(page)
    if block.fence == "python" and SERVES in block.text
]


@pytest.mark.server
@pytest.mark.skipif(find_spec("gradio") is None, reason="needs the app extra")
@pytest.mark.parametrize(("page", "block"), SERVING)
def test_code_that_serves_runs_word_for_word(page: Path, block: Block, desk: Path) -> None:
    """As a script of its own, with what stands before it on its page, until Ctrl-C; then it ends well."""
    serves_and_ends(script_for(page, block), desk)


def script_for(page: Path, block: Block) -> str:
    before = [b.text for b in blocks_in(page) if b.fence == "python" and b.line < block.line and SERVES not in b.text]
    return "\n".join([*before, block.text])


def serves_and_ends(script: str, desk: Path) -> None:
    """Runs a script that ends with `scrimp.serve`: the page answers, an image gets an answer, SIGINT ends it with 0."""
    asked = re.search(r"port=(\d+)", script)
    port = int(asked[1]) if asked else 7860
    if is_taken(port):
        pytest.skip(f"port {port} is taken")
    make_published_weights(desk / ".torch", script)
    (desk / "script.py").write_text(script, encoding="utf-8")
    quiet = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost"}
    with (desk / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "script.py"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | quiet
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/", process, desk / "log")
            page = fetch(f"http://127.0.0.1:{port}/").read().decode()
            assert "gradio" in page
            assert fetch(f"http://127.0.0.1:{port}/config").status == 200
            answer = fetch(f"http://127.0.0.1:{port}/predict", some_image())
            assert len(json.load(answer)["predictions"]) == 1
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=20)
        finally:
            process.kill()
            process.wait()
    shown = (desk / "log").read_text()
    assert code == 0, shown
    assert "Traceback" not in shown


def some_image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (190, 90, 50)).save(buffer, "PNG")
    return buffer.getvalue()


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fetch(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "image/png"} if body else {})
    # No proxy of the environment: it is this machine that is asked.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: int = 240) -> None:
    for _ in range(seconds * 4):
        assert process.poll() is None, f"it ended with {process.returncode}:\n{log.read_text()}"
        try:
            with fetch(url):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail(f"{url} did not answer within {seconds} s:\n{log.read_text()}")


# ---------------------------------------------------------------- commands


def console_lines() -> list[Any]:
    return [
        pytest.param(arguments, id=f"{page_name(page)}:{block.line}:{' '.join(arguments[:1])}")
        for page in LINKED
        for block in blocks_in(page)
        if block.fence.split()[:1] == ["console"]
        for arguments in commands_in(block.text)
    ]


def check_command_line(arguments: list[str]) -> None:
    """Parses a command line as the program would: command, options and the types of their values; nothing is run."""
    if not arguments or arguments[0].startswith("-"):
        command, name, rest = COMMAND, "scrimp", arguments or ["--help"]
    else:
        assert arguments[0] in COMMAND.commands, f"there is no command 'scrimp {arguments[0]}'"
        command, name, rest = COMMAND.commands[arguments[0]], f"scrimp {arguments[0]}", arguments[1:]
    try:
        command.make_context(name, list(rest))
    except typer.Exit:
        return  # --help
    except Exception as error:
        told = error.format_message() if hasattr(error, "format_message") else repr(error)
        raise AssertionError(f"scrimp {shlex.join(arguments)}: {told}") from error


@pytest.mark.parametrize("arguments", console_lines())
def test_commands_of_the_pages_exist(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    check_command_line(arguments)


def test_wrong_command_lines_are_seen() -> None:
    check_command_line(["fit", "photos/", "--budget", "10min"])
    for wrong in (
        ["fti", "photos/"],
        ["fit", "photos/", "--bugdet", "10min"],
        ["train", "x", "--epochs", "ten"],
        ["fit"],
    ):
        with pytest.raises(AssertionError):
            check_command_line(wrong)


def test_the_page_of_commands_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("write_command_docs", ROOT / "scripts" / "write_command_docs.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert GENERATED.read_text(encoding="utf-8") == script.page(), "run: make docs-commands"


# ---------------------------------------------------------------- nothing unsaid, nothing dangling


def code_of_all_pages() -> str:
    """All that is set in code, in blocks or in the text; the generated page does not count."""
    parts: list[str] = []
    for page in PAGES:
        if page == GENERATED:
            continue
        text = page.read_text(encoding="utf-8")
        parts += [block.text for block in blocks_of(text)]
        parts += re.findall(r"`([^`\n]+)`", text)
    return "\n".join(parts)


@pytest.mark.parametrize("name", scrimp.__all__)
def test_every_public_name_is_mentioned(name: str) -> None:
    mentioned = re.search(rf"(?<![\w-]){name}(?![\w-])", code_of_all_pages()) is not None
    assert mentioned, f"no page tells of scrimp.{name}"


@pytest.mark.parametrize("name", sorted(COMMAND.commands))
def test_every_command_is_mentioned(name: str) -> None:
    mentioned = re.search(rf"\bscrimp {name}\b", code_of_all_pages()) is not None
    assert mentioned, f"no page tells of 'scrimp {name}'"


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^( *)(`{3,}|~{3,}).*?^\1\2`*$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ +(.+?)\s*$", text, flags=re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)).lower() for title in titles]
    return {title.replace(" ", "-") for title in plain}


def local_links(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    for block in blocks_of(text):
        text = text.replace(block.text, "\n")
    text = re.sub(r"`[^`\n]*`", "", text)
    found = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", LINKED, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in local_links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page_name(page)}: nothing at {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{page_name(page)}: no heading for {link}"


def test_blocks_are_cut_out_whole() -> None:
    text = "a\n```python\nx = 1\n\ny = 2\n```\n- b\n  ```console run\n  $ scrimp models --json  # all\n  ```\n"
    text += "````md\n```\n````\n"
    first, second, third = blocks_of(text)
    assert first == Block("python", "x = 1\n\ny = 2\n", 3)
    assert (second.fence, commands_in(second.text)) == ("console run", [["models", "--json"]])
    assert third.text == "```\n"
    assert commands_in("$ scrimp fit photos/ \\\n    --budget '$0.50'\n$ pip install x\nscrimp no\n") == [
        ["fit", "photos/", "--budget", "$0.50"]
    ]
