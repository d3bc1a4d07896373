"""The package's types, as mypy sees them, and the stubs of the native half against what is there."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")


def run(*arguments):
    # Outside of the sources: stubtest compares what is installed.
    found = subprocess.run([sys.executable, "-m", *arguments], cwd="/", capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_package_is_typed():
    pytest.importorskip("torch")
    root = Path(__file__).parent.parent
    run("mypy", "--strict", "--ignore-missing-imports", "--cache-dir=/dev/null", str(root / "python" / "znn"), str(root / "examples"))


def test_stubs_are_those_of_the_native_half():
    run("mypy.stubtest", "znn._znn")
