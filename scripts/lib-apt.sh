# SPDX-License-Identifier: GPL-2.0
# lib-apt.sh: an apt state of our own in the cache, sourced after lib.sh. The
# machine's apt configuration and package lists are read, never changed.
# shellcheck shell=bash

ARCHIVES=$CACHE/apt/archives
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror this machine is configured with: the first URI that serves a Debian
# release, from one-line (*.list) and deb822 (*.sources) files alike.
debian_mirror() {
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
		sed -nE 's/^deb(-src)? +(\[[^]]*\] +)?([^ ]+) +[a-z]+ .*\bmain\b.*/\3/p' >"$1"
	cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
		tolower($1) == "uris:" { print $2 }' >>"$1"
	# Images for clouds name a file with a list of mirrors.
	sed -nE 's,^mirror\+file:(//)?(/.*),\2,p' "$1" | while read -r file; do sed -E '/^#/d; s/[[:space:]].*//' "$file" 2>/dev/null >>"$1"; done
	grep -E '/debian/?$' "$1" | head -n 1 || :
}

apt_setup() {
	local uri suite
	[ -f "$KEYRING" ] || { note "no $KEYRING; install debian-archive-keyring"; return 1; }
	mkdir -p "$CACHE/apt/lists/partial" "$ARCHIVES/partial" "$CACHE/apt/etc"
	uri=$(debian_mirror "$CACHE/apt/etc/uris")
	[ -n "$uri" ] || { note "no Debian mirror in /etc/apt/sources.list(.d)"; return 1; }
	: >"$CACHE/apt/status"
	for suite in trixie trixie-backports; do
		echo "deb [signed-by=$KEYRING] $uri $suite main"
	done >"$CACHE/apt/etc/sources.list"
	# Read after the machine's own files, so proxies and the like stay in force
	# while state, sources and after-update hooks are ours.
	cat >"$CACHE/apt/apt.conf" <<-CONF
	Dir::State "$CACHE/apt"; Dir::State::status "$CACHE/apt/status"; Dir::State::lists "$CACHE/apt/lists";
	Dir::Cache "$CACHE/apt"; Dir::Cache::archives "$ARCHIVES";
	Dir::Etc::sourcelist "$CACHE/apt/etc/sources.list"; Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
	APT::Sandbox::User "root"; APT::Architecture "amd64"; APT::Architectures { "amd64"; };
	Acquire::Languages "none"; Acquire::Retries "2";
	#clear APT::Update::Pre-Invoke; #clear APT::Update::Post-Invoke; #clear APT::Update::Post-Invoke-Success;
	CONF
	apt-get -c "$CACHE/apt/apt.conf" -qq update >"$CACHE/apt/update.log" 2>&1 </dev/null ||
		{ note "apt-get update of the private state failed: $(grep -m1 '^E:' "$CACHE/apt/update.log" || echo "see $CACHE/apt/update.log")"; return 1; }
}

# apt_deb PACKAGE KNOWN_VERSION SHA256: path of the .deb in the cache, downloading
# the known version, else the newest the mirror has, which apt verifies against
# the signed index; the known one is also held against its SHA-256.
apt_deb() {
	local pkg=$1 version=$2 sum=$3 have file
	file=$ARCHIVES/${pkg}_${version}_all.deb
	[ ! -f "$file" ] || sum_is "$file" "$sum" || { note "$file is damaged; fetching it again"; rm -f "$file"; }
	if [ ! -f "$file" ] && apt_setup; then
		have=$(apt-cache -c "$CACHE/apt/apt.conf" madison "$pkg" 2>/dev/null | awk -F' *[|] *' '{ print $2 }' | sort -urV)
		if [ -n "$have" ] && ! grep -qxF -- "$version" <<<"$have"; then
			note "the mirror has $pkg $(head -n1 <<<"$have"), not $version (the version known here); taking it"
			version=$(head -n1 <<<"$have"); sum=''
		fi
		file=$ARCHIVES/${pkg}_${version}_all.deb
		if [ -n "$have" ] && [ ! -f "$file" ]; then
			note "downloading $pkg $version"
			(cd "$ARCHIVES/partial" && apt-get -c "$CACHE/apt/apt.conf" -qq download "$pkg=$version") >&2 </dev/null &&
				mv "$ARCHIVES/partial/${pkg}_"*.deb "$file" || :
			[ ! -f "$file" ] || [ -z "$sum" ] || sum_is "$file" "$sum" ||
				{ rm -f "$file"; note "$pkg $version does not have its known SHA-256 $sum"; return 1; }
		fi
	fi
	# No mirror, or it has dropped the package: any copy that was verified before.
	[ -f "$file" ] || file=$(find "$ARCHIVES" -maxdepth 1 -name "${pkg}_*_all.deb" 2>/dev/null | sort -V | tail -n1)
	[ -f "$file" ] || return 1
	echo "$file"
}

sum_is() { echo "$2  $1" | sha256sum --check --status; }
