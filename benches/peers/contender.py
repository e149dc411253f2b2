"""One side of a comparison: a process that makes one timed run for every line it is sent."""

import json
import os
import statistics
import subprocess
import threading
import time
from itertools import repeat
from pathlib import Path

import numpy

# A run that takes longer than this is a failure, not a slow run.
PATIENCE = 400.0

# Worker threads of some runtimes go on spinning for a while; the next contender should not meet them.
PAUSE = 0.05

# Between two turns everyone waits, so whatever the processor does then is someone else's work.
LISTEN = 0.12

# Processor cores that others may take before a time is no measurement any more.
QUIET = 0.2

# Largest difference from PyTorch in float64, of outputs in [-1, 1]. A level of an 8-bit picture is 0.0078.
TOLERANCE = 1e-3


class Failed(Exception):
    """A contender that cannot take part, in a sentence."""


class Contender:
    """`command` prints a line of JSON once it is warm; what it printed is `ready`."""

    def __init__(self, name, threads, command, log, environment=None, output=None, ours=False):
        self.name, self.threads, self.output, self.ours = name, threads, output, ours
        self.times, self.answers, self.difference = [], [], None
        self.log = Path(log)
        self.errors = self.log.open("w")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.ready = self.answer()

    def answer(self):
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            self.process.wait()
            lines = self.log.read_text().strip().splitlines() or ["it said nothing"]
            raise Failed(f"{self.name}: {lines[-1][:300]} ({self.log})")
        return json.loads(line)

    def run(self, burst=1):
        """One turn: the median of `burst` runs without a pause."""
        answers = []
        for _ in range(burst):
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
            answers.append(self.answer())
        self.answers += answers
        self.times.append(statistics.median(answer["milliseconds"] for answer in answers))

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.errors.close()

    def check(self, reference, tolerance=TOLERANCE):
        """Compares the first output with `reference` ([3, side, side] in [-1, 1])."""
        raw = Path(self.output).read_bytes()
        if len(raw) == 4 * reference[0].size:
            # Our worker gives pictures away, RGBA8: the same rounding, and one level for a value between two.
            found = numpy.frombuffer(raw, numpy.uint8).reshape(*reference.shape[1:], 4)[..., :3]
            levels = numpy.clip(numpy.floor((reference + 1.0) * 127.5 + 0.5), 0, 255)
            self.difference = float(numpy.abs(found.transpose(2, 0, 1) - levels).max()) / 127.5
            tolerance = 1.001 / 127.5
        else:
            found = numpy.frombuffer(raw, numpy.float32).reshape(reference.shape)
            self.difference = float(numpy.abs(found - reference).max())
        # Not `>`: NaN must fail.
        if not self.difference <= tolerance:
            raise Failed(f"{self.name} computes something else: off by {self.difference:.1e}, allowed {tolerance:.1e}")

    @property
    def median(self):
        return statistics.median(self.times)

    def record(self):
        found = {"name": self.name, "threads": self.threads, "milliseconds": [round(t, 2) for t in self.times]}
        found["median"] = round(self.median, 2)
        if self.difference is not None:
            found["difference"] = self.difference
        return found


def busy_seconds():
    """Processor time spent by everyone since the machine started, or taken from it by its host."""
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = (
        int(ticks) for ticks in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")


def others(seconds):
    """Cores that are busy while this program waits."""
    before, start = busy_seconds(), time.monotonic()
    time.sleep(seconds)
    return (busy_seconds() - before) / (time.monotonic() - start)


def interleave(contenders, rounds, bursts=repeat(1)):
    """A B C, A B C, …: whatever slows the machine meets all of them. `bursts` are the runs a turn of each contender.
    Returns the cores that others took meanwhile."""
    heard = []
    for _ in range(rounds):
        for contender, burst in zip(contenders, bursts):
            contender.run(burst)
            time.sleep(PAUSE)
            heard.append(others(LISTEN))
    return round(statistics.mean(heard), 2)


def ratio(ours, theirs):
    """Median over the rounds of our time over theirs in the same round."""
    return statistics.median(a / b for a, b in zip(ours.times, theirs.times))
