import pytest

from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.energy import Energy


def test_energy_per_token():
    energy = Energy(7.2e6, 100)

    assert energy.joules_per_token(Tokens(1, 3e6, 0, 1e6)) == pytest.approx(1.8)
    assert energy.joules_per_token(Tokens()) is None
    assert energy + Energy(1, 2) == Energy(7.2e6 + 1, 102)
