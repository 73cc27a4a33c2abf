"""Dockerfile and compose.yaml without Docker: they parse, what they copy is there, what they run exists."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from scrimp import cli

ROOT = Path(__file__).parents[1]
KNOWN = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "CMD"}


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and what follows them, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(found) == {"services", "volumes"}
    (one,) = found["services"].values()
    assert isinstance(one, dict)
    return one


def last(steps: list[tuple[str, str]], instruction: str) -> str:
    return [rest for name, rest in steps if name == instruction][-1]


def check_command(words: list[str]) -> None:
    """That `scrimp` would take this command line."""
    assert words[0] == "scrimp"
    command: Any = typer.main.get_command(cli.app)
    command.commands[words[1]].make_context(f"scrimp {words[1]}", words[2:])


def test_the_dockerfile_is_made_of_instructions(steps: list[tuple[str, str]]) -> None:
    assert {name for name, _ in steps} <= KNOWN
    assert steps[0][0] == "FROM"
    assert [rest.split()[0] for name, rest in steps if name == "FROM"] == ["python:3.12-slim"] * 2
    assert "COPY . ." not in [" ".join(step) for step in steps]


def test_what_is_copied_is_there_and_not_ignored(steps: list[tuple[str, str]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    let_in = {rule[1:] for rule in ignored if rule.startswith("!")}
    assert ignored[0] == "*"
    copied = [word for name, rest in steps if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]]
    assert set(copied) == let_in
    for path in copied:
        assert (ROOT / path).exists(), path
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {needed["readme"], *needed["license-files"]} <= set(copied), "what building the wheel wants"


def test_it_does_not_run_as_root_and_serves(steps: list[tuple[str, str]]) -> None:
    names = [name for name, _ in steps]
    assert last(steps, "USER") == "10001"  # a number, so that a cluster can see that it is not root
    assert "RUN" not in names[names.index("USER") :], "nothing needs rights after it has given them up"
    check_command(json.loads(last(steps, "CMD")))
    port = typer.main.get_command(cli.app).commands["serve"].make_context("serve", ["x"]).params["port"]  # type: ignore[attr-defined]
    assert last(steps, "EXPOSE") == str(port)
    assert f"127.0.0.1:{port}/healthz" in last(steps, "HEALTHCHECK")
    code = json.loads(last(steps, "HEALTHCHECK").partition("CMD ")[2])[2]
    compile(code, "healthcheck", "exec")


@pytest.mark.parametrize(
    "check",
    [["hadolint", "Dockerfile"], ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]],
    ids=lambda check: check[-1],
)
def test_the_checkers_of_others_find_no_fault(check: list[str]) -> None:
    program = Path(sys.executable).with_name(check[0])
    found = subprocess.run([program, *check[1:]], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_its_build_arguments_are_used_and_its_extras_exist(steps: list[tuple[str, str]]) -> None:
    arguments = dict(rest.split("=", 1) for name, rest in steps if name == "ARG")
    runs = " ".join(rest for name, rest in steps if name == "RUN")
    for name in arguments:
        assert f"${name}" in runs, name
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(shlex.split(arguments["WITH"])[0].split()) <= set(extras)


def test_compose_serves_one_run_and_keeps_it_up(service: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][1:] == json.loads(last(steps, "HEALTHCHECK").partition("CMD ")[2])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    check_command([re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in service["command"]])
    model = next(volume for volume in service["volumes"] if isinstance(volume, dict))
    assert (model["target"], model["read_only"]) == ("/model", True)
    assert model["target"] in service["command"]
    arguments = {rest.split("=", 1)[0] for name, rest in steps if name == "ARG"}
    assert set(service["build"]["args"]) <= arguments
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    assert all(fnmatch(name, "SCRIMP_*") for name in asked), "no name that may be set for something else"
