"""Values as JSON data and back."""

from decimal import Decimal

import pytest

from pertoken.raw.codec import CodecError, decode, encode


def test_values_of_other_types_are_not_encoded():
    with pytest.raises(CodecError):
        encode(object())


def test_decimals_keep_their_digits():
    assert decode(Decimal, encode(Decimal("1.2300000000000000000000000001"))) == Decimal(
        "1.2300000000000000000000000001"
    )
    with pytest.raises(CodecError):
        decode(Decimal, "abc")
