"""The configuration of a service, at its start and while it runs. With the standard library only.

One GET asks for events: the first is what is there, the next ones are what it becomes, and whoever comes back says what he was
told last. Where something in between eats streams, plain GETs that wait do the same. Several servers stand in for each other.
What was accepted last is kept on the disk, to start from while no server is there. To be copied and changed.
"""

import http.client
import json
import logging
import os
import random
import re
import socket
import tempfile
import threading
import time
import urllib.parse

# How long servers are waited for before the copy of before will do, in seconds.
PATIENCE = 3
# A server that is behind may think for five seconds before it says so.
ANSWER_SECONDS_MAX = 10
# Three signs of life should have come by then.
SILENCE_SECONDS_MAX = 45
POLL_SECONDS = 25
# The longest pause after all servers have failed, at first, before there is a configuration, and later; in seconds.
PAUSE_SECONDS_FIRST = 0.2
PAUSE_SECONDS_START = 2
PAUSE_SECONDS_MAX = 30
BYTES_MAX = 16 * 1024 * 1024
PLACEHOLDER = re.compile(r"\$\{([^${}:]+)(?::([^${}]*))?\}")
DEPTH_MAX = 8

log = logging.getLogger("headwater")


class NoStream(Exception):
    """What came is no stream of events."""


class Behind(Exception):
    """The server does not have yet what another one has told."""


# Whatever may be wrong with one server; another one is asked.
TROUBLE = (OSError, http.client.HTTPException, ValueError, KeyError, NoStream, Behind)


class Configuration:
    """The settings of a service: `current`, always whole, always the newest that `accept` takes.

    `accept` makes them of a function that gives the text of a key; it refuses with a KeyError or a ValueError.
    """

    def __init__(self, accept):
        variable = os.environ.get
        self.application = os.environ["HEADWATER_APPLICATION"]
        self.profiles = variable("HEADWATER_PROFILES", "default")
        self.urls = [url.strip() for url in variable("HEADWATER_URL", "http://localhost:8888").split(",")]
        self.directory = variable("HEADWATER_LAST_KNOWN_GOOD")
        self.instance = f"{socket.gethostname()[:64]}-{os.getpid()}-{random.getrandbits(32):08x}"
        self.accept = accept
        self.current = None
        self.rejection = None
        self.change_count = 0
        self.state = "disconnected"
        # What was told last, `<revision>.<digest>`, what runs, and what is said of the former.
        self.told = self.running = self.outcome = None
        self._polls = set()
        self._lock = threading.Lock()
        self._ready = threading.Event()

    def start(self):
        """Waits for the configuration and goes on following it. Without a copy it waits for as long as it takes."""
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._ready.wait(PATIENCE):
            self._take_copy()
        self._ready.wait()

    def revision(self):
        return self.running and self.running.rpartition(".")[0]

    # Following: the server that answers, else the next one; when all have failed, a pause that nobody else makes.

    def _follow(self):
        failed_rounds = 0
        while True:
            behind = 0
            for url in self.urls:
                try:
                    self._converse(url)
                except TROUBLE as error:
                    behind += isinstance(error, Behind)
                    if self.current is None:
                        log.warning("no configuration from this server yet: %s", urllib.parse.urlsplit(url).netloc)
                if self.state == "live":
                    log.warning("%s has gone", urllib.parse.urlsplit(url).netloc)
                    failed_rounds = 0
                if self.current is not None:
                    self.state = "stale"
            if behind == len(self.urls):
                self.told = None
            longest = PAUSE_SECONDS_START if self.current is None else PAUSE_SECONDS_MAX
            time.sleep(random.uniform(0, min(longest, PAUSE_SECONDS_FIRST * 2**failed_rounds)))
            failed_rounds = min(failed_rounds + 1, 16)

    def _converse(self, url):
        """Takes what a server tells, until it fails."""
        if url not in self._polls:
            try:
                return self._stream(url)
            except (NoStream, TimeoutError):
                self._polls.add(url)
        try:
            while True:
                self._poll(url)
        finally:
            self._polls.discard(url)

    def _stream(self, url):
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.told} if self.told else {})
        with self._ask(url, headers, ANSWER_SECONDS_MAX) as answer:
            if not answer.getheader("Content-Type", "").startswith("text/event-stream"):
                raise NoStream
            if self.told and self.current is not None:
                self._hears(url)
            event = {}
            while line := answer.readline(BYTES_MAX):
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    event[name] = value.removeprefix(" ")
                elif line.strip():
                    continue  # A comment: a sign of life.
                elif event.get("event") == "environment":
                    self._take(event["id"], json.loads(event["data"]))
                    self._hears(url)
                    self._acknowledge(url)
                if not line.strip():
                    event = {}

    def _poll(self, url):
        headers = {"Accept": "application/json", "Prefer": f"wait={POLL_SECONDS}"}
        if self.told:
            revision, _, digest = self.told.rpartition(".")
            headers |= {"If-None-Match": f'W/"{digest}.v1"', "Headwater-Min-Revision": revision}
        with self._ask(url, headers, POLL_SECONDS + ANSWER_SECONDS_MAX) as answer:
            if answer.status == 200:
                digest = answer.getheader("ETag", "").removeprefix('W/"').partition(".")[0]
                self._take(f"{answer.getheader('Headwater-Revision')}.{digest}", json.loads(answer.read(BYTES_MAX)))
            self._hears(url)
        self._acknowledge(url)

    def _hears(self, url):
        if self.state != "live":
            log.info("following %s", urllib.parse.urlsplit(url).netloc)
        self.state = "live"

    # One request. Redirects are not followed, and nothing of the environment's proxies is used.

    def _ask(self, url, headers, seconds_max, method="GET"):
        parts = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=seconds_max)
        connection.connect()
        sock = connection.sock
        headers = headers | {"Headwater-Instance": self.instance}
        if self.outcome:
            headers["Headwater-Applied"] = f"{self.told} {self.outcome}"
        path = f"{parts.path.rstrip('/')}/{self.application}/{self.profiles}"
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        # What follows may be silent for longer. The connection ends with its answer.
        sock.settimeout(SILENCE_SECONDS_MAX)
        sock.close()
        if answer.status == 503 and answer.getheader("Headwater-Revision"):
            raise Behind
        if answer.status == 406:
            raise NoStream
        if answer.status not in (200, 304):
            raise ValueError(f"the server answers {answer.status}")
        return answer

    def _acknowledge(self, url):
        """Says what became of the newest, so that the server can show it. Nothing depends on it."""
        try:
            self._ask(url, {}, ANSWER_SECONDS_MAX, method="HEAD").close()
        except TROUBLE as error:
            log.debug("not acknowledged: %s", type(error).__name__)

    # Taking what was told, or not.

    def _take(self, told, environment):
        with self._lock:
            self.told = told
            try:
                settings = self.accept(reader(environment))
            except (KeyError, ValueError) as error:
                self.rejection, self.outcome = str(error), "rejected"
                # The reason may quote a value: it is in the health, and not in the log.
                log.warning("a configuration was rejected, the one of before stays")
                return
            if self.running is not None and digest_of(told) != digest_of(self.running):
                self.change_count += 1
            self.current, self.running, self.rejection, self.outcome = settings, told, None, "ok"
            self._keep(environment)
            self._ready.set()

    # The copy: whole or not at all, and nobody else's.

    def _path(self):
        name = re.sub(r"[^A-Za-z0-9,-]", "_", f"{self.application}-{self.profiles}")
        return os.path.join(self.directory, f"{name}.json")

    def _keep(self, environment):
        if not self.directory:
            return
        try:
            if not os.path.isdir(self.directory):
                os.mkdir(self.directory, mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=self.directory, delete=False) as file:
                json.dump({"told": self.told, "environment": environment}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, self._path())
        except OSError as error:
            log.warning("no copy could be kept: %s", error.strerror)

    def _take_copy(self):
        try:
            with open(self._path(), encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.getuid() or status.st_mode & 0o077:
                    raise ValueError("others can write it")
                copy = json.load(file)
            settings = self.accept(reader(copy["environment"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("there is no copy of before: %s; still waiting", type(error).__name__)
            return
        with self._lock:
            if self.current is None:
                log.warning("no server answers; starting from the copy of before")
                self.current, self.state = settings, "stale"
                self.told = self.running = copy["told"]
        self._ready.set()


def reader(environment):
    """A function that gives the text of a key, placeholders resolved. The most specific source that has a key wins."""
    values, lists = {}, set()
    for source in environment["propertySources"]:
        # Lists are replaced whole, never mixed.
        own = {key: value for key, value in source["source"].items() if key not in values and list_of(key) not in lists}
        values |= own
        lists |= {list_of(key) for key in own} - {None}

    def answer(match):
        key, default = match.groups()
        value = values.get(key, os.environ.get(re.sub(r"\W", "_", key).upper(), default))
        if value is None:
            raise KeyError(key)
        return str(value)

    def read(key):
        text = str(values[key])
        for _ in range(DEPTH_MAX):
            text, count = PLACEHOLDER.subn(answer, text)
            if not count:
                return text
        raise ValueError(f"{key} is made of too many others")

    return read


def digest_of(told):
    return told.rpartition(".")[2]


def list_of(key):
    """`a.b` of `a.b[3].c`."""
    match = re.match(r"(.*?)\[\d+\]", key)
    return match and match[1]
