#!/bin/sh
# What the host must have, by purpose: `python` (to make .venv), `netns` (the lab), `docker` (the other runtime).
# As root on Debian/Ubuntu what is missing is installed with apt; otherwise it is named, and the exit code is 2.
set -eu

missing=''
need() { # need PACKAGE COMMAND...: PACKAGE is missing unless every COMMAND is found
  package=$1
  shift
  for command in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null 2>&1 || { missing="$missing $package"; return 0; }
  done
}

case "${1:-}" in
  python)
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
      || { echo "sidedoor needs Python 3.11 or newer as '$python' (make PYTHON=python3.12 names another)" >&2; exit 2; }
    "$python" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
    ;;
  netns)
    need nftables nft
    need iptables iptables ip6tables
    need util-linux unshare nsenter
    need iproute2 ip
    ;;
  docker)
    need docker.io docker
    need mmdebstrap mmdebstrap
    ;;
  *)
    echo "usage: $0 python|netns|docker" >&2
    exit 2
    ;;
esac

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing what is missing:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # the list is meant to be split
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null
else
  echo "missing on this machine:$missing" >&2
  echo "install with: sudo apt-get install$missing" >&2
  exit 2
fi
