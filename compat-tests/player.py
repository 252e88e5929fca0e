"""What the clients written in Python share: the scenario table, the control of the broker, and the result lines."""

import json
import os
import sys
import time
import traceback
import urllib.request

BOOTSTRAP = os.environ.get("COMPAT_BOOTSTRAP", "")
WORK = os.environ.get("COMPAT_WORK", "/tmp")
# The largest value of a lone record whose batch is exactly 1048588 bytes, Kafka's default max.message.bytes.
LARGEST_VALUE_BYTES = 1048516
TABLE = {}


class NotExpressible(Exception):
    """The client has no way to play the scenario: its cell is '-'."""


def scenario(name):
    def register(function):
        TABLE[name] = function
        return function

    return register


def control(step):
    """Asks the runner for /kill9, /start or /kill9-and-restart and returns when that is done."""
    request = urllib.request.Request(os.environ["COMPAT_CONTROL"] + step, method="POST", data=b"")
    with urllib.request.urlopen(request, timeout=80) as answer:
        answer.read()


def equal(got, expected, what):
    if got != expected:
        raise AssertionError(f"{what}: expected {str(expected)[:200]}, got {str(got)[:200]}")


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def until(condition, what, timeout_s=30):
    """Polls the condition until it holds; what is told on time-out may be a function."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def event(**fields):
    print(json.dumps(fields), flush=True)


def play():
    """Plays the scenarios that the runner asks for and this client knows, in the runner's order."""
    for name in os.environ["COMPAT_SCENARIOS"].split(","):
        if name not in TABLE:
            continue
        event(scenario=name)
        started = time.monotonic()
        result, reason = "pass", ""
        try:
            TABLE[name]()
        except NotExpressible as error:
            result, reason = "-", str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            result, reason = "fail", f"{type(error).__name__}: {error}"
        event(scenario=name, result=result, reason=reason, seconds=round(time.monotonic() - started, 2))
