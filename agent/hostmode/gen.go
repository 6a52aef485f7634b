package hostmode

//go:generate go tool bpf2go -cc clang -strip llvm-strip -target bpfel -type event -type owner sockets bpf/sockets.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
