#!/usr/bin/env bash
# Builds the image of this checkout with docker, podman or buildah, whichever is there.
#
#   docker/build.sh                      make image [TAG=abet:0.1.0] [BASE=] [EXTRA_INDEX=]
#   docker/build.sh push                 make push REGISTRY=registry.example.org/perception [TAG=]
#
#   BUILDER        docker, podman or buildah (the first that works)
#   BASE           base image (the Dockerfile says which and why)
#   EXTRA_INDEX    a further index of Python packages, for another build of torch
#   BUILD_MOUNTS   folders and files of this machine that the build sees, read-only, separated by spaces: certificates of
#                  your proxy, a pip.conf, a folder of wheels
#   BUILD_OPTIONS  further options for building
#   PUSH_OPTIONS   further options for pushing (podman, buildah), such as --tls-verify=false
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "abet: error: $*" >&2; exit 2; }

works() {
  case $1 in
    docker) docker info >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

find_builder() {
  local each
  for each in ${BUILDER:-docker podman buildah}; do
    works "$each" && { echo "$each"; return; }
  done
  [ -z "${BUILDER:-}" ] || die "BUILDER=$BUILDER does not answer here: is it installed, and its daemon running?"
  die "no docker engine, podman or buildah here; on Debian: apt-get install --no-install-recommends buildah"
}

builder=$(find_builder)
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' abet/version.py)
tag=${TAG:-abet:$version}
read -ra options <<<"${BUILD_OPTIONS:-}"
read -ra push_options <<<"${PUSH_OPTIONS:-}"

build() {
  local arguments=(--file docker/Dockerfile --tag "$tag" --build-arg VERSION="$version"
    --build-arg REVISION="$(git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || true)")
  [ -z "${BASE:-}" ] || arguments+=(--build-arg BASE="$BASE")
  [ -z "${EXTRA_INDEX:-}" ] || arguments+=(--build-arg EXTRA_INDEX="$EXTRA_INDEX")
  local mount
  for mount in ${BUILD_MOUNTS:-}; do
    [ "$builder" != docker ] || die "BUILD_MOUNTS: docker build cannot mount; use podman or buildah, or bake it into BASE"
    arguments+=(--volume "$mount:$mount:ro")
  done
  echo "building $tag with $builder: minutes the first time, of which pip is silent for most"
  case $builder in
    docker) DOCKER_BUILDKIT=1 docker build "${arguments[@]}" "${options[@]}" . ;;
    podman) podman build --layers "${arguments[@]}" "${options[@]}" . ;;
    buildah) buildah build --layers "${arguments[@]}" "${options[@]}" . ;;
  esac
  echo "built $tag with $builder"
}

push() {
  [ -n "${REGISTRY:-}" ] || die "make push: say where, for example REGISTRY=registry.example.org/perception"
  local name=${REGISTRY%/}/${tag##*/}
  local digest file
  "$builder" tag "$tag" "$name"
  if [ "$builder" = docker ]; then
    docker push "$name"
    digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$name")
    digest=${digest##*@}
  else
    file=$(mktemp)
    "$builder" push "${push_options[@]}" --digestfile "$file" "$name"
    digest=$(cat "$file")
    rm -f "$file"
  fi
  echo "pushed $name; in abet.site.yaml:"
  echo "image: ${name%:*}@$digest"
}

case ${1:-build} in
  build) build ;;
  push) push ;;
  *) die "docker/build.sh $1: expected build or push" ;;
esac
