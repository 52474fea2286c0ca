"""What facula's own kernels depend on, told by files: the digest of a module's text and of all that it imports.

Looking at a kernel's byte code and at everything it names (`source.fingerprint`) is exact but costs a millisecond or
more a kernel, which a program would pay at each start. Inside this package the text of the files says the same, once
per file.
"""

from __future__ import annotations

import hashlib
import os
import re

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_IMPORT = re.compile(r"^from (facula[\w.]*) import (\([^)]*\)|[^\n]*)", re.M)
_digests: dict[str, str] = {}


def ours(module: str | None) -> bool:
    """Whether a module belongs to this package but not to the kernel language, whose text is part of every key."""
    return module is not None and module.startswith("facula.") and not module.startswith("facula.kernel.")


def _path(module: str) -> str | None:
    base = os.path.join(_ROOT, *module.split("."))
    for path in (base + ".py", os.path.join(base, "__init__.py")):
        if os.path.isfile(path):
            return path
    return None


def module_digest(module: str) -> str:
    """A digest of the module's file and of those of facula's modules that it imports at its top, to any depth."""
    known = _digests.get(module)
    if known is not None:
        return known
    _digests[module] = module  # imports go downward; a circle ends here
    path = _path(module)
    if path is None:
        return module
    with open(path, "rb") as file:
        content = file.read()
    digest = hashlib.blake2b(content, digest_size=12)
    for base, names in _IMPORT.findall(content.decode("utf-8")):
        for needed in (base, *(f"{base}.{name}" for name in re.findall(r"\w+", names))):
            if ours(needed) and _path(needed) is not None:
                digest.update(module_digest(needed).encode())
    _digests[module] = digest.hexdigest()
    return _digests[module]
