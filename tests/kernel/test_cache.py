"""The object cache: shared by processes, safe against damage, never in the way."""

import ctypes
import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import facula
from facula.kernel import cache, language
from facula.kernel.language import i64, kernel

ROOT = str(Path(facula.__file__).parents[1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of the test's own, and a cache that has not warned yet."""
    monkeypatch.setenv("FACULA_CACHE_DIR", str(tmp_path / "objects"))
    monkeypatch.setattr(cache, "_warned", False)
    return tmp_path / "objects"


def make(offset):
    """A new kernel, as another process would meet it. The number keeps tests apart: symbols are unique in a process."""

    @kernel
    def add(x: i64) -> i64:
        return x + offset

    return add


def result(k, x):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(k.address())(x)


def file_of(k, folder):
    return folder / k.key[:2] / f"{k.key}.o"


def test_round_trip_and_statistics(folder):
    assert cache.load("ab" * 16) is None and cache.statistics() == (0, 0)
    cache.save("ab" * 16, b"body")
    cache.save("cd" * 16, b"another")
    assert cache.load("ab" * 16) == b"body"
    count, size = cache.statistics()
    assert count == 2 and size > len(b"bodyanother")
    assert not list(folder.rglob("*.tmp"))
    assert cache.clear() == 2 and cache.load("ab" * 16) is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "flipped", "header only"])
def test_damaged_files_are_ignored_and_replaced(folder, damage):
    number = {"truncated": 101, "empty": 102, "foreign": 103, "flipped": 104, "header only": 105}[damage]
    k = make(number)
    body = language.target.compile_object(k.ir())
    cache.save(k.key, body)
    file = file_of(k, folder)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    file.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "foreign": b"\x7fELF" + os.urandom(500),
                      "flipped": bytes(flipped), "header only": whole[:24]}[damage])  # fmt: skip
    before = language.counters["compiled"]
    assert result(k, 1) == number + 1
    assert language.counters["compiled"] == before + 1
    assert cache.load(k.key) == body


def test_an_object_that_does_not_link_is_compiled_anew(folder):
    k, other = make(111), make(112)
    cache.save(k.key, language.target.compile_object(other.ir()))  # sound, but without this kernel's symbol
    before = language.counters["compiled"]
    assert result(k, 1) == 112
    assert language.counters["compiled"] == before + 1


def test_a_known_object_is_not_compiled(folder):
    first, second = make(121), make(121)
    assert first.key == second.key
    cache.save(first.key, language.target.compile_object(first.ir()))
    before = language.counters["compiled"]
    assert result(second, 1) == 122
    assert language.counters["compiled"] == before


def test_a_folder_that_is_a_file_warns_once(folder, tmp_path):
    folder.write_text("in the way")
    with pytest.warns(RuntimeWarning, match="cannot be written.*Set FACULA_CACHE_DIR") as caught:
        assert result(make(131), 1) == 132
        assert result(make(132), 1) == 133
    assert len(caught) == 1
    assert folder.read_text() == "in the way" and cache.statistics() == (0, 0)


@pytest.mark.parametrize("step", ["open", "replace", "makedirs", "read-only"])
def test_a_full_disk_warns_once_and_leaves_nothing(folder, monkeypatch, step):
    code = errno.EROFS if step == "read-only" else errno.ENOSPC

    def fail(*arguments, **keywords):
        raise OSError(code, os.strerror(code))

    if step == "open":
        real = open

        def full(file, mode="r", *rest, **keywords):
            return fail() if "w" in mode else real(file, mode, *rest, **keywords)

        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(cache.os, "replace" if step == "replace" else "makedirs", fail)
    number = {"open": 141, "replace": 143, "makedirs": 145, "read-only": 147}[step]
    with pytest.warns(RuntimeWarning, match=os.strerror(code)) as caught:
        assert result(make(number), 1) == number + 1
        assert result(make(number + 1), 1) == number + 2
    assert len(caught) == 1
    monkeypatch.undo()
    assert not [f for f in folder.rglob("*") if f.is_file()]


def test_an_unreadable_file_is_compiled_around(folder, monkeypatch):
    k = make(151)
    file_of(k, folder).mkdir(parents=True)  # reading fails, replacing fails
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert result(k, 1) == 152


PROGRAM = """
import ctypes, os, sys, types
package = types.ModuleType("facula")  # the kernel language alone, without the framework above it
package.__path__ = [os.path.join(os.environ["PYTHONPATH"], "facula")]
sys.modules["facula"] = package
from facula.kernel.language import kernel, i64, ptr, f32, counters
scale = 3

def macro(x):
    return x * scale + (1 if "a" in {"a", "b", "c", "d"} else 2)

@kernel
def inner(x: i64) -> i64:
    return macro(x)

@kernel
def outer(x: i64) -> i64:
    total = 0
    for i in range(x):
        total += inner(i)
    return total

value = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(outer.address())(5)
print(outer.key, value, counters["compiled"])
"""


def start(file, folder, seed="random"):
    environment = {**os.environ, "FACULA_CACHE_DIR": str(folder), "PYTHONPATH": ROOT, "PYTHONHASHSEED": seed}
    return subprocess.Popen(
        [sys.executable, str(file)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == ""
    key, value, compiled = output.split()
    return key, int(value), int(compiled)


def test_concurrent_processes_then_one_that_finds_all_done(folder, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    finished = [finish(p) for p in [start(file, folder) for _ in range(3)]]
    assert len({key for key, _, _ in finished}) == 1
    assert {value for _, value, _ in finished} == {35}
    assert len([f for f in folder.rglob("*") if f.is_file()]) == 1
    assert finish(start(file, folder, seed="1")) == (finished[0][0], 35, 0)


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("scale = 3", "scale = 4", 45),
        ("return macro(x)", "return macro(x) + 1", 40),
        ("x * scale +", "x * scale -", 25),
    ],
    ids=["constant", "callee", "macro"],
)
def test_a_change_anywhere_below_changes_the_key(folder, tmp_path, before, after, value):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    first = finish(start(file, folder))
    file.write_text(PROGRAM.replace(before, after))
    second = finish(start(file, folder))
    assert first[1:] == (35, 1) and second[1:] == (value, 1)
    assert first[0] != second[0]


def test_where_objects_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("FACULA_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache.folder() == tmp_path / "chosen"
    monkeypatch.delenv("FACULA_CACHE_DIR")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache.folder() == tmp_path / "xdg" / "facula"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache.folder() == Path.home() / ".cache" / "facula"
