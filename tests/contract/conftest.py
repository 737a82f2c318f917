"""The cases and their layers, each of them in turn."""

import pytest
from subjects import SUBJECTS

from npbn.testing import CASES


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    """Every operation."""
    return request.param


@pytest.fixture(params=SUBJECTS.values(), ids=SUBJECTS)
def subject(request):
    """Every layer that a case has."""
    return request.param
