"""The command line: parse, call, print. It decides nothing and computes nothing."""

from __future__ import annotations

import os
import sys

from scrimp.cli import gathering, running, studying, using  # noqa: F401 - whose commands are the app's
from scrimp.cli.options import app
from scrimp.cli.showing import say
from scrimp.errors import ScrimpError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: what Scrimp refuses is one line on stderr and exit code 2; anything else is our bug."""
    try:
        app()
    except ScrimpError as error:
        say(f"scrimp: {error}")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 130:  # after Ctrl-C no thread is waited for: a server may never answer it
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)
        raise
