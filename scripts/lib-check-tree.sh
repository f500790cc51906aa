# SPDX-License-Identifier: GPL-2.0
# lib-check-tree.sh: the gates of series-check that need the kernel tree.
# shellcheck shell=bash

need_tools
[ -n "$(tree_version "$tree")" ] || DIE_CODE=2 die "$tree is no kernel tree"
tree=$(cd "$tree" && pwd)

# FILE_PATH_CHANGES asks for MAINTAINERS entries, which the submitter writes. The
# layout of trace events is the kernel's own, and checkpatch does not know it. The
# tree is one commit, so that it knows none that a Fixes: tag names.
# One takes seconds, so several run at a time, and what was found clean is kept
# by its content in build/check.
style_one() {
	local p=$1 key out rc=0
	key=$BUILD/check/style-$(series_key "$(git_plain -C "$tree" rev-parse refs/tags/base)" "$p" "$tree/scripts/checkpatch.pl" "$TOP/scripts/lib-check-tree.sh")
	[ ! -e "$key" ] || return 0
	out=$(cd "$tree" && perl scripts/checkpatch.pl --strict --no-signoff --terse --no-summary --show-types --showfile \
		--ignore FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID "$p" 2>&1) || rc=$?
	[ $rc -le 1 ] || return 1	# killed, or no perl
	out=$(grep -vE '^(include/trace/events|arch/x86/include/asm/trace)/.*:(OPEN_ENDED_LINE|PARENTHESIS_ALIGNMENT|SPACING):' <<<"$out" || :)
	if [ -z "$out" ]; then : >"$key"; else printf '%s:\n%s\n' "${p##*/}" "${out//"$PATCHES/"/}"; fi
}
style() {
	local p sorted
	mkdir -p "$BUILD/check"
	# The longest ones first, so that none of them is left for the end.
	mapfile -t sorted < <(ls -S "${patches[@]}")
	for p in "${sorted[@]}"; do
		while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n || :; done
		{ style_one "$p" || echo "${p##*/}: checkpatch did not run"; } >"$tmp/style-${p##*/}" 2>&1 &
	done
	wait
	for p in "${patches[@]}"; do cat "$tmp/style-${p##*/}"; done
}
kernel_doc() {
	local files
	mapfile -t files < <(added_files "${patches[@]}" | grep -E '\.[ch]$' | grep -v '^tools/' | sed "s,^,$tree/,")
	[ ${#files[@]} -eq 0 ] || (cd "$tree" && /usr/bin/python3 tools/docs/kernel-doc -none -Wall -Werror "${files[@]}")
}
# Objects of the files that the series adds or changes, as the kunit kernel
# builds them, with every warning of W=1 and sparse; both only for new code, as
# the kernel's own files have old ones.
objects() {
	local out=$BUILD/out/check new o
	"$TOP/scripts/kernel-build" kunit --tree "$tree" --out "$out" --config-only || return 1
	mapfile -t new < <(added_files "${patches[@]}" | grep -E '\.c$' | grep -v '^tools/' | sed 's/\.c$/.o/')
	[ ${#new[@]} -gt 0 ] || return 0
	for o in "${new[@]}"; do rm -f "$out/$o"; done
	make -C "$tree" O="$out" CC="ccache gcc" HOSTCC="ccache gcc" -j"$JOBS" W=1 C=1 CHECK="$TOP/scripts/sparse-old" "${new[@]}" \
		>"$out/check.log" 2>&1 </dev/null || { grep -E 'error|Error' "$out/check.log" | head -n 5; return 1; }
	[ "$(grep -c '^  CHECK ' "$out/check.log")" -ge ${#new[@]} ] || { echo 'sparse did not run'; return 1; }
	local f
	for f in "${new[@]}"; do
		grep -E "(^|/)${f%.o}\.c:.*(warning|error)" "$out/check.log" || :
	done
	# A header that the series adds shows up under its own name.
	added_files "${patches[@]}" | grep -E '\.h$' | while read -r f; do grep -E "(^|/)$f:.*(warning|error)" "$out/check.log" || :; done
}

gate 20 'checkpatch --strict' 'mend the style in build/linux, then make save' style
gate 21 'kernel-doc' 'complete the comments of the new functions' kernel_doc
gate 22 'W=1 and sparse' 'mend the warnings in the new files' objects
