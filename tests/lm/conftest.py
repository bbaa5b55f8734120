"""Every test that asks for `kind` runs for learned and for rotary positions."""

import pytest


@pytest.fixture(params=["gpt2", "llama"])
def kind(request) -> str:
    return request.param
