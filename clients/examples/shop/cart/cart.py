#!/usr/bin/env python3
"""The carts of the shop.

`PUT /{customer}/{product}` sets a quantity, `GET /{customer}` returns the cart, `DELETE /{customer}` empties it, and
`GET /health` returns the state of the service and of its configuration.
"""

import json
import logging
import signal
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from headwater import Configuration

# Longer than the gateway keeps an idle connection, so that the service never closes one under a request. In seconds.
KEEP_ALIVE = 75
# The time between SIGTERM and the end. The gateway checks every second and stops sending in this time. In seconds.
DRAIN = 3
# The time limit for requests in progress at the end, and for waiting until another instance has written. In seconds.
PATIENCE = 5
BODY_BYTES_MAX = 4096

SCHEMA = """
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = normal;
    CREATE TABLE IF NOT EXISTS line (customer TEXT, product INTEGER, quantity INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (customer, product));
"""


class Settings(NamedTuple):
    """The settings of the service. Port and database are read at start, all others whenever they change."""

    port: int
    database: str
    lines_max: int
    expiry_seconds: int
    greeting: str


def settings(text):
    """Reads and validates the settings. The service rejects an invalid configuration and keeps the former one."""
    scheme, _, path = text("cart.database.url").partition(":")
    if scheme != "sqlite":
        raise ValueError("cart.database.url must begin with sqlite:")
    found = Settings(
        port=int(text("server.port")),
        database=path,
        lines_max=int(text("cart.lines.max")),
        expiry_seconds=60 * int(text("cart.expiry-minutes")),
        greeting=text("cart.greeting"),
    )
    if found.lines_max < 1 or found.expiry_seconds < 1:
        raise ValueError("cart.lines.max and cart.expiry-minutes must be at least 1")
    return found


class Carts:
    """The content of the carts. Requests use one connection in turn, and each instance has its own connection."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
        self.database.executescript(SCHEMA)
        self.lock = threading.Lock()

    def show(self, customer, now):
        select = "SELECT product, quantity FROM line WHERE customer = ? AND at > ? ORDER BY product"
        with self.lock:
            rows = self.database.execute(select, (customer, time.time() - now.expiry_seconds)).fetchall()
        return [{"product": product, "quantity": quantity} for product, quantity in rows]

    def put(self, customer, product, quantity, now):
        """Sets a quantity. Returns False when the cart is full."""
        with self.lock, self.database as database:
            database.execute("DELETE FROM line WHERE at <= ?", (time.time() - now.expiry_seconds,))
            count = "SELECT count(*) FROM line WHERE customer = ? AND product <> ?"
            if database.execute(count, (customer, product)).fetchone()[0] >= now.lines_max:
                return False
            database.execute("REPLACE INTO line VALUES (?, ?, ?, ?)", (customer, product, quantity, time.time()))
            return True

    def empty(self, customer):
        with self.lock, self.database as database:
            database.execute("DELETE FROM line WHERE customer = ?", (customer,))


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
        self.server.carts.empty(self.path[1:])
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
        self.carts = Carts(configuration.current.database)
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
