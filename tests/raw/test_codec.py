"""Values as JSON data and back."""

from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from pertoken.raw.codec import DERIVED, CodecError, decode, encode


@dataclass(frozen=True)
class Counts:
    each: tuple[int, ...]
    total: int | None = field(default=None, kw_only=True, metadata=DERIVED)
    name: str = ""


def test_what_is_worked_out_of_other_fields_is_not_saved():
    saved = encode(Counts((1, 2), "a", total=3))
    assert saved == [[1, 2], "a"]
    assert decode(Counts, saved) == Counts((1, 2), "a", total=None)


def test_values_of_other_types_are_not_encoded():
    with pytest.raises(CodecError):
        encode(object())


def test_decimals_keep_their_digits():
    assert decode(Decimal, encode(Decimal("1.2300000000000000000000000001"))) == Decimal(
        "1.2300000000000000000000000001"
    )
    with pytest.raises(CodecError):
        decode(Decimal, "abc")
