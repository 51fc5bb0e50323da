#!/bin/sh
# Installs what the tests need, and nothing again that is there already:
#   Debian packages   git, ssh with its server, Python with venv, Java 17, Maven, Node with npm, Go, nginx, HAProxy,
#                     curl, openssl, e2fsprogs, etcd with its client, systemd's programs, Prometheus, PostgreSQL, psycopg2
#                     (as root, with apt-get)
#                     wrk: for the figures only, so that nothing fails without them, and not on a build machine;
#                     faketime and strace: for faults of the soak, in the same way
#   Maven             tests/oracle (the real Spring Cloud Config Server), tests/clients/spring-boot,
#                     tests/clients/spring-reload
#   npm               tests/clients/node
#   PyPI              tests/clients/python, into target/test-deps/venv
#   Go                its standard library, compiled into target/test-deps/go, for programs of docs/services.md;
#                     tests/validators, built as target/test-deps/validators
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# --- Debian packages

java_new_enough() {
    command -v javac >/dev/null 2>&1 || return 1
    major=$(javac -version 2>&1 | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "${major:-0}" -ge 17 ]
}
has_venv() { python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

packages=
need() { # package, then the command that shows it is there
    package=$1
    shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}
# Where its own archive puts it, for those who have it without a path to it.
export PATH="$PATH:/usr/local/go/bin"
there() { command -v "$1" || [ -x "/usr/sbin/$1" ]; }
need git there git
need openssh-client there ssh
need openssh-server there sshd
need python3 there python3
need python3-venv has_venv
need openjdk-17-jdk-headless java_new_enough
need maven there mvn
need nodejs there node
need npm there npm
need golang-go there go
need nginx-light there nginx
need haproxy there haproxy
need e2fsprogs there mkfs.ext4
need curl there curl
need openssl there openssl
need etcd-server there etcd
need etcd-client there etcdctl
need systemd there systemd-analyze
# For its program promtool. The server of the package is not started.
need prometheus there promtool
need postgresql sh -c 'command -v postgres || ls /usr/lib/postgresql/*/bin/postgres'
# For the Python in the PATH or for the system's.
need python3-psycopg2 sh -c 'python3 -c "import psycopg2" || /usr/bin/python3 -c "import psycopg2"'
needed=$packages
if [ -z "${CI:-}" ]; then
    need wrk there wrk
    need fcgiwrap there fcgiwrap
    need faketime there faketime
    need strace there strace
fi

if [ -n "$packages" ]; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
        say "installing:$packages"
        export DEBIAN_FRONTEND=noninteractive
        # The distribution's servers would start at once; the tests and benches start their own.
        policy=/usr/sbin/policy-rc.d
        made=
        if [ ! -e "$policy" ]; then
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod +x "$policy"
            made=yes
        fi
        # The shop makes a cluster of its own, so that the package does not make one.
        clusters=/etc/postgresql-common/createcluster.d
        mkdir -p "$clusters"
        echo 'create_main_cluster = false' >"$clusters/headwater-tests.conf"
        installed=yes
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null; } || installed=
        [ -z "$made" ] || rm -f "$policy"
        rm -f "$clusters/headwater-tests.conf"
        [ -n "$installed" ] || say "COULD NOT INSTALL:$packages"
    else
        installed=
        say "MISSING:$packages"
        say "Install these (this script does it itself as root on Debian or Ubuntu), then run it again."
    fi
    # Without the programs of the figures the tests still run.
    [ -n "$installed" ] || [ -z "$needed" ] || exit 1
fi

# --- Maven, npm, PyPI: each again only when its sources are newer than its mark

deps=target/test-deps
mkdir -p "$deps"
fresh() { # mark, then the files it was made from
    mark=$1
    shift
    [ -e "$mark" ] && [ -z "$(find "$@" -newer "$mark" -print 2>/dev/null | head -n 1)" ]
}

maven() {
    if ! { fresh "$deps/$2.mark" "$1/pom.xml" "$1/src" && [ -d "$1/target/classes" ] && [ -d "$1/target/lib" ]; }; then
        say "building $1"
        (cd "$1" && mvn -q -B package)
        touch "$deps/$2.mark"
    fi
}
maven tests/oracle oracle
maven tests/clients/spring-boot spring-boot
maven tests/clients/spring-reload spring-reload

if ! { fresh "$deps/node.mark" tests/clients/node/package.json tests/clients/node/package-lock.json && [ -d tests/clients/node/node_modules ]; }; then
    say "installing tests/clients/node"
    (cd tests/clients/node && npm ci --silent)
    touch "$deps/node.mark"
fi

if ! { fresh "$deps/python.mark" tests/clients/python/requirements.txt && [ -x "$deps/venv/bin/python" ]; }; then
    say "installing tests/clients/python"
    rm -rf "$deps/venv"
    python3 -m venv "$deps/venv"
    "$deps/venv/bin/pip" install -q --disable-pip-version-check -r tests/clients/python/requirements.txt
    touch "$deps/python.mark"
fi

if [ ! -d "$deps/go" ]; then
    say "compiling the standard library of Go"
    GOCACHE="$PWD/$deps/go" GOTOOLCHAIN=local GOPROXY=off go build net/http
fi

if ! { fresh "$deps/validators.mark" tests/validators && [ -x "$deps/validators" ]; }; then
    say "building tests/validators"
    (cd tests/validators && GOFLAGS=-mod=readonly GOTOOLCHAIN=local go build -buildvcs=false -o "../../$deps/validators" .)
    touch "$deps/validators.mark"
fi

say "test dependencies: ready"
