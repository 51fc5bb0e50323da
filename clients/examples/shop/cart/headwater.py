"""A client for Headwater that uses only the standard library. Copy it into a service and change it as needed.

The client opens an event stream. The first event is the present configuration, and each further event is a changed one. After
a disconnection the client resumes with the id of the last event. Behind a proxy that does not pass streams, it uses long polls.
When one server fails, it continues with the next one. It stores the last accepted configuration on disk, and starts from that
copy while no server is reachable.
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

# The time to wait for a server before the service starts from its copy, in seconds.
PATIENCE = 3
# A server that is behind waits up to five seconds for the revision before it answers.
ANSWER_SECONDS_MAX = 10
# A stream sends three heartbeats in this time.
SILENCE_SECONDS_MAX = 45
POLL_SECONDS = 25
# The longest pause after all servers have failed, in seconds: after the first round, without a configuration, and with one.
PAUSE_SECONDS_FIRST = 0.2
PAUSE_SECONDS_START = 2
PAUSE_SECONDS_MAX = 30
BYTES_MAX = 16 * 1024 * 1024
PLACEHOLDER = re.compile(r"\$\{([^${}:]+)(?::([^${}]*))?\}")
DEPTH_MAX = 8

log = logging.getLogger("headwater")


class NoStream(Exception):
    """The answer is not an event stream."""


class Behind(Exception):
    """The server does not have the revision yet that another one has sent."""


# The failures of one server. The client continues with the next one.
FAILURES = (OSError, http.client.HTTPException, ValueError, KeyError, NoStream, Behind)


class Configuration:
    """The settings of a service. `current` is the newest value that `accept` has accepted.

    `accept` receives a function that returns the text of a key, and returns the settings. It rejects a configuration by raising
    KeyError or ValueError. `on_change` is called with the new settings after a change, by the thread that receives them.
    """

    def __init__(self, accept):
        variable = os.environ.get
        self.application = os.environ["HEADWATER_APPLICATION"]
        self.profiles = variable("HEADWATER_PROFILES", "default")
        self.urls = [url.strip() for url in variable("HEADWATER_URL", "http://localhost:8888").split(",")]
        self.directory = variable("HEADWATER_LAST_KNOWN_GOOD")
        self.token_file = variable("HEADWATER_TOKEN_FILE")
        # The name survives a restart. The incarnation is this run.
        self.instance = variable("HEADWATER_INSTANCE") or socket.gethostname()[:64]
        self.incarnation = f"{socket.gethostname()[:64]}-{os.getpid()}-{random.getrandbits(32):08x}"
        self.accept = accept
        self.on_change = lambda settings: None
        self.current = None
        self.rejection = None
        self.change_count = 0
        self.state = "disconnected"
        # The ids, `<revision>.<digest>`, of the last received and of the current configuration, and the outcome of the former.
        self.received = self.running = self.outcome = None
        self._polls = set()
        self._lock = threading.Lock()
        self._ready = threading.Event()

    def start(self):
        """Waits for the configuration and then follows it. Without a copy it waits until a server answers."""
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._ready.wait(PATIENCE):
            self._load_copy()
        self._ready.wait()

    def revision(self):
        return self.running and self.running.rpartition(".")[0]

    # Following: the client stays with a server that answers. After all servers have failed, it pauses for a random time.

    def _follow(self):
        failed_rounds = 0
        while True:
            behind = 0
            for url in self.urls:
                try:
                    self._follow_server(url)
                except FAILURES as error:
                    behind += isinstance(error, Behind)
                    if self.current is None:
                        log.warning("request to this server failed: %s", urllib.parse.urlsplit(url).netloc)
                if self.state == "live":
                    log.warning("connection to %s lost", urllib.parse.urlsplit(url).netloc)
                    failed_rounds = 0
                if self.current is not None:
                    self.state = "stale"
            if behind == len(self.urls):
                self.received = None
            longest = PAUSE_SECONDS_START if self.current is None else PAUSE_SECONDS_MAX
            time.sleep(random.uniform(0, min(longest, PAUSE_SECONDS_FIRST * 2**failed_rounds)))
            failed_rounds = min(failed_rounds + 1, 16)

    def _follow_server(self, url):
        """Receives configurations from one server until it fails."""
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
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.received} if self.received else {})
        with self._request(url, headers, ANSWER_SECONDS_MAX) as answer:
            if not answer.getheader("Content-Type", "").startswith("text/event-stream"):
                raise NoStream
            if self.received and self.current is not None:
                self._mark_live(url)
            event = {}
            while line := answer.readline(BYTES_MAX):
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    event[name] = value.removeprefix(" ")
                elif line.strip():
                    continue  # A comment is a heartbeat.
                elif event.get("event") == "environment":
                    self._apply(event["id"], json.loads(event["data"]))
                    self._mark_live(url)
                    self._acknowledge(url)
                if not line.strip():
                    event = {}

    def _poll(self, url):
        headers = {"Accept": "application/json", "Prefer": f"wait={POLL_SECONDS}"}
        if self.received:
            revision, _, digest = self.received.rpartition(".")
            headers |= {"If-None-Match": f'W/"{digest}.v1"', "Headwater-Min-Revision": revision}
        with self._request(url, headers, POLL_SECONDS + ANSWER_SECONDS_MAX) as answer:
            if answer.status == 200:
                digest = answer.getheader("ETag", "").removeprefix('W/"').partition(".")[0]
                self._apply(f"{answer.getheader('Headwater-Revision')}.{digest}", json.loads(answer.read(BYTES_MAX)))
            self._mark_live(url)
        self._acknowledge(url)

    def _mark_live(self, url):
        if self.state != "live":
            log.info("connected to %s", urllib.parse.urlsplit(url).netloc)
        self.state = "live"

    # Requests. Redirects are not followed, and the proxy variables of the environment are not used.

    def _request(self, url, headers, seconds_max, method="GET"):
        parts = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=seconds_max)
        connection.connect()
        sock = connection.sock
        headers = headers | self._identity() | self._credential()
        if self.outcome:
            headers["Headwater-Applied"] = f"{self.received} {self.outcome}"
        path = f"{parts.path.rstrip('/')}/{self.application}/{self.profiles}"
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        # A stream may be silent for longer. The connection ends with its answer.
        sock.settimeout(SILENCE_SECONDS_MAX)
        sock.close()
        if answer.status == 503 and answer.getheader("Headwater-Revision"):
            raise Behind
        if answer.status == 406:
            raise NoStream
        if answer.status not in (200, 304):
            raise ValueError(f"unexpected status {answer.status}")
        return answer

    def _identity(self):
        return {"Headwater-Instance": self.instance, "Headwater-Incarnation": self.incarnation}

    def _credential(self):
        """Reads the token again for each request, so that a new one is used without a restart."""
        if not self.token_file:
            return {}
        with open(self.token_file, encoding="ascii") as file:
            return {"Authorization": f"Bearer {file.read().strip()}"}

    def _acknowledge(self, url):
        """Reports the outcome of the last configuration, which the server lists at /-/instances."""
        try:
            self._request(url, {}, ANSWER_SECONDS_MAX, method="HEAD").close()
        except FAILURES as error:
            log.debug("the outcome was not reported: %s", type(error).__name__)

    # Accepting or rejecting a configuration.

    def _apply(self, received, environment):
        with self._lock:
            self.received = received
            try:
                settings = self.accept(reader(environment))
            except (KeyError, ValueError) as error:
                self.rejection, self.outcome = str(error), "rejected"
                # The reason may quote a value, so it is in the health and not in the log.
                log.warning("configuration rejected, the former one stays in use")
                return
            is_change = self.running is not None and digest_of(received) != digest_of(self.running)
            self.change_count += is_change
            self.current, self.running, self.rejection, self.outcome = settings, received, None, "ok"
            self._save_copy(environment)
            self._ready.set()
        if is_change:
            self.on_change(settings)

    # The copy. It is replaced atomically, and used only when no other user can access it.

    def _path(self):
        name = re.sub(r"[^A-Za-z0-9,-]", "_", f"{self.application}-{self.profiles}")
        return os.path.join(self.directory, f"{name}.json")

    def _save_copy(self, environment):
        if not self.directory:
            return
        try:
            if not os.path.isdir(self.directory):
                os.mkdir(self.directory, mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=self.directory, delete=False) as file:
                json.dump({"told": self.received, "environment": environment}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, self._path())
        except OSError as error:
            log.warning("the copy could not be written: %s", error.strerror)

    def _load_copy(self):
        try:
            with open(self._path(), encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.getuid() or status.st_mode & 0o077:
                    raise ValueError("other users can access the copy")
                copy = json.load(file)
            settings = self.accept(reader(copy["environment"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("no usable copy (%s), waiting for a server", type(error).__name__)
            return
        with self._lock:
            if self.current is None:
                log.warning("no server answers, starting from the copy")
                self.current, self.state = settings, "stale"
                self.received = self.running = copy["told"]
        self._ready.set()


def reader(environment):
    """Returns a function that returns the text of a key with its placeholders resolved. The most specific source wins."""
    values, lists = {}, set()
    for source in environment["propertySources"]:
        # The most specific source determines a whole list.
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
        raise ValueError(f"the placeholders of {key} are nested too deeply")

    return read


def digest_of(received):
    return received.rpartition(".")[2]


def list_of(key):
    """Returns the list to which a key belongs: `a.b` for `a.b[3].c`."""
    match = re.match(r"(.*?)\[\d+\]", key)
    return match and match[1]
