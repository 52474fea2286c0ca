"""The container: what other zip tools see, damage of every kind, files that appear whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import random
import stat
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError

import pytest

import facula
from facula.serialization import archive
from facula.serialization.archive import ArchiveReader, ArchiveWriter, AtomicFile, archive_name


def written(records: dict[str, bytes], **options: bool) -> bytes:
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "folder", **options)
    for name, content in records.items():
        writer.write_record(name, content)
    writer.finish()
    return buffer.getvalue()


RECORDS = {"data.pkl": b"pickle", "data/0": bytes(range(200)), "data/1": b"", "version": b"3\n"}


def test_any_zip_tool_reads_it() -> None:
    with zipfile.ZipFile(io.BytesIO(written(RECORDS))) as z:
        assert z.testzip() is None
        assert {name.removeprefix("folder/"): z.read(name) for name in z.namelist()} == RECORDS


def test_records_are_aligned() -> None:
    reader = ArchiveReader(io.BytesIO(written(RECORDS)))
    assert [record.offset % 64 for record in reader.records.values()] == [0] * 4
    assert {name: reader.read(name) for name in reader.records} == RECORDS


def test_reading_into_memory() -> None:
    reader = ArchiveReader(io.BytesIO(written(RECORDS)))
    target = bytearray(200)
    reader.read_into("data/0", memoryview(target))
    reader.check()
    assert target == RECORDS["data/0"]


def test_large_records_are_checked_by_a_thread() -> None:
    contents = [bytes([i]) * (3 << 20) for i in range(4)]
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "folder")
    writer.write_records([f"data/{i}" for i in range(4)], [memoryview(content) for content in contents])
    writer.finish()
    data = bytearray(buffer.getvalue())
    assert zipfile.ZipFile(io.BytesIO(bytes(data))).testzip() is None
    target = bytearray(3 << 20)
    reader = ArchiveReader(io.BytesIO(bytes(data)))
    for i in range(4):
        target = bytearray(3 << 20)
        reader.read_into(f"data/{i}", memoryview(target))
        assert target == contents[i]
    reader.check()
    data[reader.records["data/2"].offset + 5] ^= 1
    reader = ArchiveReader(io.BytesIO(bytes(data)))
    targets = [bytearray(3 << 20) for _ in range(4)]
    for i, target in enumerate(targets):
        reader.read_into(f"data/{i}", memoryview(target))
    with pytest.raises(RuntimeError, match="checksum of record 'data/2' does not match"):
        reader.check()


@pytest.mark.parametrize("checksum", [True, False])
def test_64_bit_fields(monkeypatch: pytest.MonkeyPatch, checksum: bool) -> None:
    monkeypatch.setattr(archive, "LIMIT_32", 100)
    monkeypatch.setattr(archive, "LIMIT_16", 3)
    data = written(RECORDS, checksum=checksum)
    reader = ArchiveReader(io.BytesIO(data))
    assert {name: reader.read(name) for name in reader.records} == RECORDS


@pytest.mark.skipif(sys.platform == "win32", reason="needs sparse files")
def test_a_file_larger_than_four_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    size = (1 << 32) + 64

    class Sparse(io.RawIOBase):
        """Skips what is only zeros."""

        def __init__(self, file: io.BufferedWriter) -> None:
            self.file = file

        def write(self, data) -> int:
            length = data.nbytes if isinstance(data, memoryview) else len(data)
            if length > 1 << 20:
                self.file.seek(length, 1)
            else:
                self.file.write(data)
            return length

    class Zeros(bytes):
        def __len__(self) -> int:
            return size

    with open(path, "wb") as file:
        writer = ArchiveWriter(Sparse(file), "large", checksum=False)
        writer.write_record("data.pkl", b"x")
        writer.write_record("data/0", Zeros())
        writer.write_record("data/1", b"end")
        writer.finish()
    with open(path, "rb") as file:
        reader = ArchiveReader(file)
        assert reader.records["data/0"].size == size
        assert reader.read("data/1") == b"end"
    with zipfile.ZipFile(path) as z:
        assert z.getinfo("large/data/0").file_size == size
        assert z.getinfo("large/data/1").header_offset > size


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    facula.save({"x": facula.arange(50.0), "y": [facula.ones(3), "text"]}, buffer)
    return buffer.getvalue()


EXPECTED = (RuntimeError, UnpicklingError, EOFError, ValueError)


def test_every_truncation_is_an_error() -> None:
    data = checkpoint()
    for length in range(len(data)):
        with pytest.raises(EXPECTED):
            facula.load(io.BytesIO(data[:length]))


def test_damage_is_an_error_or_harmless() -> None:
    data = checkpoint()
    chance = random.Random(0)
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 4, 30))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        try:
            facula.load(io.BytesIO(bytes(damaged)))
        except EXPECTED:
            pass


def test_a_changed_byte_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    data = bytearray(checkpoint())
    record = ArchiveReader(io.BytesIO(bytes(data))).records["data/0"]
    data[record.offset + 7] ^= 1
    with pytest.raises(RuntimeError, match="checksum of record 'data/0' does not match"):
        facula.load(io.BytesIO(bytes(data)))


def forged(**changes: bytes) -> bytes:
    """A checkpoint with some records replaced, and a right checksum for each."""
    records = {"data.pkl": b"", "version": b"3\n"}
    reader = ArchiveReader(io.BytesIO(checkpoint()))
    for name in reader.records:
        records[name] = reader.read(name)
    for name, content in changes.items():
        records[name.replace("_", "/") if name.startswith("data_") else name] = content
    return written(records)


def test_records_of_a_wrong_size() -> None:
    with pytest.raises(RuntimeError, match=r"has 4 bytes, but 50 elements of torch.float32 need 200"):
        facula.load(io.BytesIO(forged(data_0=b"1234")))
    with pytest.raises(ValueError, match="Unknown endianness type"):
        facula.load(io.BytesIO(forged(byteorder=b"middle")))


def test_compressed_records_are_refused() -> None:
    source, target = zipfile.ZipFile(io.BytesIO(checkpoint())), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as rewritten:
        for name in source.namelist():
            rewritten.writestr(name, source.read(name))
    with pytest.raises(RuntimeError, match="is compressed or encrypted"):
        facula.load(io.BytesIO(target.getvalue()))


def test_overlapping_records_are_refused() -> None:
    data = bytearray(written({"data.pkl": b"x" * 64, "data/0": b"y" * 64}))
    first, second = (at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2")
    # The second entry points at the first one's bytes.
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    with pytest.raises(RuntimeError, match="overlap"):
        ArchiveReader(io.BytesIO(bytes(data)))


def test_sizes_beyond_the_file_are_refused() -> None:
    data = bytearray(written({"data.pkl": b"x" * 64}))
    entry = data.index(b"PK\1\2")
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    with pytest.raises(RuntimeError, match="reaches beyond its end"):
        ArchiveReader(io.BytesIO(bytes(data)))


def test_other_archives() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as z:
        z.writestr("hello.txt", "hello")
    with pytest.raises(RuntimeError, match="does not lie in the folder"):
        facula.load(io.BytesIO(target.getvalue()))
    with pytest.raises(RuntimeError, match=r"failed locating file data.pkl"):
        facula.load(io.BytesIO(written({"other": b"x"})))
    with pytest.raises(RuntimeError, match="TorchScript"):
        facula.load(io.BytesIO(written({"constants.pkl": b"x", "data.pkl": b"x"})))
    with pytest.raises(RuntimeError, match="is there twice"):
        duplicate = ArchiveWriter(buffer := io.BytesIO(), "a")
        duplicate.write_record("b", b"")
        duplicate.write_record("b", b"")
        duplicate.finish()
        buffer.seek(0)
        ArchiveReader(buffer)
    for junk in (b"", b"PK", b"PK\3\4", b"hello world", zlib.compress(b"hello"), b"\x80\x02.", b"\x80\x02K\1."):
        with pytest.raises(EXPECTED):
            facula.load(io.BytesIO(junk))


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/model.pt", "model"), ("model.tar.gz", "model.tar"), ("model", "model"), (".pt", "pt"), ("x/.", "archive")],
)
def test_names_of_archives(path: str, name: str) -> None:
    assert archive_name(path) == name


class Unpicklable:
    def __reduce__(self):
        raise ValueError("not this one")


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    facula.save(1, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not this one"):
        facula.save([facula.ones(3), Unpicklable()], path)
    with pytest.raises(KeyboardInterrupt), AtomicFile(str(path)) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "a.pt"
    facula.save(1, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "write":
        monkeypatch.setattr(ArchiveWriter, "finish", full)
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(RuntimeError, match=r"failed writing file .*a\.pt: No space left on device; what was there"):
        facula.save(facula.ones(1000), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_device_that_is_full() -> None:
    with pytest.raises(RuntimeError, match="No space left on device"):
        facula.save(facula.ones(1000), "/dev/full")
    facula.save(facula.ones(1000), "/dev/null")


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Parent directory .*nowhere does not exist"):
        facula.save(1, tmp_path / "nowhere" / "a.pt")
    with pytest.raises(RuntimeError, match="is a directory"):
        facula.save(1, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "a.pt", tmp_path / "link.pt"
    facula.save(1, path)
    path.chmod(0o640)
    link.symlink_to(path)
    facula.save(2, link)
    assert link.is_symlink()
    assert facula.load(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_path_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facula.save(1, "a.pt")
    assert facula.load("a.pt") == 1
