"""How a process ends when its input is at fault."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# One process imports, then forks one child for each case: importing takes seconds.
SCRIPT = """
import os, sys
from monai.bundle import ConfigParser
from common.errors import NonFiniteLossError, report_errors_in_one_line

def parse(expression):
    config = {"imports": ["$from common.data import find_slices, SliceDataset"], "dataset_dir": sys.argv[1],
              "dataset": {"_target_": "common.data.SliceDataset", "data": "$find_slices(@dataset_dir)"},
              "missing": "$find_slices('nowhere', hint='make some')", "damaged": "$@dataset[0]"}
    ConfigParser(config).get_parsed_content(expression)

def non_finite():
    raise NonFiniteLossError("loss term critic is not finite")

def defect():
    raise AttributeError("a defect of ours")

cases = [("missing", lambda: parse("missing"), {}), ("damaged", lambda: parse("damaged"), {}),
         ("non_finite", non_finite, {}), ("defect", defect, {}),
         ("full", lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x"), {}),
         ("interrupted", lambda: os.kill(os.getpid(), 2), {}),
         ("debug", lambda: parse("missing"), {"MONAI_DEBUG": "true"})]
for name, case, environment in cases:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(f"{sys.argv[2]}/{name}", os.O_CREAT | os.O_WRONLY), 2)
        os.environ.update(environment)
        report_errors_in_one_line()
        case()
    expected = -2 if name == "interrupted" else 1
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == expected, name
"""


@pytest.fixture(scope="module")
def stderr(tmp_path_factory):
    """What each case wrote, by name; every one ended with exit status 1."""
    data, results = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("results")
    (data / "brain.npy").write_bytes(b"\x93NUMPY not an array")
    environment = {key: value for key, value in os.environ.items() if key != "MONAI_DEBUG"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(data), str(results)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_text() for path in results.iterdir()}


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("missing", "error: dataset_dir: no folder nowhere; make some\n"),
        ("non_finite", "error: loss term critic is not finite\n"),
    ],
)
def test_input_at_fault_is_one_line(stderr, case, line):
    assert stderr[case] == line


@pytest.mark.parametrize(("case", "keywords"), [("full", "error: .*No space left"), ("interrupted", "interrupted: ")])
def test_a_full_disk_and_an_interrupt_are_one_line(stderr, case, keywords):
    (line,) = stderr[case].splitlines()
    assert re.match(keywords, line)


def test_a_damaged_file_is_one_line_that_names_it(stderr):
    """Though MONAI wraps the error, and the error wraps what the decoder raised."""
    (line,) = stderr["damaged"].splitlines()
    assert line.startswith("error: ")
    assert "brain.npy: cannot be read as" in line


def test_a_defect_keeps_its_traceback(stderr):
    assert stderr["defect"].startswith("Traceback")
    assert "AttributeError: a defect of ours" in stderr["defect"]


def test_debugging_keeps_the_traceback(stderr):
    assert "Traceback" in stderr["debug"]
    assert "FileNotFoundError: dataset_dir: no folder nowhere; make some" in stderr["debug"]
