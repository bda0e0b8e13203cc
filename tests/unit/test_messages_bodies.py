"""Bodies on their way: which are gzipped, and what comes out again."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import (
    GZIP_ABOVE_BYTES,
    UNPACKED_MAX_BYTES,
    pack,
    unpack,
)
from tests.unit.builders import delivery


@pytest.mark.parametrize("size", [0, 1, GZIP_ABOVE_BYTES])
def test_a_body_up_to_one_mebibyte_travels_as_it_is(size: int) -> None:
    assert pack(b"x" * size) == (b"x" * size, None)


def test_a_larger_body_travels_gzipped_and_comes_out_the_same() -> None:
    body = b"\xff{" * GZIP_ABOVE_BYTES
    packed, encoding = pack(body)
    assert encoding == "gzip"
    assert len(packed) < len(body) / 100
    assert gzip.decompress(packed) == body
    assert unpack(delivery(packed, content_encoding=encoding)) == body


def test_a_body_is_packed_to_the_same_bytes_each_time() -> None:
    """A time in the header would make other bytes of the same body a second later."""
    packed, _ = pack(b"call" * GZIP_ABOVE_BYTES)
    assert packed[:8] == b"\x1f\x8b\x08\x00" + bytes(4)


@given(st.binary())
def test_whoever_gzips_a_small_body_is_read_too(body: bytes) -> None:
    assert unpack(delivery(gzip.compress(body), content_encoding="gzip")) == body


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_a_body_without_an_encoding_is_left_alone(encoding: str | None) -> None:
    assert unpack(delivery(b"\x1f\x8b", content_encoding=encoding)) == b"\x1f\x8b"


@pytest.mark.parametrize("encoding", ["br", "deflate", "GZIP ", "gzip, gzip"])
def test_another_encoding_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding):
        unpack(delivery(content_encoding=encoding))


@pytest.mark.parametrize("cut", [1, 4, 8, 20])
def test_a_gzip_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        unpack(delivery(gzip.compress(b"a call " * 99)[:-cut], content_encoding="gzip"))


@pytest.mark.parametrize("body", [b"", b"{}", b"\x1f\x8b\x08garbage", zlib.compress(b"{}")])
def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not gzip|cut off"):
        unpack(delivery(body, content_encoding="gzip"))


def test_a_gzip_whose_checksum_is_wrong_is_refused() -> None:
    body = bytearray(gzip.compress(b"a call"))
    body[-6] ^= 1
    with pytest.raises(ValueError, match="not gzip"):
        unpack(delivery(bytes(body), content_encoding="gzip"))


def test_a_gzip_bomb_is_refused_at_the_limit() -> None:
    squeezer = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join(squeezer.compress(bytes(2**24)) for _ in range(UNPACKED_MAX_BYTES // 2**24 + 1)) + squeezer.flush()
    assert len(bomb) < 2**21
    with pytest.raises(ValueError, match=f"larger than {UNPACKED_MAX_BYTES}"):
        unpack(delivery(bomb, content_encoding="gzip"))
