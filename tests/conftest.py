import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure. On a developer's machine every run tries other inputs; CI repeats the same ones.
settings.register_profile(
    "orchestra",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("orchestra")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
