"""The command line: exit status, one-line errors, help."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.__main__ import PLACES, main
from tools.command import command, run_commands

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_process_tells_success_and_failure_by_its_exit_status(tmp_path):
    for words, status in ((["--help"], 0), (["run", "none.yaml"], 1)):
        command = [sys.executable, "-m", "tools", *words]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == status
        assert bool(result.stdout) == (status == 0)
        assert result.stderr.count("\n") == status  # no traceback


def test_errors_are_one_line(tmp_path, capsys):
    assert run("data", "make", "brain_mri", tmp_path / "set", "--n_train=abc") == 1
    assert capsys.readouterr().err == "error: brain_mri: n_train must be an integer of 0 or more, got 'abc'\n"
    assert run("report", tmp_path / "none") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_unknown_command_is_refused_with_the_choices(capsys):
    assert run("tasks", "list.yaml") == 2
    assert ", ".join(PLACES) in capsys.readouterr().err


def test_the_list_of_commands_takes_no_import_of_them():
    code = "import sys, tools.__main__ as t; t.main([]); sys.exit(bool({'torch', 'numpy', 'pandas'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(PLACES)
    assert all(len(line.split()) > 3 for line in lines)


def test_misspelt_option_is_refused_before_anything_runs(tmp_path, capsys):
    assert run("data", "make", "brain_mri", tmp_path / "set", "--n_trian=3") == 1
    assert "n_trian" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], list(PLACES)),
        (["--help"], ["run ", "Run the tasks of FILE one after another"]),
        (["data"], ["make", "check"]),
        (["data", "check", "--help"], ["DIRECTORY", "--json", "Exit status"]),
        (["new", "--help"], ["NAME", "KIND", "super_resolution"]),
        (["report", "--help"], ["RESULTS_DIR", "--out"]),
        (["zoo", "package", "--help"], ["NAME", "--zoo_test"]),
    ],
)
def test_help_lists_what_may_follow(words, expected, capsys):
    assert run(*words) == 0
    captured = capsys.readouterr()
    for text in expected:
        assert text in captured.out + captured.err


def test_interrupt_and_defects(capsys):
    @command
    def stop():
        raise KeyboardInterrupt

    @command
    def defect():
        raise TypeError("a mistake in the program")

    assert run_commands({"stop": stop}, "tools", ["stop"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(TypeError):
        run_commands({"defect": defect}, "tools", ["defect"])
