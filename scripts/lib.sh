# SPDX-License-Identifier: GPL-2.0
# lib.sh: sourced by every script here: variables, one-line errors, progress lines.
# shellcheck shell=bash
# shellcheck disable=SC2034
set -euo pipefail

PROG=${0##*/}
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The distribution's python3 first: virtme-ng and the kernel's tools run on that
# one, and a private python earlier in the PATH may lack their modules.
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export PATH LC_ALL=C.UTF-8 TZ=UTC

BASE=${BASE:-7.3}
KDIR=${KDIR:-}
CPUS=${CPUS:-}
JOBS=${JOBS:-$(nproc)}
[[ $JOBS =~ ^[1-9][0-9]*$ ]] || { echo "$PROG: JOBS: '$JOBS' is not a number" >&2; exit 2; }
CACHE=${PMAP_INVAL_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/pmap-inval}
PATCHES=$TOP/patches/$BASE
BUILD=$TOP/build
TREE=$BUILD/linux
TEST_OUT=${TEST_OUT:-$BUILD/test}

# Same input, same object, same compiler-cache key, wherever the checkout lies.
export CCACHE_DIR=$CACHE/ccache CCACHE_BASEDIR=$TOP CCACHE_NOHASHDIR=1
export CCACHE_SLOPPINESS=time_macros CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-4G}
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026'
export KBUILD_BUILD_USER=pmap_inval KBUILD_BUILD_HOST=localhost

die() { echo "$PROG: $*" >&2; exit "${DIE_CODE:-1}"; }
note() { echo "$PROG: $*" >&2; }

# Elapsed time counts from the first script of a run, so that the lines of a
# whole `make test` or `make compare` tell one clock.
export PMAP_INVAL_T0=${PMAP_INVAL_T0:-$(date +%s)}
elapsed() {
	local s=$(($(date +%s) - PMAP_INVAL_T0))

	printf '%02d:%02d' $((s / 60)) $((s % 60))
}

# step N TOTAL WHAT: the head line of one long step.
step() { printf '[%2d/%2d] %-58s %s\n' "$1" "$2" "$3" "$(elapsed)" >&2; }
progress() { printf '        %-58s %s\n' "$*" "$(elapsed)" >&2; }

# git as a machine would run it: the user's configuration, hooks and signing
# keys off, one neutral committer, so that equal patches give equal commits.
git_plain() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_NOSYSTEM=1 \
	GIT_TERMINAL_PROMPT=0 GIT_AUTHOR_NAME=pmap_inval GIT_AUTHOR_EMAIL=pmap_inval@localhost \
	GIT_COMMITTER_NAME=pmap_inval GIT_COMMITTER_EMAIL=pmap_inval@localhost \
	GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' \
		git -c core.hooksPath=/dev/null -c gc.auto=0 -c maintenance.auto=false "$@"
}

# tree_version DIR: "7.3.4" from the kernel tree's Makefile, empty when it is none.
tree_version() {
	[ -f "$1/Makefile" ] && [ -f "$1/Kbuild" ] && [ -d "$1/arch/x86/mm" ] || return 0
	sed -n '1,8{s/^VERSION = //p;s/^PATCHLEVEL = //p;s/^SUBLEVEL = //p}' "$1/Makefile" |
		paste -sd.
}

# Somewhere to page out to, in a guest. From zram a page comes back without its slot, so it counts as dirty whatever the
# page table says (SWP_SYNCHRONOUS_IO, should_try_to_free_swap()): the self-test dirty needs what is not synchronous. The
# others need what has paged out when madvise() returns.
GUEST_ZRAM='echo 256M >/sys/block/zram0/disksize && busybox mkswap /dev/zram0 >/dev/null && busybox swapon /dev/zram0'
GUEST_LOOP='mkdir -p /run/swap && mount -t tmpfs swap /run/swap && busybox truncate -s 256M /run/swap/file && \
	{ [ -b /dev/loop0 ] || busybox mknod /dev/loop0 b 7 0; } && busybox losetup /dev/loop0 /run/swap/file && \
	busybox mkswap /dev/loop0 >/dev/null && busybox swapon /dev/loop0'

patch_list() { find "$PATCHES" -maxdepth 1 -name '[0-9][0-9][0-9][0-9]-*.patch' 2>/dev/null | sort; }

need_tools() {
	"$TOP/scripts/deps" >&2 </dev/null || exit 1
}

# Gates add their results here; test-run sums them up.
count() { [ -z "${PMAP_INVAL_COUNTS:-}" ] || echo "$1 $2" >>"$PMAP_INVAL_COUNTS"; }
count_report() {
	local p f

	p=$(sed -nE '1s/.*: ([0-9]+) passed, ([0-9]+) failed.*/\1/p' "$1")
	f=$(sed -nE '1s/.*: ([0-9]+) passed, ([0-9]+) failed.*/\2/p' "$1")
	count "${p:-0}" "${f:-1}"
}

# What build/linux was made from, and the commit that gave: series-open and
# series-save write it, and unsaved work shows as a difference.
series_key() { { echo "$1"; shift; [ $# -eq 0 ] || cat "$@"; } | sha256sum | cut -c1-40; }
# series_code COMMIT [PATHSPEC...]: in $code, what of a commit decides about what it
# does: the base, and the files that are others since; C without its comments, as one
# that is mended takes nothing away from what was run. Documents never decide.
declare -A uncommented=()
series_code() {
	local commit=$1 mode blob path changed

	shift
	# Not in a substitution below, where a failure would be a key of less.
	changed=$(git_plain -C "$TREE" diff-tree -r --no-renames refs/tags/base "$commit" -- . ':!Documentation' "$@" | awk '{ print $2, $4, $6 }')
	code=$(git_plain -C "$TREE" rev-parse 'refs/tags/base^{tree}')
	while read -r mode blob path; do
		if [[ $path == *.[ch] && $mode != 000000 ]]; then
			[ -n "${uncommented[$blob]:-}" ] ||
				uncommented[$blob]=$(git_plain -C "$TREE" cat-file blob "$blob" | gcc -fpreprocessed -dD -E -P -w -x c - | sha256sum | cut -c1-40)
			blob=${uncommented[$blob]}
		fi
		code+=$'\n'"$mode $blob $path"
	done <<<"$changed"
}
series_stamp() {
	local base head

	base=$(git_plain -C "$TREE" rev-parse 'refs/tags/base^{commit}') head=$(git_plain -C "$TREE" rev-parse HEAD)
	echo "$(series_key "$base" "$@") $head"
}
