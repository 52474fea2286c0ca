"""The container of a checkpoint: a zip file of uncompressed records, each starting at a multiple of 64 bytes.

What comes in: named records of bytes. What goes out: a file that any zip tool reads and from which a record can be
mapped into memory as it lies. The reader trusts nothing: every offset and size is checked against the file before it is
used, records may not overlap, and each record's checksum is compared.

Source: PKWARE, ".ZIP File Format Specification", https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.

This module must never know pickles or tensors.
"""

from __future__ import annotations

import io
import os
import struct
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any, NoReturn

ALIGNMENT = 64
LIMIT_32 = 0xFFFFFFFF  # from here on a field is written in 64 bits
LIMIT_16 = 0xFFFF
CHUNK = 1 << 20
UTF8_NAMES = 0x800
PADDING_ID = 0x4246  # "FB", as PyTorch marks its padding
ZIP64_ID = 1

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
# 1980-01-01, the first day that a zip file can express: the same content gives the same file.
_DATE = (0, 33)


class ArchiveWriter:
    """Writes records one after the other to `file`, which needs nothing but `write`.

    Args:
        file: open for writing bytes.
        name: the folder inside the archive that all records lie in.
        checksum: compute each record's checksum; without it readers can't notice damage.
    """

    def __init__(self, file: IO[bytes], name: str, checksum: bool = True) -> None:
        self._file = file
        self._name = name
        self._checksum = checksum
        self._position = 0
        self._entries: list[tuple[bytes, int, int, int]] = []  # name, checksum, size, where its header lies

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._position += data.nbytes if isinstance(data, memoryview) else len(data)

    def write_records(self, names: list[str], contents: list[memoryview]) -> None:
        """Append records, their checksums computed while others are written."""
        ahead = checksums_ahead(contents) if self._checksum else [0] * len(contents)
        for name, content, checksum in zip(names, contents, ahead, strict=True):
            self._append(name, content, checksum)

    def write_record(self, name: str, data: bytes | memoryview) -> None:
        """Append a record."""
        self._append(name, data, crc32(data) if self._checksum else 0)

    def _append(self, name: str, data: bytes | memoryview, checksum: int) -> None:
        path = f"{self._name}/{name}".encode()
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        header_at = self._position
        extra = b""
        size_32 = size
        if size >= LIMIT_32:
            extra = struct.pack("<HHQQ", ZIP64_ID, 16, size, size)
            size_32 = LIMIT_32
        start = header_at + _LOCAL.size + len(path) + len(extra) + 4
        padding = -start % ALIGNMENT
        extra += struct.pack("<HH", PADDING_ID, padding) + bytes(padding)
        version = 45 if size >= LIMIT_32 else 20
        self._write(
            _LOCAL.pack(b"PK\3\4", version, UTF8_NAMES, 0, *_DATE, checksum, size_32, size_32, len(path), len(extra))
            + path
            + extra
        )
        self._write(data)
        self._entries.append((path, checksum, size, header_at))

    def content_hash(self) -> str:
        """Forty digits that depend on the names and the contents of all records so far."""
        names = crc32(b"\0".join(entry[0] for entry in self._entries))
        contents = crc32(b"".join(struct.pack("<IQ", checksum, size) for _, checksum, size, _ in self._entries))
        return f"{names:020}{contents:020}"

    def finish(self) -> None:
        """Write the directory. Without it the file is no archive."""
        directory_at = self._position
        for path, checksum, size, header_at in self._entries:
            wide = [value for value in (size, size, header_at) if value >= LIMIT_32]
            extra = struct.pack(f"<HH{len(wide)}Q", ZIP64_ID, 8 * len(wide), *wide) if wide else b""
            size_32, header_32 = min(size, LIMIT_32), min(header_at, LIMIT_32)
            version = 45 if wide else 20
            fields = (0, version, UTF8_NAMES, 0, *_DATE, checksum, size_32, size_32, len(path), len(extra))
            self._write(_CENTRAL.pack(b"PK\1\2", *fields, 0, 0, 0, 0, header_32) + path + extra)
        self._write(self._end(directory_at, self._position - directory_at))

    def _end(self, directory_at: int, directory_size: int) -> bytes:
        count = len(self._entries)
        end64 = b""
        if count >= LIMIT_16 or directory_at >= LIMIT_32 or directory_size >= LIMIT_32:
            end64 = _END64.pack(
                b"PK\6\6", _END64.size - 12, 45, 45, 0, 0, count, count, directory_size, directory_at
            ) + _LOCATOR.pack(b"PK\6\7", 0, self._position, 1)
        count_16 = min(count, LIMIT_16)
        fields = (count_16, count_16, min(directory_size, LIMIT_32), min(directory_at, LIMIT_32), 0)
        return end64 + _END.pack(b"PK\5\6", 0, 0, *fields)


class Record:
    """Where a record's bytes lie in the file, and their checksum."""

    __slots__ = ("checksum", "offset", "size")

    def __init__(self, offset: int, size: int, checksum: int) -> None:
        self.offset = offset
        self.size = size
        self.checksum = checksum


def is_archive(file: IO[bytes]) -> bool:
    """Whether `file` starts, where it stands, with a zip record. Doesn't move it."""
    at = file.tell()
    start = file.read(4)
    file.seek(at)
    return start == b"PK\3\4"


class ArchiveReader:
    """Reads the records of an archive that begins where `file` stands.

    Raises:
        RuntimeError: the file is no archive, or is damaged; the message says how.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._base = file.tell()
        self._end = file.seek(0, io.SEEK_END)
        self.records: dict[str, Record] = {}
        self.name = ""
        self._checker: ChecksumChecker | None = None
        try:
            self._read_directory()
        except struct.error:
            _broken("its directory ends too early")
        self._check_overlaps()

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def read(self, name: str) -> bytes:
        """A whole record."""
        record = self._record(name)
        data = self._read_at(record.offset, record.size)
        if record.checksum:
            _compare_checksum(name, data, record.checksum)
        return data

    def read_into(self, name: str, target: memoryview) -> None:
        """A whole record into memory of its size. Its content is sure only after `check`."""
        record = self._record(name)
        self._file.seek(record.offset)
        self._fill(target)
        if record.checksum:
            if record.size < CHUNK:
                _compare_checksum(name, target, record.checksum)
            else:
                self._checker = self._checker or ChecksumChecker()
                self._checker.submit(name, target, record.checksum)

    def check(self) -> None:
        """Wait for the checksums of what was read. RuntimeError if one doesn't match."""
        if self._checker is not None:
            checker, self._checker = self._checker, None
            checker.finish()

    def _fill(self, piece: memoryview) -> None:
        readinto = getattr(self._file, "readinto", None)
        filled = 0
        while filled < len(piece):
            if readinto is not None:
                count = readinto(piece[filled:])
            else:
                data = self._file.read(len(piece) - filled)
                count = len(data)
                piece[filled : filled + count] = data
            if not count:
                _broken("it ends too early")
            filled += count

    def _record(self, name: str) -> Record:
        record = self.records.get(name)
        if record is None:
            raise RuntimeError(
                f"PytorchStreamReader failed locating file {name}: file not found. "
                "The checkpoint is not complete, or was not made by torch.save"
            )
        return record

    def _read_at(self, position: int, size: int) -> bytes:
        if position < self._base or position + size > self._end:
            _broken(f"{size} bytes at {position} lie outside of it")
        self._file.seek(position)
        data = self._file.read(size)
        if len(data) != size:
            _broken("it ends too early")
        return data

    def _find_end(self) -> tuple[int, int, int, int]:
        """Where the end record lies; entries, size and offset of the directory."""
        tail_size = min(self._end - self._base, _END.size + LIMIT_16)
        tail = self._read_at(self._end - tail_size, tail_size)
        found = tail.rfind(b"PK\5\6")
        if found < 0 or found + _END.size > len(tail):
            _broken("failed finding central directory: the file is cut off or was not written to its end")
        end_at = self._end - tail_size + found
        count, size, offset = _END.unpack_from(tail, found)[4:7]
        # Some writers, PyTorch's among them, always put the 64-bit records before it.
        locator_at = end_at - _LOCATOR.size
        if locator_at >= self._base:
            mark, _, relative, _ = _LOCATOR.unpack(self._read_at(locator_at, _LOCATOR.size))
            if mark == b"PK\6\7":
                end_at = self._base + relative
                end64 = self._read_at(end_at, _END64.size)
                if end64[:4] != b"PK\6\6":
                    _broken("its 64-bit end record is missing")
                count, size, offset = _END64.unpack(end64)[7:10]
        return end_at, count, size, offset

    def _read_directory(self) -> None:
        end_at, count, size, offset = self._find_end()
        if offset + size != end_at - self._base:
            _broken("its directory is not where it should be")
        directory = self._read_at(self._base + offset, size)
        position = 0
        for _ in range(count):
            position = self._read_entry(directory, position)
        if position != len(directory):
            _broken("its directory has a wrong number of entries")

    def _read_entry(self, directory: bytes, position: int) -> int:
        fields = _CENTRAL.unpack_from(directory, position)
        mark, _, _, flags, method, _, _, checksum, packed, size, name_size, extra_size, comment_size = fields[:13]
        header_at = fields[16]
        if mark != b"PK\1\2":
            _broken("an entry of its directory is damaged")
        name_at = position + _CENTRAL.size
        extra_at = name_at + name_size
        following = extra_at + extra_size + comment_size
        if following > len(directory):
            _broken("an entry of its directory is damaged")
        path = directory[name_at:extra_at].decode("utf-8", "replace")
        size, packed, header_at = _wide(directory[extra_at : extra_at + extra_size], size, packed, header_at)
        if method != 0 or packed != size or flags & 1:
            _broken(f"record {path!r} is compressed or encrypted; checkpoints hold their records as they are")
        self._add(path, header_at, size, checksum)
        return following

    def _add(self, path: str, header_at: int, size: int, checksum: int) -> None:
        header = self._read_at(self._base + header_at, _LOCAL.size)
        fields = _LOCAL.unpack(header)
        if fields[0] != b"PK\3\4":
            _broken(f"the header of record {path!r} is missing")
        offset = self._base + header_at + _LOCAL.size + fields[9] + fields[10]
        if offset + size > self._end:
            _broken(f"record {path!r} of {size} bytes at {offset} reaches beyond its end at {self._end}")
        folder, _, name = path.partition("/")
        if not self.records:
            self.name = folder
        if not name or folder != self.name:
            _broken(f"record {path!r} does not lie in the folder {self.name!r} as the first one does")
        if name in self.records:
            _broken(f"record {path!r} is there twice")
        self.records[name] = Record(offset, size, checksum)

    def _check_overlaps(self) -> None:
        # A small file whose records all name the same bytes would unfold to any size.
        position = self._base
        for record in sorted(self.records.values(), key=lambda each: (each.offset, each.size)):
            if record.offset < position:
                _broken("its records overlap")
            position = record.offset + record.size


def _wide(extra: bytes, size: int, packed: int, header_at: int) -> tuple[int, int, int]:
    """The 64-bit values of the fields that are full in 32 bits."""
    if LIMIT_32 not in (size, packed, header_at):
        return size, packed, header_at
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == ZIP64_ID:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            try:
                size = next(values) if size == LIMIT_32 else size
                packed = next(values) if packed == LIMIT_32 else packed
                header_at = next(values) if header_at == LIMIT_32 else header_at
            except StopIteration:
                _broken("a 64-bit field of its directory is missing")
            return size, packed, header_at
        at += 4 + length
    return size, packed, header_at


def _broken(how: str) -> NoReturn:
    raise RuntimeError(f"PytorchStreamReader failed reading zip archive: {how}. The checkpoint is damaged")


def _compare_checksum(name: str, data: bytes | memoryview, expected: int) -> None:
    if crc32(data) != expected:
        _broken(f"the checksum of record {name!r} does not match its content")


def checksums_ahead(contents: list[memoryview]) -> Iterator[int]:
    """The checksums of `contents` in order; of much, computed by other threads ahead of their use."""
    if sum(content.nbytes for content in contents) < 4 * CHUNK:
        yield from map(crc32, contents)
        return
    from queue import SimpleQueue
    from threading import Thread

    count = min(4, os.cpu_count() or 1, len(contents))
    done: list[SimpleQueue[int]] = [SimpleQueue() for _ in range(count)]

    def compute(share: int) -> None:
        for content in contents[share::count]:
            done[share].put(crc32(content))

    for share in range(count):
        Thread(target=compute, args=(share,), daemon=True).start()
    for position in range(len(contents)):
        yield done[position % count].get()


class ChecksumChecker:
    """Compares checksums in a thread of its own, while the next record is read."""

    def __init__(self) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._jobs: SimpleQueue[tuple[str, memoryview, int] | None] = SimpleQueue()
        self._error: RuntimeError | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                _compare_checksum(*job)
            except RuntimeError as error:
                self._error = self._error or error

    def submit(self, name: str, data: memoryview, expected: int) -> None:
        self._jobs.put((name, data, expected))

    def finish(self) -> None:
        """Wait for all comparisons and raise the first that failed."""
        self._jobs.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error


def archive_name(path: str) -> str:
    """The folder name that PyTorch gives the records of a file: its own without the extension."""
    return os.path.basename(path).rpartition(".")[0] or os.path.basename(path).strip(".") or "archive"


class AtomicFile:
    """A file that appears under its name when it is complete, or not at all.

    It is written under a temporary name in the same folder, synchronised and renamed. When anything fails, the
    temporary file is removed and what was there before stays. Something that isn't a plain file (a pipe, /dev/null) is
    written to directly.

    Raises:
        RuntimeError: the folder doesn't exist, or the file can't be written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Through a link to the file itself, as opening it would.
        self._target = os.path.realpath(path)
        self._temporary: str | None = None
        self.file: Any = None

    def __enter__(self) -> IO[bytes]:
        folder, name = os.path.split(self._target)
        if not os.path.isdir(folder):
            raise RuntimeError(f"Parent directory {os.path.dirname(self._path) or '.'} does not exist.")
        if os.path.isdir(self._target):
            raise RuntimeError(f"File {self._path} cannot be opened: it is a directory")
        try:
            if os.path.exists(self._target) and not os.path.isfile(self._target):
                self.file = open(self._target, "wb", buffering=CHUNK)
                return self.file
            temporary = os.path.join(folder, f".{name[:100]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            self._temporary = temporary
            self.file = open(descriptor, "wb", buffering=CHUNK)
        except OSError as error:
            raise RuntimeError(f"File {self._path} cannot be opened: {error.strerror}") from error
        return self.file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._commit()
        except OSError as failure:
            self._discard()
            raise self._failed(failure) from failure
        except BaseException:
            self._discard()
            raise
        if error is not None:
            self._discard()
            if isinstance(error, OSError):
                raise self._failed(error) from error

    def _failed(self, error: OSError) -> RuntimeError:
        kept = "what was there before is unchanged" if self._temporary else "it may be incomplete"
        return RuntimeError(f"PytorchStreamWriter failed writing file {self._path}: {error.strerror or error}; {kept}")

    def _commit(self) -> None:
        if self._temporary is None:
            self.file.close()
            return
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if os.path.exists(self._target):
            os.chmod(self._temporary, os.stat(self._target).st_mode & 0o7777)
        os.replace(self._temporary, self._target)

    def _discard(self) -> None:
        try:
            self.file.close()
        except OSError:
            pass  # what it still wanted to write is not wanted any more
        if self._temporary is not None:
            try:
                os.unlink(self._temporary)
            except OSError:
                pass
