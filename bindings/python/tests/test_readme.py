"""The snippets of the README run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet, tmp_path, monkeypatch):
    if "torch" in snippet:
        pytest.importorskip("torch")
    # They are meant for the root of the repository.
    (tmp_path / "examples").symlink_to(ROOT.parent.parent / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "__main__"})


def test_there_is_a_snippet_for_each_way():
    assert len(SNIPPETS) == 3
