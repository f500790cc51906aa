# SPDX-License-Identifier: GPL-2.0
# lib-series.sh: what the patches say, without a kernel tree; sourced after lib.sh.
# shellcheck shell=bash

# Where files that the series adds are mirrored, at the kernel's own paths.
MIRRORS=(arch include kernel lib mm Documentation tools/testing/selftests)

mirrored() { (cd "$TOP" && { find "${MIRRORS[@]}" -type f 2>/dev/null || :; } | sort); }

# added_files / touched_files PATCH...: paths the series creates, and paths of
# the kernel's own files that it changes.
added_files() {
	[ $# -eq 0 ] || git_plain apply --summary "$@" | sed -n 's/^ create mode [0-7]* //p' | sort -u
}
touched_files() {
	[ $# -eq 0 ] || comm -23 <(git_plain apply --numstat "$@" | cut -f3 | sort -u) <(added_files "$@")
}

# image DIR PATCH...: the added files as the whole series leaves them, in DIR.
image() {
	local dir=$1 include=() p
	shift
	git_plain init -q "$dir"
	mapfile -t include < <(added_files "$@" | sed 's/^/--include=/')
	[ ${#include[@]} -gt 0 ] || return 0
	for p in "$@"; do
		git_plain -C "$dir" apply --whitespace=nowarn "${include[@]}" "$p" || return 1
	done
}
