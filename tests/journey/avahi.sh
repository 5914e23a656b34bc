#!/bin/sh
# avahi.sh FOLDER COMMAND: COMMAND beside a D-Bus and an avahi-daemon of its own.
# Both have fixed places under /run, and avahi-daemon gives its own to a user of its own: here they get a /run and a
# list of users that only they see. FOLDER has dbus.conf, avahi.conf, passwd and group.
set -eu
exec unshare --user --map-root-user --mount sh -eu -c '
mount -t tmpfs none /run
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
mkdir -p /run/dbus /run/avahi-daemon
dbus-daemon --config-file="$1/dbus.conf" --fork --nopidfile
avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "$1/avahi.conf" >"$1/$PLG_NAME.log" 2>&1 &
until [ -S /run/avahi-daemon/socket ]; do sleep 0.05; done
eval "$2"
' sh "$1" "$2"
