"""The shop: its ports, its configuration and its processes, and requests to them."""

import http.client
import json
import os
import random
import re
import shutil
import socket
import sys
from pathlib import Path

from .customers import Connection
from .processes import Failed, Processes, check, run

HERE = Path(__file__).resolve().parent.parent
CONFIG_REPO = HERE.parents[2] / "config-repo"

# Below the range of outgoing connections, so that no connection takes the port of a killed server.
PORTS = range(20_000, 32_000)
# The servers of each service in the order of preference.
SERVICES = {
    "product-a": ("host", "mirror"),
    "product-b": ("mirror", "host"),
    "cart-a": ("host", "mirror"),
    "cart-b": ("mirror", "host"),
    "order-a": ("host", "mirror"),
    "order-b": ("mirror", "host"),
}

AUTHOR = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@riverside.example"))
}
GIT = AUTHOR | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


class Shop:
    """Everything below one directory."""

    def __init__(self, place, binaries):
        self.place, self.binaries = place, binaries
        names = ["host", "mirror", "gateway", *SERVICES]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.processes = Processes()
        self.lay_out()
        self.host = self.server("host", ["--source", "hosted:main", "--seed", "seed"])
        self.mirror = self.server("mirror", ["--config", "mirror.toml"])
        self.services = {name: self.service(name, servers) for name, servers in SERVICES.items()}
        self.gateway = self.run_gateway()
        self.clone = place / "clone"

    # Files.

    def lay_out(self):
        """Copies the configuration repository and adds the settings of this machine: ports and paths of databases."""
        seed = self.place / "seed"
        shutil.copytree(CONFIG_REPO, seed)
        for name in SERVICES:
            (seed / f"{name}.yml").write_text(self.own_settings(name))
        (seed / "gateway-prod.yml").write_text(self.gateway_settings(requests_per_second=500))
        (self.place / "mirror.toml").write_text(
            "[[source]]\n"
            f'uri = "{self.url("host")}/-/git/main.git"\n'
            # Both servers use the same name, so that clients see no difference between them.
            'name = "hosted:main"\n'
        )

    def own_settings(self, name):
        """Returns the settings of one instance. `product-a.yml` applies to `product` with the profile `a`."""
        service, _ = name.split("-")
        database = f"sqlite:{self.place}/{service}.db"
        key = {"product": "database.url", "cart": "cart.database.url", "order": "order.database-url"}[service]
        return f"server.port: {self.ports[name]}\n{key}: {database}\n"

    def gateway_settings(self, requests_per_second, routes=()):
        servers = {}
        for name in SERVICES:
            servers.setdefault(name.split("-")[0], []).append(f"127.0.0.1:{self.ports[name]}")
        routes = [("/products", "product"), ("/cart", "cart"), ("/orders", "order"), *routes]
        text = f"server.port: {self.ports['gateway']}\n"
        # A loaded test machine may be slow.
        text += "http.timeout-seconds: 15\n"
        text += f"gateway:\n  rate-limit:\n    requests-per-second: {requests_per_second}\n  routes:\n"
        text += "".join(f"    - path: {path}\n      service: {service}\n" for path, service in routes)
        text += "  services:\n"
        return text + "".join(f"    {name}: {json.dumps(addresses)}\n" for name, addresses in servers.items())

    # Processes.

    def server(self, name, arguments):
        command = [self.binaries / "headwater", "serve", "--listen", f"127.0.0.1:{self.ports[name]}"]
        return self.processes.add(name, command + ["--data", f"data-{name}", *arguments], {}, self.place)

    def service(self, name, servers):
        service, instance = name.split("-")
        cart = [sys.executable, "-B", str(HERE / "cart" / "cart.py")]
        variables = {
            "HEADWATER_URL": ",".join(self.url(server) for server in servers),
            "HEADWATER_APPLICATION": service,
            "HEADWATER_PROFILES": f"prod,{instance}",
            "HEADWATER_LAST_KNOWN_GOOD": str(self.place / f"{name}-copy"),
        }
        command = cart if service == "cart" else [self.binaries / service]
        return self.processes.add(name, command, variables, self.place)

    def run_gateway(self):
        haproxy = find_haproxy()
        command = [self.binaries / "headwater", "run", "gateway", "prod"]
        command += ["--file", "server:haproxy.cfg.j2:haproxy.cfg", "--check", f"{haproxy} -c -f", "--signal", "USR2"]
        command += ["--", haproxy, "-W", "-db", "-f", "haproxy.cfg"]
        variables = {
            "HEADWATER_URL": f"{self.url('host')},{self.url('mirror')}",
            "HEADWATER_LAST_KNOWN_GOOD": str(self.place / "gateway-copy"),
        }
        return self.processes.add("gateway", command, variables, self.place)

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[name]}"

    # Requests.

    def ask(self, name, path):
        """Returns the JSON answer of an instance or server, or None without one."""
        connection = Connection(self.ports[name], "127.0.0.1")
        try:
            status, answer = connection.ask("GET", path)
            return answer if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def health(self, name):
        """Returns the configuration part of the health of an instance, or None without an answer."""
        answer = self.ask(name, "/health")
        return answer and answer["configuration"]

    def is_up(self, name):
        return self.health(name) is not None

    def is_ready(self, server):
        return self.ask(server, "/readyz") is not None

    def discount(self, name):
        answer = self.ask(name, "/")
        return answer and answer["discount_percent"]

    def instance(self, name):
        """Returns the entry of an instance in the list of the server to which it is connected."""
        pid = self.services[name].pid
        for server in ("host", "mirror"):
            for instance in (self.ask(server, "/-/instances") or {}).get("instances", []):
                if re.search(rf"-{pid}-[0-9a-f]+$", instance["instance"]) and instance["connected"]:
                    return instance | {"server": server}
        return None

    # Git.

    def git(self, *arguments):
        code, said, _ = self.try_git(*arguments)
        if code != 0:
            raise Failed(f"git {arguments[0]} fails:\n{said}", self.host)
        return said.strip()

    def try_git(self, *arguments):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        place = self.clone if self.clone.exists() else self.place
        return run(["git", *arguments], cwd=place, env=inherited | GIT)

    def commit(self, subject, files):
        """Commits files: a new text for each, or `(old, new)` for what is replaced in it."""
        for name, change in files.items():
            path = self.clone / name
            if isinstance(change, tuple):
                old, new = change
                text = path.read_text()
                check(text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times")
                change = text.replace(old, new)
            path.write_text(change)
        self.git("commit", "--quiet", "--all", "-m", subject)

    def push(self):
        """Pushes and returns the time at which git ended."""
        code, said, ended = self.try_git("push", "--quiet", "origin", "main")
        check(code == 0, f"the push was rejected:\n{said}", self.host)
        return ended

    def rejected_push(self):
        """Pushes a change that the server must reject, resets the clone, and returns the output of git."""
        code, said, _ = self.try_git("push", "origin", "main")
        check(code != 0, f"the push was accepted:\n{said}", self.host)
        self.git("reset", "--quiet", "--hard", "origin/main")
        return said

    def tip(self):
        return self.git("ls-remote", "origin", "refs/heads/main").split()[0]


def free_ports(count):
    found = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Failed("there are no free ports")


def find_haproxy():
    # On Debian it is only in the PATH of root.
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    check(found, "haproxy is not installed")
    return found
