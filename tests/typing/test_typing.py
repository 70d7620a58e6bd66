"""The types of the public surface, proved by mypy and pyright, both strict.

The files beside this one state types with `assert_type` and mistakes with ``type: ignore``. An
ignore that is not needed is itself an error, so that a mistake which is no longer found is found.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CASES = sorted(path for path in HERE.glob("*.py") if path != Path(__file__))


def output_of(tool: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=300,
    )
    return done.stdout


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(tool) is None, reason=f"{tool} is not installed"
    )


@needs("mypy")
def test_mypy(tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nwarn_unused_ignores = True\n")
    output = output_of("mypy", f"--config-file={config}", *map(str, CASES), cwd=tmp_path)
    assert output == f"Success: no issues found in {len(CASES)} source files\n"


@needs("pyright")
def test_pyright(tmp_path: Path) -> None:
    for path in CASES:
        shutil.copy(path, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps(
            {"typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": "error"}
        )
    )
    report = output_of("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=tmp_path)
    if not report.startswith("{"):
        pytest.skip("pyright did not start: its first run downloads node")
    output = json.loads(report)
    assert [
        f"{Path(found['file']).name}:{found['range']['start']['line'] + 1}: {found['message']}"
        for found in output["generalDiagnostics"]
    ] == []
    assert output["summary"]["filesAnalyzed"] == len(CASES)


def test_there_are_cases() -> None:
    assert [path.stem for path in CASES] == ["called", "decorated"]
    mistakes = sum(path.read_text().count("# type: ignore[") for path in CASES)
    assert mistakes >= 25
