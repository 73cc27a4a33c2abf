"""Writes docs/commands.md: the --help page of every command, as a terminal of 100 columns shows it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from scrimp.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

OPENING = """\
# Commands

Every command's own help page. `make docs-commands` writes this file.
"""


def page() -> str:
    """The whole page as Markdown."""
    names = sorted(
        info.name or getattr(info.callback, "__name__", "").replace("_", "-") for info in app.registered_commands
    )
    sections = [OPENING, _section("scrimp", []), *(_section(f"scrimp {name}", [name]) for name in names)]
    return "\n".join(sections)


def _section(title: str, command: list[str]) -> str:
    wide = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    shown = CliRunner().invoke(app, [*command, "--help"], env=wide, prog_name="scrimp", catch_exceptions=False)
    lines = [line.rstrip() for line in shown.output.strip().splitlines()]
    return "\n".join([f"## {title}", "", "```text", *lines, "```", ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
