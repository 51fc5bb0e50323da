"""A private PostgreSQL with one database for each service.

A role without login owns a database and everything in it. Two login roles are its members, and one of them is in use. A rotation
gives the other one a new password, and takes the login of the former one when its last session has ended.
"""

import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

from .processes import check, clean, eventually, run

ADMINISTRATOR = "platform"
# PostgreSQL refuses to run as root. Debian's package creates this user.
USER = "postgres"
# Debian's package does not put the programs into the PATH.
PROGRAMS = "/usr/lib/postgresql"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    # A failed statement may contain a password.
    "log_min_error_statement": "panic",
}


class PostgreSQL:
    def __init__(self, place, port, processes):
        self.programs = find_programs()
        self.place, self.port = place / "postgresql", port
        self.password = secrets.token_urlsafe(24)
        self.user = user_of_processes()
        command = [self.programs / "postgres", "-D", self.place / "data", "-p", str(port)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT ends it without waiting for its clients.
        self.process = processes.add("postgresql", command, {}, place, user=self.user, end_signal=signal.SIGINT)

    def create(self):
        """Creates the cluster and starts it."""
        self.place.mkdir(mode=0o700)
        password = self.place / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        if self.user:
            # Its user has to reach its directory. Names and secrets of the others stay hidden.
            self.place.parent.chmod(0o711)
            for path in (self.place, password):
                shutil.chown(path, USER)
        command = [self.programs / "initdb", "-D", self.place / "data", "-U", ADMINISTRATOR, f"--pwfile={password}"]
        command += ["-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]
        code, said, _ = run(command, cwd=self.place.parent, env=clean(), **self.user)
        check(code == 0, f"initdb fails:\n{said}")
        password.unlink()
        self.process.start()
        eventually("PostgreSQL is ready", lambda: self.try_sql("SELECT 1")[0] == 0, self.process)
        self.sql("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")

    def add_service(self, service):
        """Creates the database of a service and its roles."""
        owner = f"{service}_owner"
        statements = [f"CREATE ROLE {owner}"]
        for role in roles(service):
            statements += [f"CREATE ROLE {role} IN ROLE {owner}", f"ALTER ROLE {role} SET ROLE {owner}"]
        statements += [
            f'CREATE DATABASE "{service}" OWNER {owner}',
            f'REVOKE ALL ON DATABASE "{service}" FROM PUBLIC',
            f'GRANT CONNECT ON DATABASE "{service}" TO {owner}',
        ]
        self.sql(*statements)

    def allow(self, role):
        """Gives a role a new password, and returns the password."""
        password = secrets.token_urlsafe(24)
        self.sql(f"ALTER ROLE {role} LOGIN PASSWORD '{password}'")
        return password

    def forbid(self, role):
        self.sql(f"ALTER ROLE {role} NOLOGIN PASSWORD NULL")

    def sessions(self):
        """Returns the database and the login role of each session of a service."""
        select = "SELECT datname, usename FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> "
        return [tuple(line.split("|")) for line in self.sql(f"{select}'{ADMINISTRATOR}'")]

    def session_count(self, role):
        return sum(name == role for _, name in self.sessions())

    def rejection(self, database, role, password):
        """Returns the reason for which PostgreSQL rejects a connection, or None."""
        code, said = self.try_sql("SELECT 1", database=database, role=role, password=password)
        return said if code != 0 else None

    def url(self, service):
        return f"postgresql://127.0.0.1:{self.port}/{service}"

    def sql(self, *statements):
        """Executes statements as the administrator. Returns the lines of the result."""
        code, said = self.try_sql(*statements)
        check(code == 0, f"PostgreSQL rejects a statement:\n{said}", self.process)
        return said.splitlines()

    def try_sql(self, *statements, database="postgres", role=ADMINISTRATOR, password=None):
        command = [self.programs / "psql", "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", "127.0.0.1", "-p", str(self.port), "-U", role, "-d", database]
        # Other users can see the arguments of a process, but neither its input nor its variables.
        variables = clean() | {"PGPASSWORD": password or self.password}
        code, said, _ = run(command, text=";\n".join(statements) + ";\n", env=variables)
        return code, said


def roles(service):
    """Returns the two login roles of a service."""
    return f"{service}_1", f"{service}_2"


def user_of_processes():
    """Returns the options that start a process as the user of PostgreSQL, if this process is root."""
    if os.geteuid() != 0:
        return {}
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        found = None
    check(found, f"there is no user {USER}: apt-get install postgresql")
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def find_programs():
    """Returns the directory of the newest version."""
    found = [path.parent for path in Path(PROGRAMS).glob("*/bin/postgres")]
    other = shutil.which("postgres")
    if not found and other:
        found = [Path(other).resolve().parent]
    check(found, "PostgreSQL is not installed: apt-get install postgresql")
    return max(found, key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()])
