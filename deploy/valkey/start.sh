#!/bin/sh
# Starts valkey-server with valkey.conf and a password. In a file, since a command line is read by everybody.
# VALKEYCLI_AUTH: the password. OPENFALL_VALKEY_MEMORY: maxmemory. CONF_DIR, RUN_DIR, and arguments: for tests.
set -eu
umask 077
: "${VALKEYCLI_AUTH:?set a password}" "${OPENFALL_VALKEY_MEMORY:?set a size such as 1gb}"
case "$VALKEYCLI_AUTH" in
  *[!A-Za-z0-9._~-]*)
    echo "OPENFALL_VALKEY_PASSWORD stands in an address: use only letters, digits and . _ ~ -" >&2
    exit 2 ;;
esac
conf="${RUN_DIR:-/tmp}/valkey.conf"
{
  cat "${CONF_DIR:-/etc/valkey}/valkey.conf"
  echo "maxmemory $OPENFALL_VALKEY_MEMORY"
  echo "requirepass $VALKEYCLI_AUTH"
} > "$conf"
exec valkey-server "$conf" "$@"
