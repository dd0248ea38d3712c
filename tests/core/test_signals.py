"""Signals: at once and cleanly, or deferred to whoever looks; real ones, sent to this process."""

import os
import signal
import threading

import pytest

from tunny.core.errors import Stopped
from tunny.core.signals import watch_signals


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


def defer_nothing(request):
    with request.deferred():
        pass


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_at_once_with_its_code(number, code):
    with pytest.raises(Stopped) as caught, watch_signals():
        send(number)
    assert caught.value.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_deferred_signal_only_asks(number):
    with watch_signals() as request, request.deferred():
        assert request.signum is None
        send(number)
        assert request.signum == number


def test_a_second_signal_stops_a_deferred_stop_at_once():
    with pytest.raises(Stopped) as caught, watch_signals() as request, request.deferred():
        send(signal.SIGTERM, signal.SIGINT)
    assert caught.value.exit_code == 130


def test_after_the_deferred_block_a_signal_stops_at_once_again():
    with watch_signals() as request:
        defer_nothing(request)
        with pytest.raises(Stopped):
            send(signal.SIGTERM)


def test_the_former_handlers_come_back_even_after_a_stop():
    former = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped), watch_signals():
        send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == former


def test_another_thread_leaves_the_signals_to_their_owner():
    former, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with watch_signals() as request:
            seen.append((signal.getsignal(signal.SIGTERM), request.signum))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(former, None)]
