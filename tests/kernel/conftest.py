"""The kernel tests keep their objects in a folder of their own, so that they compile what they test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty object cache for the session."""
    before = os.environ.get("FACULA_CACHE_DIR")
    os.environ["FACULA_CACHE_DIR"] = str(tmp_path_factory.mktemp("objects"))
    yield
    if before is None:
        del os.environ["FACULA_CACHE_DIR"]
    else:
        os.environ["FACULA_CACHE_DIR"] = before


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """Compare a text with the file of that name beside the tests; FACULA_UPDATE_GOLDEN=1 writes the file instead."""
    folder = request.path.parent / "golden"

    def check(name: str, text: str) -> None:
        file = folder / name
        if os.environ.get("FACULA_UPDATE_GOLDEN"):
            file.write_text(text)
        assert file.exists(), f"{file.name} is missing: run with FACULA_UPDATE_GOLDEN=1 to write it"
        assert text == file.read_text(), f"{file.name} differs: FACULA_UPDATE_GOLDEN=1 accepts the new text"

    return check
