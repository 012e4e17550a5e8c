#!/bin/sh
# Builds the lab's image, sidedoor-lab:latest, unless the one that is there was made from these very sources.
# Needs `make setup` and a Docker engine that answers. BASE names another base image (debian:bookworm-slim); without it
# the base is made by base-image.sh. Wheels are kept in build/docker/ for the next time.
set -eu
cd "$(dirname "$0")/../.."

image=sidedoor-lab:latest
label=sidedoor.sources
python=.venv/bin/python
say() { echo "build-image: $*" >&2; }

docker info >/dev/null 2>&1 || { say "no Docker engine answers: start dockerd, or look at 'docker info'"; exit 2; }
[ -x "$python" ] || { say "$python is missing: run make setup first"; exit 2; }

mkdir -p build/docker/wheels build/docker/project
exec 9>build/docker/.lock
flock 9 # one build at a time; the second finds the work done

# shellcheck source=/dev/null
. /etc/os-release
if [ -n "${BASE:-}" ]; then
  network=default
else
  BASE="sidedoor-base:$VERSION_CODENAME"
  network=none # everything that the build needs is in the base and the wheels
fi

sources=$({
  echo "$BASE"
  find pyproject.toml requirements.lock README.md LICENSE sidedoor proxy client censor lab \
    -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
} | sha256sum | cut -d ' ' -f 1)
previous=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
found=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null || true)
if [ "$found" = "$sources" ]; then
  say "$image is up to date"
  exit 0
fi

if [ "$network" = none ] && ! docker image inspect "$BASE" >/dev/null 2>&1; then
  say "making the base image $BASE from this machine's package sources ..."
  lab/docker/base-image.sh "$BASE" >/dev/null
fi

# The build's context (.dockerignore lets nothing else through).
build() { # build ARGUMENT...: the legacy builder talks on stdout, shown only when it fails
  DOCKER_BUILDKIT=0 docker build --force-rm --network "$network" --build-arg BASE="$BASE" -f lab/docker/Dockerfile "$@" . \
    >build/docker/log 2>&1 || { cat build/docker/log >&2; say "docker build failed"; exit 1; }
}

build --target tools --tag sidedoor-tools:latest
version=$(docker run --rm --network none sidedoor-tools:latest \
  python3 -c 'import platform; print(platform.python_version())')
minor=${version%.*}

"$python" -m lab.docker.wheels requirements.lock "$version" >build/docker/requirements.new
if ! cmp -s build/docker/requirements.new build/docker/requirements.txt; then
  say "fetching the locked wheels for Python $minor ..."
  rm -f build/docker/wheels/*.whl build/docker/requirements.txt
  machine=$(uname -m)
  platforms=''
  for glibc in 2_36 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17 2_12 2_5; do
    platforms="$platforms --platform manylinux_${glibc}_$machine"
  done
  # shellcheck disable=SC2086 # the list is meant to be split
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --implementation cp --python-version "$minor" $platforms --platform "manylinux2014_$machine" \
    --dest build/docker/wheels -r build/docker/requirements.new
  cp build/docker/requirements.new build/docker/requirements.txt
fi
rm -f build/docker/project/*.whl
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --wheel-dir build/docker/project .

say "building $image ..."
build --label "$label=$sources" --tag "$image"
# The image that has just lost its tag would stay for ever; one that a container still uses stays.
[ -z "$previous" ] || docker image rm "$previous" >/dev/null 2>&1 || true
