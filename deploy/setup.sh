#!/usr/bin/env bash
# Installs what a task needs and is missing, and prints it.
#   deploy/setup.sh demo   nothing but Go and a kernel: only checks
#   deploy/setup.sh test   the servers and clients that the tests speak to
#   deploy/setup.sh gen    compilers for generated code
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

task=${1:-demo}
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || die "Go is missing: install Go 1.26 or later (https://go.dev/doc/install) and run this again"
[ "$(uname -s)" = Linux ] || die "Sluice's dataplane needs Linux"

declare -A package=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || package[$2]=1; }

case $task in
demo) ;;
test)
	need ip iproute2; need tc iproute2; need iperf3 iperf3; need ethtool ethtool
	need nft nftables; need iptables-nft-restore iptables; need haproxy haproxy
	need redis-server redis-server; need nginx nginx-light; need mariadbd mariadb-server; need sshd openssh-server
	need dockerd docker.io; need containerd containerd; need runc runc; need crun crun
	[[ $(ldd /bin/busybox 2>&1) == *'not a dynamic'* ]] || package[busybox-static]=1 # containers of the tests have no libraries
	need gcc gcc # of the race detector
	[ -e /usr/include/stdlib.h ] || package[libc6-dev]=1
	[ -x /usr/lib/cni/bridge ] || package[containernetworking-plugins]=1
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || package[postgresql]=1
	;;
gen)
	need clang clang; need llvm-strip llvm; need protoc protobuf-compiler
	[ -e /usr/include/bpf/bpf_helpers.h ] || package[libbpf-dev]=1
	;;
*) die "unknown task '$task': demo, test or gen" ;;
esac

if [ $task != gen ] && [ "$(id -u)" != 0 ]; then
	die "'make $task' needs root (network namespaces, packet sockets, BPF): run it as root or with sudo -E"
fi
[ ${#package[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || die "please install: ${!package[*]}"
say "installing ${!package[*]}"
export DEBIAN_FRONTEND=noninteractive
# Servers must not start by themselves: tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi
apt-get update -qq >/dev/null || say "apt-get update did not work; trying with the lists that are there"
apt-get install -y -qq --no-install-recommends "${!package[@]}" >/dev/null
