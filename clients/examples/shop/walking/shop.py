"""The shop: its ports, its configuration, its processes, and what they say when they are asked."""

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

# Below what systems give to outgoing connections, so that nobody else is given the port of a server that was killed.
PORTS = range(20_000, 32_000)
# Who asks which server first. The second one stands in.
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

    # What is there before anything runs.

    def lay_out(self):
        """The configuration of the repository with what this machine adds to it: ports, and where databases are."""
        seed = self.place / "seed"
        shutil.copytree(CONFIG_REPO, seed)
        for name in SERVICES:
            (seed / f"{name}.yml").write_text(self.own_settings(name))
        (seed / "gateway-prod.yml").write_text(self.gateway_settings(requests_per_second=500))
        (self.place / "mirror.toml").write_text(
            "[[source]]\n"
            f'uri = "{self.url("host")}/-/git/main.git"\n'
            # What it serves is called as it is by the other server, so that whoever changes over sees no difference.
            'name = "hosted:main"\n'
        )

    def own_settings(self, name):
        """What one instance has for itself: `product-a.yml` counts for `product` with the profile `a`."""
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
        # Machines that test have other things to do.
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

    # What processes say.

    def ask(self, name, path):
        """The JSON that an instance or server answers, or None if it does not."""
        connection = Connection(self.ports[name], "127.0.0.1")
        try:
            status, answer = connection.ask("GET", path)
            return answer if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def health(self, name):
        """How the configuration of an instance is, or None if it does not answer."""
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
        """What a server knows of the process of an instance: which server, and what it says of its configuration."""
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
        """Pushes, and gives the moment at which git came back."""
        code, said, ended = self.try_git("push", "--quiet", "origin", "main")
        check(code == 0, f"the push is refused:\n{said}", self.host)
        return ended

    def refused_push(self):
        """Pushes what is to be refused, takes it back here, and gives what git said."""
        code, said, _ = self.try_git("push", "origin", "main")
        check(code != 0, f"the push is taken:\n{said}", self.host)
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
    # Debian has it where only root's PATH leads.
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    check(found, "haproxy is not installed")
    return found
