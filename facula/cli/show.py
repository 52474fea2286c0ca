"""`facula show OP`: the code that is generated for an operation.

Comes in: an operation's name, a dtype and which form is wanted. Goes out: its kernel as source in the kernel language,
as LLVM IR or as this machine's assembly.
"""

from __future__ import annotations

import argparse
import difflib

from . import CommandError

__all__ = ["show"]


def show(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="facula show", description="The code generated for an operation's kernel.")
    parser.add_argument("op", metavar="OP", help="an operation's name, such as add, softmax or conv2d")
    parser.add_argument("--dtype", default="f32", help="f32 (default), f64, i64, ..., or float32, int64, ...")
    forms = parser.add_mutually_exclusive_group()
    for form, text in (
        ("source", "the kernel language (default)"),
        ("ir", "LLVM IR"),
        ("asm", "assembly of this machine"),
    ):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)
    wanted = parser.parse_args(arguments)
    print(_text(wanted.op, wanted.dtype, wanted.form or "source"))
    return 0


def _text(name: str, dtype: str, form: str) -> str:
    import facula
    from facula import ops

    try:
        return ops.show(name, dtype, form)
    except LookupError:
        known = [known for known in dir(facula) if not known.startswith("_")]
        near = [] if name in known else difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise CommandError(f"there is no operation {name!r} with a kernel of its own{hint}") from None
    except (ValueError, TypeError, NotImplementedError) as error:
        raise CommandError(f"{name} for {dtype}: {error}") from None
