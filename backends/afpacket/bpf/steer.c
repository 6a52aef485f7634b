// Steering of inline endpoints: frames of a hooked interface go to the service
// port and come back from there. See docs of the Go package around it.
//
// The direction of a frame on the service port is given by the MAC address that
// carries the tag: the source of a frame that leaves the workload, the destination of
// one that comes in. The tag replaces the workload's own address, which is known and
// restored.

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT (-1) /* TCX_NEXT and TC_ACT_UNSPEC: other programs still run */

#define ETH_LEN 14
#define PROTO_IP 0x0800
#define PROTO_IP6 0x86dd
#define PROTO_VLAN 0x8100
#define PROTO_QINQ 0x88a8
#define ICMP6 58

#define TAG0 0x02
#define TAG1 0x53
#define TAG2 0x4c

#define HOST_SIDE 0
#define OWN_SIDE 1

#define FAIL_OPEN 0
#define FAIL_CLOSED 1

enum counter {
	STEERED,  /* sent to the service port */
	RETURNED, /* forwarded again */
	BYPASSED, /* passed without a heartbeat, fail open */
	STOPPED,  /* dropped without a heartbeat, fail closed */
	SPOOFED,  /* left with a source address that is not the workload's */
	FOREIGN,  /* came in for another address than the workload's */
	FORGED,   /* its other address looks like a tag */
	UNKNOWN,  /* returned for an unknown endpoint */
	COUNTERS,
};

struct hook {
	__u32 id;
	__u32 mark; /* of frames that come back; random, never 0 */
	__u8 mac[6];
	__u8 side;
	__u8 fail;
	__u8 off; /* being detached: nothing is steered any more */
	__u8 pad[3];
};

struct endpoint {
	__u32 ifindex;
	__u32 mark;
	__u8 mac[6];
	__u8 side;
	__u8 pad;
};

struct pulse {
	__u64 beat;  /* when the worker was last alive, CLOCK_MONOTONIC */
	__u64 limit; /* how long it may be silent, ns */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* interface number */
	__type(value, struct hook);
} hooks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* number of the endpoint */
	__type(value, struct endpoint);
} endpoints SEC(".maps");

/* Frames of an endpoint that were not sent to the service port because no worker was
 * running, by fail mode. User space adds and removes the entries. */
struct missed {
	__u64 frames[2];
	__u64 bytes[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* number of the endpoint */
	__type(value, struct missed);
} unjudged SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pulse);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, enum counter);
	__type(value, __u64);
} counters SEC(".maps");

volatile const __u32 service_port; /* interface number of our end of the service port */

static __always_inline void count(enum counter which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);
	if (n)
		*n += 1;
}

/* count_unjudged counts a frame by endpoint; only frames without a heartbeat pay for it. */
static __always_inline void count_unjudged(struct __sk_buff *skb, __u32 id, int closed)
{
	struct missed *m = bpf_map_lookup_elem(&unjudged, &id);
	if (!m)
		return;
	if (closed) {
		__sync_fetch_and_add(&m->frames[1], 1);
		__sync_fetch_and_add(&m->bytes[1], skb->len);
	} else {
		__sync_fetch_and_add(&m->frames[0], 1);
		__sync_fetch_and_add(&m->bytes[0], skb->len);
	}
}

static __always_inline int tagged(const __u8 *mac)
{
	return mac[0] == TAG0 && mac[1] == TAG1 && mac[2] == TAG2;
}

static __always_inline int same(const __u8 *a, const __u8 *b)
{
	__u8 diff = 0;
	for (int i = 0; i < 6; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}

/* concerns reports whether a frame is one to judge: unicast, IP, and not neighbour
 * discovery. A tag held in the skb is already out of the bytes; two more are skipped. */
static __always_inline int concerns(struct __sk_buff *skb, const __u8 *eth)
{
	__u32 off = ETH_LEN;
	__be16 proto = *(const __be16 *)(eth + 12);
	__u8 next, type;

	if (eth[0] & 1)
		return 0;
	for (int i = 0; i < 2; i++) {
		if (proto != bpf_htons(PROTO_VLAN) && proto != bpf_htons(PROTO_QINQ))
			break;
		if (bpf_skb_load_bytes(skb, off + 2, &proto, sizeof(proto)))
			return 0;
		off += 4;
	}
	if (proto == bpf_htons(PROTO_IP))
		return 1;
	if (proto != bpf_htons(PROTO_IP6))
		return 0;
	/* RFC 4861 6.1, 7.1: discovery messages that count have no extension header before
	 * them that a host would send; with one they are judged like anything else. */
	if (bpf_skb_load_bytes(skb, off + 6, &next, 1) || next != ICMP6)
		return 1;
	if (bpf_skb_load_bytes(skb, off + 40, &type, 1))
		return 1;
	return type < 133 || type > 137;
}

static __always_inline int alive(void)
{
	__u32 zero = 0;
	struct pulse *c = bpf_map_lookup_elem(&control, &zero);
	__u64 now = bpf_ktime_get_ns();

	/* The beat may have been written after now was read. */
	return c && (__s64)(now - c->beat) <= (__s64)c->limit;
}

static __always_inline int steer(struct __sk_buff *skb, int received)
{
	__u32 ifindex = skb->ifindex;
	struct hook *h = bpf_map_lookup_elem(&hooks, &ifindex);
	__u8 eth[ETH_LEN];
	__u8 tag[6];
	int egress;

	if (!h)
		return NEXT;
	if (skb->mark == h->mark) {
		skb->mark = 0;
		return NEXT;
	}
	if (h->off || bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)) || !concerns(skb, eth))
		return NEXT;
	if (!alive()) {
		count(h->fail == FAIL_CLOSED ? STOPPED : BYPASSED);
		count_unjudged(skb, h->id, h->fail == FAIL_CLOSED);
		return h->fail == FAIL_CLOSED ? TC_ACT_SHOT : NEXT;
	}
	egress = received == (h->side == HOST_SIDE);
	if (tagged(egress ? eth : eth + 6)) {
		count(FORGED);
		return TC_ACT_SHOT;
	}
	if (!same(egress ? eth + 6 : eth, h->mac)) {
		count(egress ? SPOOFED : FOREIGN);
		return TC_ACT_SHOT;
	}
	tag[0] = TAG0;
	tag[1] = TAG1;
	tag[2] = TAG2;
	tag[3] = h->id >> 16;
	tag[4] = h->id >> 8;
	tag[5] = h->id;
	if (bpf_skb_store_bytes(skb, egress ? 6 : 0, tag, sizeof(tag), 0))
		return TC_ACT_SHOT;
	count(STEERED);
	return bpf_redirect(service_port, 0);
}

/* On a hook's ingress. */
SEC("tc")
int steer_in(struct __sk_buff *skb)
{
	return steer(skb, 1);
}

/* On a hook's egress. */
SEC("tc")
int steer_out(struct __sk_buff *skb)
{
	return steer(skb, 0);
}

/* On the ingress of our end of the service port: what the engine passed. */
SEC("tc")
int give_back(struct __sk_buff *skb)
{
	__u8 mac[12];
	struct endpoint *e;
	int egress, received;
	__u32 id, at;

	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)))
		return TC_ACT_SHOT;
	egress = !tagged(mac);
	at = egress ? 6 : 0;
	id = egress ? (__u32)mac[9] << 16 | (__u32)mac[10] << 8 | mac[11] : (__u32)mac[3] << 16 | (__u32)mac[4] << 8 | mac[5];
	e = egress && !tagged(mac + 6) ? 0 : bpf_map_lookup_elem(&endpoints, &id);
	if (!e) {
		count(UNKNOWN);
		return TC_ACT_SHOT;
	}
	if (bpf_skb_store_bytes(skb, at, e->mac, 6, 0))
		return TC_ACT_SHOT;
	skb->mark = e->mark;
	count(RETURNED);
	/* It continues where it was taken: what a hook received is received again. */
	received = egress == (e->side == HOST_SIDE);
	return bpf_redirect(e->ifindex, received ? BPF_F_INGRESS : 0);
}

/* What wrap needs to know of a frame, in its mark, because the metadata of a packet socket
 * cannot say it: where the inner IP header is, how long the inner Ethernet header before it
 * is, and the outer VLAN tag. See tunnel.go. */
#define WRAP_NET(m) ((m) & 0x1ff)
#define WRAP_L2(m) ((m) >> 9 & 0x1f)
#define WRAP_TAGGED (1u << 14)
#define WRAP_QINQ (1u << 15)
#define WRAP_TCI(m) ((m) >> 16)

#define UDP_LEN 8
#define IP_LEN 20
#define OUTER_MAX 352 /* IPv6, UDP, the longest tunnel header and Ethernet with two tags */

#define DECAP_IP (1ULL << 7) /* BPF_F_ADJ_ROOM_DECAP_L3_IPV4, _IPV6: since Linux 6.3 */
#define DECAP_IP6 (1ULL << 8)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[OUTER_MAX]);
} outer SEC(".maps");

/* On the egress of the engine's end, for frames of tunnels that are still to be segmented:
 * a packet socket describes their segments, but not that they are inside of a tunnel. The
 * outer headers are taken off and put on again, which marks them as outer ones. */
SEC("tc")
int wrap(struct __sk_buff *skb)
{
	__u32 m = skb->mark, zero = 0, len = WRAP_NET(m) - ETH_LEN, l2 = WRAP_L2(m);
	__u64 off = BPF_F_ADJ_ROOM_FIXED_GSO, on = off | BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	__be16 proto, inner;
	__u8 version;
	__u8 *saved;

	if (!m)
		return NEXT;
	skb->mark = 0;
	saved = bpf_map_lookup_elem(&outer, &zero);
	if (!saved || !skb->gso_size || len < IP_LEN + UDP_LEN || len > OUTER_MAX)
		return TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, 12, &proto, sizeof(proto)) || bpf_skb_load_bytes(skb, ETH_LEN, saved, len) ||
	    bpf_skb_load_bytes(skb, ETH_LEN + len, &version, 1))
		return TC_ACT_SHOT;
	inner = version >> 4 == 4 ? bpf_htons(PROTO_IP) : bpf_htons(PROTO_IP6);
	if (!l2 && inner != proto)
		off |= inner == bpf_htons(PROTO_IP) ? DECAP_IP : DECAP_IP6;
	if (l2)
		on |= BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(l2);
	on |= proto == bpf_htons(PROTO_IP) ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	if (bpf_skb_adjust_room(skb, -(__s32)len, BPF_ADJ_ROOM_MAC, off) ||
	    bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, on) ||
	    bpf_skb_store_bytes(skb, ETH_LEN, saved, len, 0))
		return TC_ACT_SHOT;
	if (m & WRAP_TAGGED &&
	    bpf_skb_vlan_push(skb, m & WRAP_QINQ ? bpf_htons(PROTO_QINQ) : bpf_htons(PROTO_VLAN), WRAP_TCI(m)))
		return TC_ACT_SHOT;
	return NEXT;
}

/* On the ingress of the engine's end: the packet socket has seen the frame already. */
SEC("tc")
int sink(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
