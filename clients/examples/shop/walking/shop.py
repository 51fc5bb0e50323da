"""The shop: its ports, its configuration, its credentials and its processes, and requests to them."""

import http.client
import json
import os
import random
import re
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from .customers import Connection
from .database import PostgreSQL, roles
from .policy import KINDS, new_token, policy
from .processes import Failed, Processes, check, clean, run

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

# The beginnings of the keys with which each service finds its database.
DATABASE_KEYS = {"product": "database.", "cart": "cart.database.", "order": "order.database-"}

AUTHOR = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@riverside.example"))
}
GIT = AUTHOR | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


class Credentials(NamedTuple):
    """The login role of a service, and its password."""

    role: str
    password: str


class Shop:
    """Everything below one directory."""

    def __init__(self, place, binaries):
        self.place, self.binaries = place, binaries
        names = ["postgresql", "host", "mirror", "gateway", *SERVICES]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.processes = Processes()
        self.database = PostgreSQL(place, self.ports["postgresql"], self.processes)
        self.credentials = {}
        # The sealed password of each service, and the valid tokens of each principal.
        self.sealed = {}
        self.tokens = {name: [new_token()] for name in KINDS}
        # Every password and key, to check that it appears nowhere else.
        self.secrets = [self.database.password]
        self.lay_out()
        self.host = self.server("host")
        self.mirror = self.server("mirror")
        self.python = find_python()
        self.services = {name: self.service(name, servers) for name, servers in SERVICES.items()}
        self.gateway = self.run_gateway()
        self.clone = place / "clone"

    # Files.

    def lay_out(self):
        """Copies the configuration repository, adds the ports of this machine, and writes the settings of the servers."""
        seed = self.place / "seed"
        shutil.copytree(CONFIG_REPO, seed)
        for name in SERVICES:
            # `product-a.yml` applies to `product` with the profile `a`.
            (seed / f"{name}.yml").write_text(f"server.port: {self.ports[name]}\n")
        (seed / "gateway-prod.yml").write_text(self.gateway_settings(requests_per_second=500))
        self.secret_file("encrypt-key", secrets.token_hex(32))
        settings = '[access]\npolicy_file = "policy.toml"\n\n[secrets]\nkey_files = ["encrypt-key"]\n\n'
        # The walk compares instances right after a push, and both instances of a service are to have it.
        settings += '[rollout]\ndefault = "off"\n\n'
        # Both servers use the same name, so that clients see no difference between them.
        source = '[[source]]\nname = "hosted:main"\ndefault_label = "main"\n'
        (self.place / "host.toml").write_text(f'{settings}{source}uri = "hosted:main"\nseed = "seed"\n')
        source += f'uri = "{self.url("host")}/-/git/main.git"\ncredentials_file = "mirror-login"\n'
        (self.place / "mirror.toml").write_text(settings + source)
        self.write_policy()
        for name, [token] in self.tokens.items():
            self.secret_file(f"{name}-token", token)
        self.secret_file("mirror-login", self.tokens["mirror"][0], "mirror\n{}\n")

    def write_policy(self):
        """Writes the policy of both servers. They take the new one shortly after."""
        new = self.place / "policy.new"
        new.write_text(policy(self.tokens))
        new.chmod(0o644)
        new.replace(self.place / "policy.toml")

    def secret_file(self, name, secret, text="{}\n"):
        """Writes a file that only this user can read, and replaces it in one step."""
        self.secrets.append(secret)
        new = self.place / f"{name}.new"
        new.touch(mode=0o600)
        new.write_text(text.format(secret))
        new.replace(self.place / name)

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

    # Credentials.

    def give_credentials(self, *services):
        """Gives the idle login role of each service a new password, seals the password, and commits both."""
        files = {}
        for service in services:
            former = self.credentials.get(service)
            role = next(role for role in roles(service) if not former or role != former.role)
            new = Credentials(role, self.database.allow(role))
            self.secrets.append(new.password)
            self.credentials[service] = new
            self.sealed[service] = self.seal(new.password)
            values = {"url": self.database.url(service), "username": role, "password": f"'{self.sealed[service]}'"}
            lines = (f"{DATABASE_KEYS[service]}{key}: {value}\n" for key, value in values.items())
            files[f"{service}-database.yml"] = "".join(lines)
        self.commit(f"Replace the credentials of {', '.join(services)}", files)

    def add_token(self, name):
        """Makes one more token valid for a principal, and returns it."""
        token = new_token()
        self.tokens[name].append(token)
        self.write_policy()
        return token

    def use_token(self, name):
        """Hands the newest token over to the instances of a service."""
        self.secret_file(f"{name}-token", self.tokens[name][-1])

    def remove_token(self, name):
        """Revokes the oldest token of a principal, and returns it."""
        token = self.tokens[name].pop(0)
        self.write_policy()
        return token

    def authorization(self, name):
        return {"Authorization": f"Bearer {self.tokens[name][-1]}"}

    def seal(self, text):
        """Returns the sealed form of a text. The server has the key, and its clients need none."""
        connection = Connection(self.ports["host"], "127.0.0.1")
        try:
            headers = self.authorization("platform") | {"Content-Type": "text/plain"}
            answer, sealed = connection.send_text("POST", "/encrypt", text, headers)
        finally:
            connection.close()
        check(answer.status == 200, f"/encrypt returns {answer.status}", self.host)
        return "{cipher}" + sealed.decode()

    # Processes.

    def server(self, name):
        command = [self.binaries / "headwater", "serve", "--config", f"{name}.toml", "--data", f"data-{name}"]
        return self.processes.add(name, command + ["--listen", f"127.0.0.1:{self.ports[name]}"], {}, self.place)

    def service(self, name, servers):
        service, instance = name.split("-")
        cart = [self.python, "-B", str(HERE / "cart" / "cart.py")]
        variables = {
            "HEADWATER_URL": ",".join(self.url(server) for server in servers),
            "HEADWATER_APPLICATION": service,
            "HEADWATER_PROFILES": f"prod,database,{instance}",
            "HEADWATER_LAST_KNOWN_GOOD": str(self.place / f"{name}-copy"),
            "HEADWATER_TOKEN_FILE": str(self.place / f"{service}-token"),
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
            "HEADWATER_TOKEN_FILE": str(self.place / "gateway-token"),
        }
        return self.processes.add("gateway", command, variables, self.place)

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[name]}"

    # Requests.

    def ask(self, name, path):
        """Returns the JSON answer of an instance or server, or None without one."""
        connection = Connection(self.ports[name], "127.0.0.1")
        headers = self.authorization("platform") if name in ("host", "mirror") else {}
        try:
            status, answer = connection.ask("GET", path, headers=headers)
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
                if re.search(rf"-{pid}-[0-9a-f]+$", instance["incarnation"] or "") and instance["connected"]:
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
        # Variables of a process are visible to its own user only.
        header = f"Authorization: Bearer {self.tokens['platform'][-1]}"
        login = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader", "GIT_CONFIG_VALUE_0": header}
        return run(["git", *arguments], cwd=place, env=inherited | GIT | login)

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
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", subject)

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


def find_python():
    """Returns a Python with psycopg2. That of Debian's package is the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if shutil.which(python) and run([python, "-c", "import psycopg2"], env=clean())[0] == 0:
            return python
    raise Failed("psycopg2 is not installed: apt-get install python3-psycopg2")


def find_haproxy():
    # On Debian it is only in the PATH of root.
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    check(found, "haproxy is not installed")
    return found
