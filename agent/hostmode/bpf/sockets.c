// Tells of TCP sockets of watched network namespaces that become connected, begin to listen or end. It is
// attached to the tracepoint inet_sock_set_state through BTF, which needs no tracefs.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

// States of a TCP socket (include/net/tcp_states.h).
#define ESTABLISHED 1
#define SYN_SENT 2
#define SYN_RECV 3
#define CLOSED 7
#define LISTEN 10

#define V4 2
#define V6 10
#define TCP 6

// What is read of the kernel's structures; the loader finds the offsets by name.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct in6_addr___k {
	__u8 in6_u[16];
};
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr___k skc_v6_daddr;
	struct in6_addr___k skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	int sk_err;
};
struct inet_sock {
	__be16 inet_sport;
};
struct tcp_sock {
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 segs_in;
	__u32 segs_out;
};
struct mnt_namespace {
	struct ns_common ns;
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
};
struct task_struct {
	struct nsproxy *nsproxy;
};
#pragma clang attribute pop

struct owner {
	__u32 pid;
	__u32 mntns;
	char comm[16];
};

struct event {
	__u64 socket;
	__u64 received; // payload bytes
	__u64 acked;
	__u32 segs_in;
	__u32 segs_out;
	__u32 netns;
	__u32 error;
	struct owner owner; // pid 0 where it is not known
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port; // host order
	__u16 remote_port;
	__u8 ipv6;
	__u8 before;
	__u8 now;
	__u8 pad;
};

// Keeps the type in the object's BTF for the generated Go code.
const struct event *unused_event __attribute__((unused));

// Inode numbers of the network namespaces that are watched.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} watched SEC(".maps");

// The process that began to connect or to listen, by socket: later changes have no process context.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

// How many events did not fit.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void myself(struct owner *o)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	o->pid = bpf_get_current_pid_tgid() >> 32;
	o->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	bpf_get_current_comm(o->comm, sizeof(o->comm));
}

static __always_inline void addresses(struct event *e, struct sock *sk, __u16 family)
{
	if (family == V4) {
		BPF_CORE_READ_INTO((__u32 *)(e->local + 12), sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)(e->remote + 12), sk, __sk_common.skc_daddr);
		return;
	}
	e->ipv6 = 1;
	bpf_probe_read_kernel(e->local, 16, __builtin_preserve_access_index(&sk->__sk_common.skc_v6_rcv_saddr));
	bpf_probe_read_kernel(e->remote, 16, __builtin_preserve_access_index(&sk->__sk_common.skc_v6_daddr));
}

SEC("tp_btf/inet_sock_set_state")
int sock_state(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], now = (int)ctx[2];
	__u32 netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u64 key = (__u64)sk;
	struct owner me = {}, *known;
	struct event *e;

	if (!bpf_map_lookup_elem(&watched, &netns))
		return 0;
	if ((family != V4 && family != V6) || BPF_CORE_READ(sk, sk_protocol) != TCP)
		return 0;
	if (now == SYN_SENT || now == LISTEN) {
		myself(&me);
		bpf_map_update_elem(&owners, &key, &me, BPF_ANY);
		if (now == SYN_SENT)
			return 0; // its own port is chosen only now
	}
	if (now != LISTEN && now != CLOSED && !(now == ESTABLISHED && (before == SYN_SENT || before == SYN_RECV)))
		return 0;
	known = bpf_map_lookup_elem(&owners, &key);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__u32 zero = 0;
		__u64 *n = bpf_map_lookup_elem(&lost, &zero);

		if (n)
			__sync_fetch_and_add(n, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->socket = key;
	e->netns = netns;
	e->before = before;
	e->now = now;
	if (known)
		e->owner = *known;
	addresses(e, sk, family);
	e->local_port = __builtin_bswap16(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	e->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (now == LISTEN && !e->local_port)
		e->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	e->error = BPF_CORE_READ(sk, sk_err);
	if (now != LISTEN) {
		struct tcp_sock *tp = (struct tcp_sock *)sk;

		e->received = BPF_CORE_READ(tp, bytes_received);
		e->acked = BPF_CORE_READ(tp, bytes_acked);
		e->segs_in = BPF_CORE_READ(tp, segs_in);
		e->segs_out = BPF_CORE_READ(tp, segs_out);
	}
	bpf_ringbuf_submit(e, 0);
	if (now == CLOSED)
		bpf_map_delete_elem(&owners, &key);
	return 0;
}
