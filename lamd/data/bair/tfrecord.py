"""TFRecord files without TensorFlow: framing with both checksums, and `tf.train.Example` messages.

A record is: length (uint64, little endian), masked CRC32C of those 8 bytes, the data, masked CRC32C
of the data.
"""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from lamd.base.errors import LamdError
from lamd.base.files import replace_file

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
FRAMING_BYTES = _HEADER.size + _FOOTER.size
_MASK_DELTA = 0xA282EAD8

_FIELD = descriptor_pb2.FieldDescriptorProto
FeatureValue = bytes | Sequence[float] | Sequence[int]


@dataclass(frozen=True)
class RecordSpan:
    """Position of a record: byte `offset` of its header and `length` of its data in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the byte after the record."""
        return self.offset + self.length + FRAMING_BYTES


class RecordError(LamdError):
    """A broken record; `reason` is one phrase, `offset` the record's first byte in `path`."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{path}: record at byte {offset}: {reason}; fetch or simulate this file again"
        )
        self.path, self.offset, self.reason = path, offset, reason

    def __reduce__(self) -> tuple:
        return RecordError, (self.path, self.offset, self.reason)


def masked_crc(data: bytes) -> int:
    """Return the masked CRC32C that TFRecord stores, a 32-bit number."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """Return `data` with length and checksums around it."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, _FOOTER.pack(masked_crc(length)), data, _FOOTER.pack(masked_crc(data)))
    )


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file that appears only when complete."""

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            stream.writelines(map(frame_record, records))

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

    Raises:
        LamdError: on an unreadable or empty file and on the first broken or truncated record.
    """
    try:
        spans = list(scan_records(path))
    except OSError as error:
        raise LamdError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if not spans:
        raise LamdError(f"{path}: empty file, no records; fetch or simulate this file again")
    return spans


def scan_records(path: Path, start: int = 0) -> Iterator[RecordSpan]:
    """Yield the spans from byte `start` on, headers checked, data unread.

    Raises:
        RecordError: at the first header that is cut short, broken or points past the end.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        offset = start
        while offset < size:
            span = _read_header(stream, path, offset, size)
            yield span
            offset = span.end


def _read_header(stream: BinaryIO, path: Path, offset: int, size: int) -> RecordSpan:
    stream.seek(offset)
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise RecordError(path, offset, f"truncated header ({len(header)} of {_HEADER.size} bytes)")
    length, crc = _HEADER.unpack(header)
    if crc != masked_crc(header[:8]):
        raise RecordError(path, offset, "length checksum mismatch")
    span = RecordSpan(offset, length)
    if span.end > size:
        left = size - offset - _HEADER.size
        raise RecordError(path, offset, f"truncated data ({left} of {length + 4} bytes)")
    return span


def resume_after(path: Path, broken: int, guesses: Iterable[int]) -> int | None:
    """Return the byte where indexing can go on after the broken header at byte `broken`, if any.

    A sound header or the end of the file follows a record of the length that the header states, or
    of one of `guesses`, in bytes.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(broken)
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        for length in (_HEADER.unpack(header)[0], *guesses):
            end = RecordSpan(broken, length).end
            try:
                if end == size or (end < size and _read_header(stream, path, end, size)):
                    return end
            except RecordError:
                continue
    return None


def read_record(path: Path, span: RecordSpan) -> bytes:
    """Read one record's data and check its checksum.

    Raises:
        RecordError: when the file has become shorter or the checksum fails.
    """
    with path.open("rb") as stream:
        stream.seek(span.offset + _HEADER.size)
        body = stream.read(span.length + _FOOTER.size)
    if len(body) < span.length + _FOOTER.size:
        raise RecordError(path, span.offset, "truncated data (the file has become shorter)")
    data = body[: span.length]
    if _FOOTER.unpack(body[span.length :])[0] != masked_crc(data):
        raise RecordError(path, span.offset, "data checksum mismatch")
    return data


def encode_example(features: Mapping[str, FeatureValue]) -> bytes:
    """Serialize features as a `tf.train.Example`, keys sorted so that bytes are reproducible."""
    example = _Example()
    for key in sorted(features):
        value, entry = features[key], example.features.feature.add(key=key)
        if isinstance(value, bytes):
            entry.value.bytes_list.value.append(value)
        elif all(isinstance(v, int) for v in value):
            entry.value.int64_list.value.extend(value)
        else:
            entry.value.float_list.value.extend(value)
    return example.SerializeToString()


def parse_example(data: bytes) -> dict[str, Sequence[bytes] | Sequence[float] | Sequence[int]]:
    """Parse a `tf.train.Example` into one sequence of values for each key.

    Raises:
        ValueError: when `data` is no such message.
    """
    try:
        example = _Example.FromString(data)
    except DecodeError:
        raise ValueError("not a tf.train.Example message") from None
    return {
        entry.key: next((values.value for _, values in entry.value.ListFields()), ())
        for entry in example.features.feature
    }


def _example_class() -> Any:
    """Build the messages of tensorflow/core/example/{example,feature}.proto.

    A map has the wire format of repeated entries, a oneof that of plain fields.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="lamd/example.proto", package="lamd.tfrecord", syntax="proto3"
    )
    scalars = {
        "bytes": _FIELD.TYPE_BYTES, "float": _FIELD.TYPE_FLOAT, "int64": _FIELD.TYPE_INT64,
        "string": _FIELD.TYPE_STRING,
    }  # fmt: skip
    for message, fields in {  # type and name of each field, numbered from 1
        "BytesList": "repeated bytes value",
        "FloatList": "repeated float value",
        "Int64List": "repeated int64 value",
        "Feature": "BytesList bytes_list, FloatList float_list, Int64List int64_list",
        "Entry": "string key, Feature value",
        "Features": "repeated Entry feature",
        "Example": "Features features",
    }.items():
        owner = file.message_type.add(name=message)
        for number, field in enumerate(fields.split(", "), start=1):
            *repeated, kind, name = field.split()
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            added = owner.field.add(name=name, number=number, label=label)
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type_name = f".lamd.tfrecord.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lamd.tfrecord.Example"))


_Example = _example_class()
