#!/bin/sh
# Runs a program as a container engine or systemd does: as the user RUN_AS without any privileges, on a root of its own,
# ROOT, where nothing can be written but the MOUNTS that say so, one on each line: from, to, and ro or rw. Process and
# network name space are those of this machine.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$ROOT"
mkdir "$ROOT/usr" "$ROOT/proc" "$ROOT/dev" "$ROOT/tmp" "$ROOT/etc"
for name in bin lib lib64 sbin; do
    [ ! -L "/$name" ] || cp -P "/$name" "$ROOT"
done
mount --bind /usr "$ROOT/usr"
mount -o remount,bind,ro "$ROOT/usr"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/usr/local"
mount --bind /proc "$ROOT/proc"
for device in null urandom; do
    touch "$ROOT/dev/$device"
    mount --bind "/dev/$device" "$ROOT/dev/$device"
done
printf '%s\n' "$MOUNTS" | while read -r from to access; do
    [ -n "$from" ] || continue
    if [ -d "$from" ]; then
        mkdir -p "$ROOT$to"
    else
        mkdir -p "$(dirname "$ROOT$to")"
        touch "$ROOT$to"
    fi
    mount --bind "$from" "$ROOT$to"
    [ "$access" = rw ] || mount -o remount,bind,ro "$ROOT$to"
done
printf '%s\n' "$LINKS" | while read -r from to; do
    [ -z "$from" ] || ln -s "$to" "$ROOT$from"
done
mount -o remount,ro "$ROOT/usr/local"
mount -o remount,ro "$ROOT"
user=$RUN_AS root=$ROOT
unset RUN_AS ROOT MOUNTS LINKS
exec chroot --userspec="$user" --groups= "$root" \
    setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
