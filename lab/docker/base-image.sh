#!/bin/sh
# Makes the base of the lab's image without an image registry: a minimal Debian (Ubuntu on Ubuntu) of the release that
# this machine runs, from the package sources that this machine's apt uses, by mmdebstrap and `docker import`.
# Prints the tag of the image that it made. Needs mmdebstrap, a Docker engine that answers, and root (or user namespaces).
set -eu

packages='python3 python3-venv nftables iptables iproute2 conntrack iputils-ping curl ca-certificates procps'
# shellcheck source=/dev/null
. /etc/os-release
tag="${1:-sidedoor-base:$VERSION_CODENAME}"

command -v mmdebstrap >/dev/null || { echo "$0: mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 2; }
docker info >/dev/null 2>&1 || { echo "$0: no Docker engine answers: start dockerd, or look at 'docker info'" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The distribution's own sources (release, updates, security), not what else the machine's owner has added.
# `apt-get indextargets` lists only what `apt-get update` has fetched the index of.
apt-get indextargets --format '$(CODENAME) $(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
  | awk -v origin="$ID" -v codename="$VERSION_CODENAME" \
      'tolower($2) == origin && index($1, codename) == 1 { print $3, $4, $5, $6 }' \
  | sort -u >"$folder/sources.list"
[ -s "$folder/sources.list" ] \
  || { echo "$0: apt knows no package source of $ID $VERSION_CODENAME: run apt-get update first" >&2; exit 1; }

mmdebstrap --quiet --variant=minbase --include="$(echo "$packages" | tr ' ' ',')" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  "$VERSION_CODENAME" "$folder/base.tar" "$folder/sources.list" >&2
docker import "$folder/base.tar" "$tag" >/dev/null
echo "$tag"
