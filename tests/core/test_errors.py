"""The tree of errors: who ends a command with which code."""

import signal

import pytest

from tunny.core import errors


@pytest.mark.parametrize("name", ["ConfigError", "DataError", "ModelError", "RunError", "TrainingFailed"])
def test_what_the_user_can_mend_exits_2(name):
    made = getattr(errors, name)("x")
    assert isinstance(made, errors.UserError)
    assert made.exit_code == 2


def test_our_own_faults_exit_1():
    assert errors.TunnyError("x").exit_code == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_exits_with_128_and_its_number(number, code):
    stopped = errors.Stopped(number)
    assert (stopped.exit_code, str(stopped)) == (code, f"stopped by {number.name}")


def test_a_stop_is_nothing_for_the_user_to_mend():
    assert not isinstance(errors.Stopped(signal.SIGTERM), errors.UserError)


def test_a_near_name_is_suggested_and_a_far_one_is_not():
    assert errors.did_you_mean("sein", ["drift", "seine"]) == "; did you mean 'seine'?"
    assert errors.did_you_mean("xyz", ["drift", "seine"]) == ""
