# SPDX-License-Identifier: GPL-2.0
# lib-check-tree.sh: the gates of series-check that need the kernel tree.
# shellcheck shell=bash

need_tools
[ -n "$(tree_version "$tree")" ] || DIE_CODE=2 die "$tree is no kernel tree"
tree=$(cd "$tree" && pwd)

# FILE_PATH_CHANGES asks for MAINTAINERS entries, which the submitter writes. The
# layout of trace events is the kernel's own, and checkpatch does not know it.
style() {
	local p out
	for p in "${patches[@]}"; do
		out=$(cd "$tree" && perl scripts/checkpatch.pl --strict --no-signoff --terse --no-summary --show-types --showfile \
			--ignore FILE_PATH_CHANGES "$p" 2>&1) || :
		out=$(grep -vE '^(include/trace/events|arch/x86/include/asm/trace)/.*:(OPEN_ENDED_LINE|PARENTHESIS_ALIGNMENT|SPACING):' <<<"$out" || :)
		[ -z "$out" ] || printf '%s:\n%s\n' "${p##*/}" "${out//"$PATCHES/"/}"
	done
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
	make -C "$tree" O="$out" CC="ccache gcc" HOSTCC="ccache gcc" -j"$JOBS" W=1 C=1 CHECK="sparse" "${new[@]}" \
		>"$out/check.log" 2>&1 </dev/null || { grep -E 'error|Error' "$out/check.log" | head -n 5; return 1; }
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
