"""TFRecord files without TensorFlow: framing with both checksums, and `tf.train.Example` messages.

A record is: length (uint64, little endian), masked CRC32C of those 8 bytes, the data, masked CRC32C
of the data.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from lamd.base.errors import LamdError

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
FRAMING_BYTES = _HEADER.size + _FOOTER.size
_MASK_DELTA = 0xA282EAD8

FeatureValue = bytes | Sequence[float] | Sequence[int]


@dataclass(frozen=True)
class RecordSpan:
    """Where one record lies: byte `offset` of its header and `length` of its data in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the byte after the record."""
        return self.offset + self.length + FRAMING_BYTES


class RecordError(Exception):
    """A broken record; `reason` is one phrase, `offset` the record's first byte in `path`."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path}: record at byte {offset}: {reason}")
        self.path, self.offset, self.reason = path, offset, reason

    def for_user(self) -> LamdError:
        """Return the one line shown to a user."""
        return LamdError(f"{self}; fetch or simulate this file again")


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


def write_records(path: Path, records: Iterable[bytes]) -> int:
    """Write a TFRecord file that appears only when complete; return the number of records."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            for data in records:
                stream.write(frame_record(data))
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise LamdError(
            f"{path}: cannot be written ({error.strerror});"
            " free some space or choose another folder"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return count


def index_records(path: Path) -> list[RecordSpan]:
    """Index a file by reading its record headers only; data checksums wait for `read_record`.

    Raises:
        LamdError: on an unreadable or empty file and on the first broken or truncated record.
    """
    try:
        spans = list(scan_records(path))
    except RecordError as error:
        raise error.for_user() from None
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

    Tried are the length that the header states and `guesses`, data lengths in bytes; one is right
    when a sound header, or the end of the file, follows.
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
        value = features[key]
        feature = example.features.feature[key]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif all(isinstance(v, int) for v in value):
            feature.int64_list.value.extend(value)
        else:
            feature.float_list.value.extend(value)
    return example.SerializeToString(deterministic=True)


def parse_example(data: bytes) -> dict[str, Sequence[bytes] | Sequence[float] | Sequence[int]]:
    """Parse a `tf.train.Example` into one sequence of values for each key.

    Raises:
        ValueError: when `data` is no such message.
    """
    try:
        example = _Example.FromString(data)
    except DecodeError:
        raise ValueError("not a tf.train.Example message") from None
    parsed = {}
    for key, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        parsed[key] = getattr(feature, kind).value if kind else ()
    return parsed


def _example_class() -> type:
    """Build the message classes of tensorflow/core/example/{example,feature}.proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="lamd/example.proto", package="lamd.tfrecord", syntax="proto3"
    )

    def message(name: str) -> descriptor_pb2.DescriptorProto:
        return file.message_type.add(name=name)

    def add(owner, name, number, kind, label=field.LABEL_OPTIONAL, of=None):
        type_name = f".lamd.tfrecord.{of}" if of else None
        return owner.field.add(
            name=name, number=number, type=kind, label=label, type_name=type_name
        )

    many = field.LABEL_REPEATED
    add(message("BytesList"), "value", 1, field.TYPE_BYTES, many)
    add(message("FloatList"), "value", 1, field.TYPE_FLOAT, many)
    add(message("Int64List"), "value", 1, field.TYPE_INT64, many)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, kind in enumerate(("Bytes", "Float", "Int64"), start=1):
        name = f"{kind.lower()}_list"
        add(feature, name, number, field.TYPE_MESSAGE, of=f"{kind}List").oneof_index = 0
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, of="Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, many, of="Features.FeatureEntry")
    add(message("Example"), "features", 1, field.TYPE_MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lamd.tfrecord.Example"))


_Example = _example_class()
