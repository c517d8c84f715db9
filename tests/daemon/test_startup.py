from __future__ import annotations

import os
import stat

import pytest

from convod.startup import CannotStart, state_directory


def test_the_state_directory_is_made_for_its_user_alone(tmp_path):
    path = tmp_path / "deep" / "state"
    before = os.umask(0o022)
    try:
        with state_directory(path) as made:
            assert made == path
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            assert stat.S_IMODE((path / "spool").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_two_daemons_do_not_work_in_one_place(tmp_path):
    with state_directory(tmp_path):
        with pytest.raises(CannotStart, match="another convod") as refused, state_directory(tmp_path):
            pass
        assert "--state-dir" in str(refused.value)
    with state_directory(tmp_path):
        pass


def test_a_place_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="--state-dir"), state_directory(tmp_path / "file" / "state"):
        pass
