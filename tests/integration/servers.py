"""Starts the Node servers that the tests run against, each on a free port of 127.0.0.1, and ends them."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
START_WITHIN_S = 60
STOP_WITHIN_S = 5

AIMOCK_KEY = "key-of-the-tests"
AIMOCK = "@copilotkit/aimock/dist/cli.js"
GATEWAY = "@portkey-ai/gateway/build/start-server.js"


@contextmanager
def node_server(script: str, *arguments: str, **environment: str) -> Generator[str]:
    """The address of the server that `script` in node_modules starts; it is gone on leaving.

    Of this process's environment it sees nothing but the PATH: a developer's keys are none of its business.
    """
    node = shutil.which("node")
    path = HERE / "node_modules" / script
    assert node, "Node.js is missing: run .ci/integration, which installs it"
    assert path.is_file(), f"{path} is missing: run .ci/integration, which installs it"
    with subprocess.Popen(
        [node, "--import", str(HERE / "loopback.mjs"), str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=HERE,
        env={"PATH": os.environ["PATH"], **environment},
    ) as process:
        try:
            yield f"http://127.0.0.1:{_port(process)}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _port(process: "subprocess.Popen[str]") -> int:
    """What loopback.mjs prints. All that comes after is read and dropped, so that the server never waits for us."""
    assert process.stdout is not None
    too_late = threading.Timer(START_WITHIN_S, process.kill)
    too_late.start()
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.fullmatch(r"listening on port (\d+)\n", line):
                threading.Thread(target=_drop, args=(process.stdout,)).start()
                return int(found[1])
    finally:
        too_late.cancel()
    raise AssertionError(f"the server ended before it listened:\n{''.join(said)}")


def _drop(output: IO[str]) -> None:
    for _ in output:
        pass
