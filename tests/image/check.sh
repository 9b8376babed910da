#!/bin/bash
# Builds the real Dockerfile on a Debian base made here and runs docker-compose.yml's services in
# the image, without a container engine: buildah's chroot isolation needs root and nothing else.
#
#   make test && sudo tests/image/check.sh        about 5 minutes, 8 GB of disk under TMPDIR
#
# The configuration of pip and npm of this machine is handed to the build. TORCH_INDEX_URL overrides where torch
# comes from; a machine whose pip is configured with places of its own takes it from there.
# REPRISE_CHECK_PYTHON is the Python that has the development installation (default: .venv's).
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${REPRISE_CHECK_PYTHON:-$root/.venv/bin/python}
image=localhost/reprise-check
started=$SECONDS

say() { printf '%4d s  %s\n' "$((SECONDS - started))" "$*"; }
fail() { echo "Error: $*" >&2; exit 2; }

[ "$(id -u)" = 0 ] || fail "debootstrap and buildah's chroot isolation need root."
[ -x "$python" ] || fail "$python is missing: run 'make test' first, or set REPRISE_CHECK_PYTHON."

missing=()
for program in debootstrap podman buildah; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if [ "${#missing[@]}" -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/reprise-image-XXXXXX")
chmod 755 "$work" # the servers and containers of the check run as other users
mkdir "$work/tmp"
export TMPDIR=$work/tmp
free_mb=$(df --output=avail --block-size=1M "$work" | tail -n 1)

store=(--root "$work/store" --runroot "$work/run" --storage-driver overlay)
clean() {
    buildah "${store[@]}" rm --all >/dev/null 2>&1 || true
    umount "$work/store/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean EXIT
[ "$free_mb" -ge 8000 ] || fail "$work has $free_mb MB free; the check needs 8000."
if ! buildah "${store[@]}" info >/dev/null 2>&1; then
    store[5]=vfs # no overlay file system here: slower, and more disk
fi

say "making the base"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    bookworm "$work/base" >"$work/debootstrap.log" || { tail "$work/debootstrap.log"; exit 1; }
tar -C "$work/base" --exclude=./var/cache/apt/archives/*.deb -c . \
    | podman "${store[@]}" import --quiet - "$image-base" >/dev/null
rm -rf --one-file-system "$work/base"

say "building"
mapfile -t package_arguments < <("$python" "$root/tests/image/package_settings.py" "$work")
cd "$root"
nice buildah "${store[@]}" bud --isolation chroot --pull-never --format docker \
    --build-arg BASE_IMAGE="$image-base" "${package_arguments[@]}" --tag "$image" . \
    >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
buildah "${store[@]}" images --format '        {{.Name}} {{.Size}}'

say "running the services"
"$python" -m tests.image.services "$image" "$work" -- buildah "${store[@]}"
say "passed"
