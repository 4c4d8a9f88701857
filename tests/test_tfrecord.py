import pickle
import struct

import numpy as np
import pytest
from bair_files import flip
from hypothesis import given, settings
from hypothesis import strategies as st
from tfrecord.reader import tfrecord_loader
from tfrecord.writer import TFRecordWriter

from lamd.base.errors import LamdError
from lamd.data.bair.tfrecord import (
    RecordError,
    RecordSpan,
    encode_example,
    index_records,
    masked_crc,
    parse_example,
    read_record,
    scan_records,
    write_records,
)

RECORDS = [b"first record", b"", b"third" * 50]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.tfrecords"
    write_records(path, RECORDS)
    return path


def test_crc_is_crc32c_masked():
    # RFC 3720 B.4: CRC32C of 32 zero bytes is 0x8a9136aa
    crc = 0x8A9136AA
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc(bytes(32)) == struct.pack("<I", masked)


def test_reads_what_the_tfrecord_package_writes(tmp_path):
    path = tmp_path / "theirs.tfrecords"
    writer = TFRecordWriter(str(path))
    for i in range(3):
        writer.write(
            {
                "bytes": ([b"\x00\xff" * i, b"b"], "byte"),
                "floats": ([0.5, -1.25, float(i)], "float"),
                "ints": ([i, -(2**40)], "int"),
            }
        )
    writer.close()
    spans = index_records(path)
    assert len(spans) == 3
    for i, span in enumerate(spans):
        parsed = parse_example(read_record(path, span))
        assert list(parsed["bytes"]) == [b"\x00\xff" * i, b"b"]
        assert list(parsed["floats"]) == [0.5, -1.25, float(i)]
        assert list(parsed["ints"]) == [i, -(2**40)]


def test_the_tfrecord_package_reads_what_we_write(tmp_path):
    path = tmp_path / "ours.tfrecords"
    examples = [{"b": bytes([i]) * 5, "f": [1.5, float(i)]} for i in range(4)]
    write_records(path, map(encode_example, examples))
    kinds = {"b": "byte", "f": "float"}
    found = list(tfrecord_loader(str(path), None, kinds))
    assert len(found) == 4
    for i, example in enumerate(found):
        assert bytes(example["b"]) == bytes([i]) * 5
        np.testing.assert_array_equal(example["f"], [1.5, i])


@settings(max_examples=50, deadline=None)
@given(records=st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_framing_round_trip(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("framing") / "a.tfrecords"
    write_records(path, records)
    assert [read_record(path, span) for span in index_records(path)] == records
    assert path.stat().st_size == sum(len(record) + 16 for record in records)


@settings(max_examples=50, deadline=None)
@given(junk=st.binary(max_size=100), where=st.integers(0, 400))
def test_junk_in_a_file_is_never_read_as_a_record(junk, where, tmp_path_factory):
    path = tmp_path_factory.mktemp("junk") / "a.tfrecords"
    write_records(path, RECORDS)
    sound = path.read_bytes()
    spoilt = sound[:where] + junk + sound[where + len(junk) :]
    path.write_bytes(spoilt)
    try:
        records = [read_record(path, span) for span in index_records(path)]
    except LamdError as error:
        message = str(error)
    else:
        # junk at the very end of a record boundary may go unread, but never becomes a record
        assert records == RECORDS[: len(records)]
        return
    assert str(path) in message
    assert "\n" not in message


def test_parse_example_refuses_another_message():
    for data in (b"\xff", b"\x0a\x05abc", b"\x0a\x02\x0a\x7f"):
        with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
            parse_example(data)


@pytest.mark.parametrize("offset", [0, 3, 7, 8, 11])
def test_flipped_byte_in_a_header(path, offset):
    second = index_records(path)[1].offset
    flip(path, second + offset)
    with pytest.raises(LamdError) as caught:
        index_records(path)
    assert f"byte {second}: length checksum mismatch; " in str(caught.value)


@pytest.mark.parametrize("from_end", [1, 4, 5, 100])
def test_flipped_byte_in_data_or_its_checksum(path, from_end):
    flip(path, path.stat().st_size - from_end)
    spans = index_records(path)
    with pytest.raises(RecordError) as caught:
        read_record(path, spans[2])
    assert caught.value.reason == "data checksum mismatch"
    assert caught.value.offset == spans[2].offset
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("keep", "reason"), [(5, "truncated header"), (40, "truncated data")])
def test_file_cut_short(path, keep, reason):
    last = index_records(path)[2].offset
    path.write_bytes(path.read_bytes()[: last + keep])
    with pytest.raises(LamdError, match=f"byte {last}: {reason}"):
        index_records(path)


def test_length_past_the_end_is_not_trusted(tmp_path):
    path = tmp_path / "huge.tfrecords"
    length = struct.pack("<Q", 2**63)
    path.write_bytes(length + masked_crc(length) + b"abc")
    with pytest.raises(LamdError, match="truncated data"):
        index_records(path)


def test_file_that_shrinks_after_indexing(path):
    spans = index_records(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RecordError, match="become shorter"):
        read_record(path, spans[-1])


def test_a_file_that_cannot_be_read_is_not_a_broken_record(tmp_path):
    with pytest.raises(LamdError, match=f"{tmp_path}: cannot be read") as error:
        read_record(tmp_path, RecordSpan(0, 1))
    assert not isinstance(error.value, RecordError)


def test_empty_and_missing_files(tmp_path):
    empty = tmp_path / "empty.tfrecords"
    empty.touch()
    with pytest.raises(LamdError, match="empty file"):
        index_records(empty)
    with pytest.raises(LamdError, match="No such file"):
        index_records(tmp_path / "missing.tfrecords")


def test_indexing_goes_on_after_a_broken_header(path):
    spans = index_records(path)
    flip(path, 8)
    error, *behind = scan_records(path, {})
    assert (error.offset, error.lost, behind) == (0, 0, spans[1:])
    flip(path, 8)
    flip(path, 1)
    (error,) = scan_records(path, {3: None})
    assert (error.offset, error.lost) == (0, path.stat().st_size)
    lengths = {3: None, spans[0].length: None}
    error, *behind = scan_records(path, lengths)
    assert (error.offset, error.lost, behind) == (0, 0, spans[1:])
    assert list(lengths) == [3, *(span.length for span in spans)]


def test_a_failed_write_leaves_nothing(tmp_path):
    def records():
        yield b"one"
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_records(tmp_path / "a.tfrecords", records())
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LamdError, match="cannot be written"):
        write_records(tmp_path / "file" / "a.tfrecords", [b"x"])


def test_record_error_travels_between_processes(path):
    error = pickle.loads(pickle.dumps(RecordError(path, 3, "cut short")))
    assert (error.path, error.offset, error.reason) == (path, 3, "cut short")


def test_scan_bounds_a_record_by_what_its_header_states(tmp_path):
    length = struct.pack("<Q", 2**40)
    with (path := tmp_path / "a.tfrecords").open("wb") as stream:
        stream.write(length + masked_crc(length))
        stream.truncate(2**40 + 16)  # sparse: the record is there
    with pytest.raises(LamdError, match="states 1,099,511,627,776 bytes, more than 4,194,304; "):
        index_records(path)


def test_scan_bounds_the_records_of_a_file(tmp_path):
    length = struct.pack("<Q", 0)
    empty = length + masked_crc(length) + masked_crc(b"")
    (path := tmp_path / "a.tfrecords").write_bytes(empty * 70_000)
    with pytest.raises(LamdError, match="record at byte 1048576: more than 65,536 records; "):
        index_records(path)


def test_scan_guesses_few_lengths_behind_a_broken_header(tmp_path):
    headers = [struct.pack("<Q", 2**40 + n) + bytes(4) for n in range(3)]
    (path := tmp_path / "a.tfrecords").write_bytes(b"".join(headers))
    lengths = MostlyUnread(range(10**6))
    assert [error.lost for error in scan_records(path, lengths)] == [36]
    assert lengths.read <= 32


class MostlyUnread(dict):
    """Lengths that count how many of them are read."""

    def __init__(self, keys):
        super().__init__(dict.fromkeys(keys))
        self.read = 0

    def __iter__(self):
        for key in super().__iter__():
            self.read += 1
            yield key
