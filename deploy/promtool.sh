#!/usr/bin/env bash
# Puts promtool, which the alerts are tested with and no wheel brings, into the folder $1: out of Debian's
# package, which is unpacked and not installed, so that it takes neither root nor Prometheus' service.
set -euo pipefail
folder=$(cd "$1" && pwd)
if [ -x "$folder/promtool" ] || command -v promtool >/dev/null; then
  exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
  echo "promtool is not installed, and this is no Debian: put Prometheus' promtool on the PATH" >&2
  exit 2
fi
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
cd "$unpacked"
mkdir -p lists/partial cache/archives/partial
# lists of our own: a fresh image has none, and old ones name packages that are gone
own=(-qq -o "Dir::State::Lists=$unpacked/lists" -o "Dir::Cache=$unpacked/cache" -o APT::Sandbox::User=root -o Acquire::Retries=3)
apt-get "${own[@]}" update
apt-get "${own[@]}" download prometheus
dpkg -x prometheus_*.deb .
install usr/bin/promtool "$folder/promtool"
