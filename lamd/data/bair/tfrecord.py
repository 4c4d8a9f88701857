"""TFRecord files without TensorFlow: framing with both checksums, and `tf.train.Example` messages.

A record is: length (uint64, little endian), masked CRC32C of those 8 bytes, the data, masked CRC32C
of the data.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import google_crc32c
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from lamd.base.errors import LamdError
from lamd.base.files import replace_file

_CRC_BYTES = 4
_HEADER_BYTES = 8 + _CRC_BYTES
MOST_BYTES = 2**22  # of a record; one of BAIR has 0.7 million
MOST_RECORDS = 2**16  # of a file; one of BAIR has 256
_MOST_GUESSES = 16  # of the length of a record whose header is broken

# tensorflow/core/example/{feature,example}.proto; on the wire a map is repeated entries of a key
# and a value, a oneof is plain fields
_EXAMPLE_PROTO = """
name: "example.proto" syntax: "proto3"
message_type { name: "BytesList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type { name: "Feature"
  field { name: "bytes_list" number: 1 type_name: ".BytesList" }
  field { name: "float_list" number: 2 type_name: ".FloatList" }
  field { name: "int64_list" number: 3 type_name: ".Int64List" } }
message_type { name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING }
  field { name: "value" number: 2 type_name: ".Feature" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: ".Entry" } }
message_type { name: "Example" field { name: "features" number: 1 type_name: ".Features" } }
"""
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(text_format.Parse(_EXAMPLE_PROTO, FileDescriptorProto()))
_Example = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("Example"))


class RecordSpan(NamedTuple):
    """Position of a record: byte `offset` of its header and `length` of its data in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the byte after the record."""
        return self.offset + _HEADER_BYTES + self.length + _CRC_BYTES


class RecordError(LamdError):
    """A broken record; `reason` is one phrase, `offset` the record's first byte in `path`.

    `lost` counts the bytes from there to the file's end when no record can be found behind it.
    """

    def __init__(self, path: Path, offset: int, reason: str, lost: int = 0) -> None:
        super().__init__(path, offset, reason, lost)
        self.path, self.offset, self.reason, self.lost = path, offset, reason, lost

    def __str__(self) -> str:
        where = f"{self.path}: record at byte {self.offset}"
        return f"{where}: {self.reason}; fetch or simulate this file again"


def masked_crc(data: bytes) -> bytes:
    """Return the masked CRC32C as TFRecord stores it, 4 bytes, little endian."""
    crc = google_crc32c.value(data)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return masked.to_bytes(_CRC_BYTES, "little")


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file that appears only when complete."""

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            for data in records:
                for part in (len(data).to_bytes(8, "little"), data):
                    stream.write(part + masked_crc(part))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, fill)
    except OSError as error:
        raise LamdError(
            f"{path}: cannot be written ({error.strerror});"
            " free some space or choose another folder"
        ) from None


def index_records(path: Path) -> list[RecordSpan]:
    """Index a file by reading its record headers only; data checksums wait for `read_record`.

    LamdError on an unreadable or empty file and on the first broken or truncated record.
    """
    spans = []
    try:
        for record in scan_records(path, {}):
            if isinstance(record, RecordError):
                raise record
            spans.append(record)
    except OSError as error:
        raise LamdError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if not spans:
        raise LamdError(f"{path}: empty file, no records; fetch or simulate this file again")
    return spans


def scan_records(path: Path, lengths: dict[int, None]) -> Iterator[RecordSpan | RecordError]:
    """Yield the span of each record, data unread, or the error in a broken header.

    The scan goes on where a sound header or the end of the file follows a record of the length that
    the broken header states, or of one of `lengths`, to which those of sound headers are added.
    It ends after `MOST_RECORDS`, with an error.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        offset = count = 0
        while offset < size:
            if (count := count + 1) > MOST_RECORDS:
                reason = f"more than {MOST_RECORDS:,} records"
                yield RecordError(path, offset, reason, size - offset)
                return
            length, reason = _read_header(stream, offset, size)
            if not reason:
                lengths[length] = None
                yield RecordSpan(offset, length)
                offset = RecordSpan(offset, length).end
                continue
            guesses = (length, *islice(lengths, _MOST_GUESSES))
            ends = (RecordSpan(offset, guess).end for guess in guesses)
            sound = (end for end in ends if end <= size and not _read_header(stream, end, size)[1])
            behind = next(sound, None)
            yield RecordError(path, offset, reason, size - offset if behind is None else 0)
            offset = size if behind is None else behind


def _read_header(stream: BinaryIO, offset: int, size: int) -> tuple[int, str]:
    """Return the length that a header states and what is wrong, nothing at the file's end."""
    if offset == size:
        return 0, ""
    stream.seek(offset)
    header = stream.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return size, f"truncated header ({len(header)} of {_HEADER_BYTES} bytes)"
    length = int.from_bytes(header[:8], "little")
    if header[8:] != masked_crc(header[:8]):
        return length, "length checksum mismatch"
    if RecordSpan(offset, length).end > size:
        left = size - offset - _HEADER_BYTES
        return length, f"truncated data ({left} of {length + _CRC_BYTES} bytes)"
    if length > MOST_BYTES:
        return length, f"states {length:,} bytes, more than {MOST_BYTES:,}"
    return length, ""


def read_record(path: Path, span: RecordSpan) -> bytes:
    """Read one record's data; RecordError when its checksum fails or the file became shorter.

    LamdError where the file cannot be read, which says nothing about the record.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(span.offset + _HEADER_BYTES)
            data, crc = stream.read(span.length), stream.read(_CRC_BYTES)
    except OSError as error:
        raise LamdError(f"{path}: cannot be read ({error.strerror}); check its disk") from None
    if len(crc) < _CRC_BYTES:
        raise RecordError(path, span.offset, "truncated data (the file has become shorter)")
    if crc != masked_crc(data):
        raise RecordError(path, span.offset, "data checksum mismatch")
    return data


def encode_example(features: Mapping[str, bytes | Sequence[float]]) -> bytes:
    """Serialize features as a `tf.train.Example`, keys sorted so that bytes are reproducible."""
    example = _Example()
    for key, value in sorted(features.items()):
        entry = example.features.feature.add(key=key)
        if isinstance(value, bytes):
            entry.value.bytes_list.value.append(value)
        else:
            entry.value.float_list.value.extend(value)
    return example.SerializeToString()


def parse_example(data: bytes) -> dict[str, Sequence[bytes] | Sequence[float] | Sequence[int]]:
    """Parse a `tf.train.Example` into one sequence of values per key; ValueError if it is none."""
    try:
        example = _Example.FromString(data)
    except DecodeError:
        raise ValueError("not a tf.train.Example message") from None
    return {
        entry.key: next((values.value for _, values in entry.value.ListFields()), ())
        for entry in example.features.feature
    }
