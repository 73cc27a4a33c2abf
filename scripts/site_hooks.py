"""What mkdocs asks while it builds the site: the pages stay as GitHub shows them, and lead to the same places.

Pages link to files outside docs/, which get a place on the site; anchors are made as GitHub makes them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/results/*.json", "studies/*.toml", "studies/*.ipynb")


def on_config(config: Any) -> Any:
    """GitHub's anchors: lower case, a hyphen for every space."""
    from pymdownx.slugs import slugify

    config["mdx_configs"]["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Any, config: Any) -> Any:
    """The files outside docs/ that pages link to come along under the names that they have here."""
    from mkdocs.structure.files import File

    root = Path(config["config_file_path"]).parent
    for path in sorted(path for pattern in OUTSIDE for path in root.glob(pattern)):
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as the site wants it."""
    return for_site(markdown, page.file.src_uri)


def for_site(markdown: str, page: str) -> str:
    """Links as they are on the site, where docs/ is the root; without the marks that only tests and scripts read."""
    if page in OUTSIDE:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    up = "../" * (page.count("/") + 1)
    markdown = markdown.replace(f"]({up}", f"]({up[3:]}")
    markdown = re.sub(r"^<!-- .*? -->$", "", markdown, flags=re.MULTILINE)
    return re.sub(r"^(```\w+) \w+$", r"\1", markdown, flags=re.MULTILINE)
