"""Schemathesis on our own description: whatever it sends is answered, in the shape that was promised."""

import os
import shutil
import subprocess
from pathlib import Path

from orchestras import served

SCHEMATHESIS = Path(__file__).parent / "clients" / ".venv-schemathesis" / "bin" / "st"
PATIENCE_S = 120
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
"""Not `positive_data_acceptance`: no schema says which tool results answer which calls."""


def test_the_surface_is_as_it_is_described_whatever_is_sent(tmp_path: Path) -> None:
    assert shutil.which(SCHEMATHESIS), "Schemathesis is missing: run .ci/integration, which installs it"
    with served(tmp_path) as server:
        ended = subprocess.run(
            [
                SCHEMATHESIS,
                "run",
                server.url.replace("/mcp", "/openapi.json"),
                f"--header=Authorization: Bearer {server.key}",
                f"--checks={','.join(CHECKS)}",
                "--phases=examples,coverage,fuzzing",
                "--max-examples=10",
                "--seed=1",
                "--suppress-health-check=all",
                "--warnings=off",
                "--no-color",
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    assert ended.returncode == 0, ended.stdout[-6000:]
