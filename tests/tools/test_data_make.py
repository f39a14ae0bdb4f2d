"""`tools data make`: a set by its name, made once."""

import pytest

from common.phantoms.sets import SETS
from tools.command import run_commands
from tools.data import COMMANDS, make


def run_make(*words):
    return run_commands(COMMANDS, "tools data", ["make", *map(str, words)])


def test_the_help_names_every_set_and_its_options():
    for name, kind in SETS.items():
        assert f"        {name} " in make.__doc__
        for option in kind.defaults:
            assert f"--{option}" in make.__doc__


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (["cardiac_cine", "--size=32", "--n_slices=1", "--n_frames=3"], "2 synthetic hearts"),
        (["knee_mri", "--size=32", "--n_slices=2", "--n_coils=2"], "2 synthetic volumes"),
        (["textures", "--size=32"], "32 synthetic images"),
    ],
)
def test_a_set_is_made_once(words, made, tmp_path, capsys):
    words = [words[0], tmp_path / "set", *words[1:], "--n_train=1", "--n_valid=1", "--n_test=0"]
    assert run_make(*words) == 0
    assert capsys.readouterr().out == f"made {made} in {tmp_path / 'set'}\n"
    assert run_make(*words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'set'} holds these {made} already\n"


@pytest.mark.parametrize("words", [["brain", "DIR"], ["rock", "DIR", "--dims=3"], ["rock", "DIR", "--size=8"]])
def test_a_wrong_name_or_option_is_one_line(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_make(*words) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words[-1].lstrip("-").split("=")[0] in error or words[0] in error
    assert list(tmp_path.iterdir()) == []
