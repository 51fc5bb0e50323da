"""Processes with their logs, how long things may take, and that nothing is left behind."""

import os
import signal
import subprocess
import threading
import time

# How long a process may take to end when it is told to, in seconds.
GRACE = 15
LOG_LINES_SHOWN = 25


class Failed(Exception):
    """A scene did not go as it should. `concerned` are the processes whose logs may say why."""

    def __init__(self, what, *concerned):
        super().__init__(what)
        self.concerned = concerned


def check(holds, what, *concerned):
    if not holds:
        raise Failed(what, *concerned)


def eventually(what, probe, *concerned, seconds=30, pause=0.02):
    """Asks until the answer is not false, and gives it. Whoever is concerned has to be alive meanwhile."""
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


def run(command, *, seconds=60, **options):
    """Runs a command to its end, and gives its exit code, what it said, and the moment at which it ended."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    # To wait with a limit would be to look now and then; the moment of the end would not be exact.
    watchdog = threading.Timer(seconds, child.kill)
    watchdog.start()
    try:
        said, _ = child.communicate()
        return child.returncode, said, time.monotonic()
    finally:
        watchdog.cancel()
        if child.poll() is None:
            child.kill()
            child.wait()


class Process:
    """One process of the shop. It can be started again, and its log goes on."""

    def __init__(self, name, command, variables, directory):
        self.name, self.command, self.directory = name, command, directory
        self.variables = clean() | variables
        self.log = directory / f"{name}.log"
        self.child = None
        self.begun = 0.0

    def start(self):
        check(not self.runs(), f"{self.name} runs already")
        with open(self.log, "ab") as log:
            self.begun = time.monotonic()
            # A session of its own: Ctrl-C reaches the walk, which ends the others in order.
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.variables,
                start_new_session=True,
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
        """Waits for its end, and gives its exit code; None if it goes on."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def identity(self):
        """What stays as long as nothing is restarted: its process id, and that of the program that `headwater run` runs."""
        children = descendants(self.pid) if "run" in self.command else []
        return [self.pid, *children[:1]]

    def workers(self):
        """What the program that `headwater run` runs has started: workers, the ones of before included."""
        return [worker for program in self.identity()[1:] for worker in descendants(program)]

    def family(self):
        """The process ids of it and of what it has started."""
        return [self.pid] + descendants(self.pid)


class Processes(list):
    """All of them, and their end."""

    def add(self, *arguments):
        self.append(Process(*arguments))
        return self[-1]

    def end(self):
        """Tells all to end, and kills what does not; by process id."""
        running = [process for process in self if process.runs()]
        for process in running:
            process.tell(signal.SIGTERM)
        end = time.monotonic() + GRACE
        for process in running:
            if process.wait(max(0.0, end - time.monotonic())) is not None:
                continue
            print(f"{process.name} has to be killed", flush=True)
            for pid in process.family():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait()


def clean():
    """The variables of this process, without what would change how others behave."""
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
    """What a process takes: all that is resident, and its share of it, in MiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        sizes = dict(line.split()[:2] for line in file if line.startswith(("Rss:", "Pss:")))
    return int(sizes["Rss:"]) / 1024, int(sizes["Pss:"]) / 1024


def title(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().decode(errors="replace").split("\0")
    return os.path.basename(words[0])
