"""Processes with their logs and time limits. All of them end with the walk."""

import os
import signal
import subprocess
import threading
import time

# The time limit for a process to end after SIGTERM, in seconds.
GRACE = 15
LOG_LINES_SHOWN = 25


class Failed(Exception):
    """A scene failed. `concerned` are the processes whose logs may contain the reason."""

    def __init__(self, what, *concerned):
        super().__init__(what)
        self.concerned = concerned


def check(holds, what, *concerned):
    if not holds:
        raise Failed(what, *concerned)


def eventually(what, probe, *concerned, seconds=30, pause=0.02):
    """Polls until the result is true, and returns it. Fails when one of the concerned processes ends."""
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        for process in concerned:
            process.check_alive()
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}", *concerned)
        time.sleep(pause)


def run(command, *, seconds=60, text="", **options):
    """Runs a command that reads a text. Returns its exit code, its output and the time of its end."""
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    # `communicate` with a timeout would poll, and the time of the end would not be exact.
    watchdog = threading.Timer(seconds, child.kill)
    watchdog.start()
    try:
        said, _ = child.communicate(text)
        return child.returncode, said, time.monotonic()
    finally:
        watchdog.cancel()
        if child.poll() is None:
            child.kill()
            child.wait()


class Process:
    """One process of the shop. After a restart it appends to the same log."""

    def __init__(self, name, command, variables, directory, user=None, end_signal=signal.SIGTERM):
        self.name, self.command, self.directory = name, command, directory
        self.user, self.end_signal = user or {}, end_signal
        self.variables = clean() | variables
        self.log = directory / f"{name}.log"
        self.child = None
        self.begun = 0.0

    def start(self):
        check(not self.runs(), f"{self.name} is already running")
        with open(self.log, "ab") as log:
            self.begun = time.monotonic()
            # Its own session, so that Ctrl-C reaches only the walk, which ends the processes in order.
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.variables,
                start_new_session=True,
                **self.user,
            )

    @property
    def pid(self):
        return self.child.pid

    def runs(self):
        return self.child is not None and self.child.poll() is None

    def check_alive(self):
        code = self.child.poll()
        check(code is None, f"{self.name} has ended with {code}", self)

    def said(self, text):
        return text in self.log.read_text(errors="replace")

    def tail(self):
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line[:400]}" for line in lines[-LOG_LINES_SHOWN:])

    def tell(self, number):
        if self.runs():
            self.child.send_signal(number)

    def wait(self, seconds=GRACE):
        """Waits for the end. Returns the exit code, or None when the process is still running."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def identity(self):
        """Returns the process id, and that of the program that `headwater run` runs. A restart changes them."""
        children = descendants(self.pid) if "run" in self.command else []
        return [self.pid, *children[:1]]

    def workers(self):
        """Returns the process ids of the workers of the program that `headwater run` runs, with those of before a reload."""
        return [worker for program in self.identity()[1:] for worker in descendants(program)]

    def family(self):
        """Returns the process ids of the process and its descendants."""
        return [self.pid] + descendants(self.pid)


class Processes(list):
    """All processes of the shop."""

    def add(self, *arguments, **options):
        self.append(Process(*arguments, **options))
        return self[-1]

    def end(self):
        """Ends all processes by their signals, and kills those that do not end."""
        running = [process for process in self if process.runs()]
        for process in running:
            process.tell(process.end_signal)
        end = time.monotonic() + GRACE
        for process in running:
            if process.wait(max(0.0, end - time.monotonic())) is not None:
                continue
            print(f"{process.name} did not end and is killed", flush=True)
            for pid in process.family():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait()


def clean():
    """Returns the variables of this process without those that would change the behaviour of the others."""
    dropped = ("HEADWATER_", "GIT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(dropped)}


def descendants(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                found += [int(child) for child in children.read().split()]
    except OSError:
        return []
    return found + [below for child in found for below in descendants(child)]


def memory(pid):
    """Returns the resident memory of a process and its proportional share, in MiB.

    A server that holds keys hides its share from every user but root. The share is then None.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            lines = file.readlines()
    except PermissionError:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            lines = file.readlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("Rss:", "Pss:", "VmRSS:"))}
    return sizes.get("Rss", sizes.get("VmRSS")), sizes.get("Pss")


def title(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().decode(errors="replace").split("\0")
    return os.path.basename(words[0])
