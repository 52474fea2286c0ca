"""The command `facula`: run a PyTorch program, describe the installation, show generated code, look after the cache.

Comes in: the arguments of a command line. Goes out: an exit status, as of a shell command: 2 for a wrong command line,
else what the command returns. Each command is one module here, imported when it is asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CommandError", "main"]

_USAGE = """\
usage: facula COMMAND ...

  run SCRIPT [ARG ...]     run a PyTorch program on facula (also: run -m MODULE, run -c CODE)
  info                     versions, CPU, threads, cache and devices
  show OP                  the code generated for an operation (--dtype f32, --source, --ir, --asm)
  cache                    the compiled kernels kept on disk (--clear removes them)

facula COMMAND --help says more; facula --version gives the version.
"""


class CommandError(Exception):
    """What the user must be told in one line; the command ends with `status`."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default the process's own) and return its exit status."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if command in ("-h", "--help", "help"):
            print(_USAGE, end="")
            return 0
        if command in ("-V", "--version"):
            import facula

            print(f"facula {facula.__version__}")
            return 0
        if command == "run":
            from .run import run as execute
        elif command == "info":
            from .info import info as execute
        elif command == "show":
            from .show import show as execute
        elif command == "cache":
            from .cache import cache as execute
        else:
            raise CommandError(f"there is no command {command!r}: try run, info, show or cache")
        return execute(rest)
    except CommandError as error:
        print(f"facula: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # The reader of a pipe has left (`facula info | head -1`); nothing more can be said to it.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
