#!/usr/bin/env python3
"""The carts of the shop.

`PUT /{customer}/{product}` sets a quantity, `GET /{customer}` returns the cart, `DELETE /{customer}` empties it, and
`GET /health` returns the state of the service and of its configuration.
"""

import json
import logging
import signal
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import psycopg2

from headwater import Configuration

# Longer than the gateway keeps an idle connection, so that the service never closes one under a request. In seconds.
KEEP_ALIVE = 75
# The time between SIGTERM and the end. The gateway checks every second and stops sending in this time. In seconds.
DRAIN = 3
# The time limit for requests in progress at the end, and for connecting to the database. In seconds.
PATIENCE = 5
BODY_BYTES_MAX = 4096

# The lock lets one instance at a time execute the schema. Its number is arbitrary.
SCHEMA = """
    SELECT pg_advisory_xact_lock(17);
    CREATE TABLE IF NOT EXISTS line (customer TEXT, product BIGINT, quantity BIGINT NOT NULL,
        at DOUBLE PRECISION NOT NULL, PRIMARY KEY (customer, product));
"""
PUT = """
    INSERT INTO line VALUES (%s, %s, %s, %s)
        ON CONFLICT (customer, product) DO UPDATE SET quantity = excluded.quantity, at = excluded.at
"""

log = logging.getLogger("cart")


class Login(NamedTuple):
    """The address of the database, and the role with which the service connects to it."""

    url: str
    username: str
    password: str


class Settings(NamedTuple):
    """The settings of the service. The port is read at start, all others whenever they change."""

    port: int
    login: Login
    lines_max: int
    expiry_seconds: int
    greeting: str


def settings(text):
    """Reads and validates the settings. The service rejects an invalid configuration and keeps the former one."""
    login = Login(*(text(f"cart.database.{key}") for key in Login._fields))
    if not login.url.startswith("postgresql://"):
        raise ValueError("cart.database.url must begin with postgresql://")
    found = Settings(
        port=int(text("server.port")),
        login=login,
        lines_max=int(text("cart.lines.max")),
        expiry_seconds=60 * int(text("cart.expiry-minutes")),
        greeting=text("cart.greeting"),
    )
    if found.lines_max < 1 or found.expiry_seconds < 1:
        raise ValueError("cart.lines.max and cart.expiry-minutes must be at least 1")
    return found


def connect(login):
    return psycopg2.connect(login.url, user=login.username, password=login.password, connect_timeout=PATIENCE)


class Carts:
    """The content of the carts. Requests use one connection in turn, and each instance has its own connection."""

    def __init__(self, login):
        self.lock = threading.Lock()
        self.login, self.database = login, connect(login)
        with self.transaction(login) as cursor:
            cursor.execute(SCHEMA)

    def use(self, login):
        """Connects again when the credentials have changed, or when the connection is lost. The caller has the lock."""
        if login == self.login and not self.database.closed:
            return
        try:
            database = connect(login)
        except psycopg2.Error as error:
            if self.database.closed:
                raise
            log.warning("new credentials failed (%s), the former ones stay in use", type(error).__name__)
            return
        self.database.close()
        self.login, self.database = login, database
        log.info("connected to the database as %s", login.username)

    def refresh(self, now):
        """Uses new credentials before the next request needs them."""
        try:
            with self.lock:
                self.use(now.login)
        except psycopg2.Error as error:
            log.warning("no connection to the database (%s)", type(error).__name__)

    @contextmanager
    def transaction(self, login):
        """Returns a cursor. Its statements are one transaction."""
        with self.lock:
            self.use(login)
            with self.database, self.database.cursor() as cursor:
                yield cursor

    def show(self, customer, now):
        select = "SELECT product, quantity FROM line WHERE customer = %s AND at > %s ORDER BY product"
        with self.transaction(now.login) as cursor:
            cursor.execute(select, (customer, time.time() - now.expiry_seconds))
            rows = cursor.fetchall()
        return [{"product": product, "quantity": quantity} for product, quantity in rows]

    def put(self, customer, product, quantity, now):
        """Sets a quantity. Returns False when the cart is full."""
        with self.transaction(now.login) as cursor:
            cursor.execute("DELETE FROM line WHERE at <= %s", (time.time() - now.expiry_seconds,))
            cursor.execute("SELECT count(*) FROM line WHERE customer = %s AND product <> %s", (customer, product))
            if cursor.fetchone()[0] >= now.lines_max:
                return False
            cursor.execute(PUT, (customer, product, quantity, time.time()))
            return True

    def empty(self, customer, now):
        with self.transaction(now.login) as cursor:
            cursor.execute("DELETE FROM line WHERE customer = %s", (customer,))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = KEEP_ALIVE
    # Sends head and body in one packet.
    wbufsize = 64 * 1024

    def do_GET(self):
        if self.path == "/health":
            leaves = self.server.is_ending
            return self.answer(503 if leaves else 200, health(self.server.configuration, leaves))
        now = self.server.configuration.current
        lines = self.server.carts.show(self.path[1:], now)
        self.answer(200, {"greeting": now.greeting, "lines": lines})

    def do_PUT(self):
        now = self.server.configuration.current
        try:
            _, customer, product = self.path.split("/")
            length = min(int(self.headers["Content-Length"]), BODY_BYTES_MAX)
            quantity = int(json.loads(self.rfile.read(length))["quantity"])
            put = self.server.carts.put(customer, int(product), quantity, now)
        except (ValueError, KeyError, TypeError):
            self.close_connection = True
            return self.answer(400, {"error": "expected a quantity of a product"})
        self.answer(200, {"lines_max": now.lines_max}) if put else self.answer(409, {"error": "the cart is full"})

    def do_DELETE(self):
        self.server.carts.empty(self.path[1:], self.server.configuration.current)
        self.answer(200, {})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection or self.server.is_ending:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self):
        super().handle_one_request()
        with self.server.idle:
            self.server.busy.discard(self)
            self.server.idle.notify_all()

    def parse_request(self):
        with self.server.idle:
            self.server.busy.add(self)
        return super().parse_request()

    def log_message(self, *_):
        """Logs nothing, because the gateway logs all requests."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, configuration):
        self.configuration = configuration
        self.carts = Carts(configuration.current.login)
        configuration.on_change = self.carts.refresh
        self.is_ending = False
        self.busy, self.idle = set(), threading.Condition()
        super().__init__(("127.0.0.1", configuration.current.port), Handler)

    def end(self, *_):
        """Reports OUT_OF_SERVICE in the health, and ends after a while."""
        self.is_ending = True
        threading.Timer(DRAIN, self.shutdown).start()

    def serve(self):
        self.serve_forever(poll_interval=0.1)
        self.server_close()
        with self.idle:
            self.idle.wait_for(lambda: not self.busy, PATIENCE)


def health(configuration, leaves):
    """A stale or rejected configuration does not make the service unhealthy: it works with the former one."""
    return {
        "status": "OUT_OF_SERVICE" if leaves else "UP",
        "configuration": {
            "state": configuration.state,
            "revision": configuration.revision(),
            "change_count": configuration.change_count,
            "rejection": configuration.rejection,
        },
    }


def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    configuration = Configuration(settings)
    configuration.start()
    server = Server(configuration)
    signal.signal(signal.SIGTERM, server.end)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
