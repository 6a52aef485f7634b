package afpacket

//go:generate go tool bpf2go -cc clang -strip llvm-strip -target bpfel -type hook -type endpoint -type missed -type pulse -type counter steer bpf/steer.c -- -O2 -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
