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
    made = ["data", "make", "brain_mri", tmp_path / "set", "--n_train=1", "--n_valid=1", "--n_test=0", "--size=32"]
    for arguments, status, out, err in (
        (made, 0, f"made 2 synthetic images in {tmp_path / 'set'}\n", ""),
        (["data", "make", "brain_mri", tmp_path / "set"], 1, "", "holds another data set"),
    ):
        result = subprocess.run(
            [sys.executable, "-m", "tools", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert result.returncode == status
        assert result.stdout == out
        assert err in result.stderr
        assert result.stderr.count("\n") == status  # no bar where there is no terminal, no traceback


def test_existing_set_is_kept(tmp_path, capsys):
    arguments = ["data", "make", "brain_mri", tmp_path / "set", "--n_train=1", "--n_valid=0", "--n_test=0", "--size=32"]
    assert run(*arguments) == 0
    assert run(*arguments) == 0
    assert "holds these 1 synthetic images already" in capsys.readouterr().out


def test_errors_are_one_line(tmp_path, capsys):
    assert run("data", "make", "brain_mri", tmp_path / "set", "--n_train=abc") == 1
    assert capsys.readouterr().err == "error: brain_mri: n_train must be an integer of 0 or more, got 'abc'\n"
    assert run("report", tmp_path / "none") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_unknown_set_is_refused_with_the_choices(tmp_path, capsys):
    assert run("data", "make", "knee", tmp_path / "set") == 1
    captured = capsys.readouterr()
    assert "knee" in captured.err
    assert "brain_mri" in captured.err


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
    ],
)
def test_help_lists_what_may_follow(words, expected, capsys):
    assert run(*words) == 0
    captured = capsys.readouterr()
    for text in expected:
        assert text in captured.out + captured.err


def test_report_is_written_where_asked(tmp_path, capsys):
    (tmp_path / "metrics.csv").write_text(
        "protocol,file,slice,method,psnr\nmagnitude_slice,a.png,0,reconstruction,30\n"
    )
    assert run("report", tmp_path, "--out", tmp_path / "page.html", "--title", "A <title>") == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'page.html'}\n"
    assert "<h1>A &lt;title&gt;</h1>" in (tmp_path / "page.html").read_text()
    assert run("report", tmp_path) == 0
    assert (tmp_path / "report.html").is_file()


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
