"""Facts about the build, as `torch.version` gives them."""

from __future__ import annotations

from facula.torch_version import API_LEVEL

__version__ = str(API_LEVEL)
cuda: str | None = None
hip: str | None = None
debug = False
git_version = "unknown"
