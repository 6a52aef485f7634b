// Steering of inline endpoints: frames of a hooked interface go to the service
// port and come back from there. See docs of the Go package around it.
//
// The direction of a frame on the service port is given by the MAC address that
// carries the tag: the source of a frame that leaves the workload, the destination of
// one that comes in. The tag replaces the workload's own address, which is known and
// restored.
//
// Every frame is steered, whatever it carries: the engine alone decides what it is. A frame
// in which the workload's own address is not in its place (broadcast, a group, another
// address of the workload, a forged one) keeps both addresses and has two VLAN tags before
// all others instead: the outer one with the lower half of the endpoint's number, the inner
// one with the upper half, and the direction in the outer one's priority bits.

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT (-1) /* TCX_NEXT and TC_ACT_UNSPEC: other programs still run */

#define ETH_LEN 14
#define PROTO_IP 0x0800
#define PROTO_ARP 0x0806
#define PROTO_IP6 0x86dd
#define PROTO_VLAN 0x8100
#define PROTO_QINQ 0x88a8
#define ICMP6 58

#define TAG0 0x02
#define TAG1 0x53
#define TAG2 0x4c

#define HOST_SIDE 0
#define OWN_SIDE 1

#define APART_EGRESS 0x2000 /* in the outer tag: the frame leaves the workload */

#define FAIL_OPEN 0
#define FAIL_CLOSED 1

enum counter {
	STEERED,  /* sent to the service port */
	RETURNED, /* forwarded again */
	BYPASSED, /* passed without a heartbeat, fail open */
	STOPPED,  /* dropped without a heartbeat, fail closed */
	SPOOFED,  /* left with a tag as its source address */
	FORGED,   /* its other address looks like a tag */
	UNKNOWN,  /* returned for an unknown endpoint */
	FLOODED,  /* first packets beyond the bound of their endpoint */
	CROWDED,  /* no room in the ring for more of their endpoint's */
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
	/* Of share.h. The times are when all tokens are there again, ns, by direction: 0 into the
	 * workload, 1 out of it. frames are those of the window, and half of those before. */
	__u32 window;
	__u32 frames;
	__u64 first[2];
	__u64 repeat[2];
	__u64 link[2];
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
	__u64 out;   /* of in, what the worker has received */
	__u64 room;  /* slots of the ring for small frames */
	__u64 endpoints; /* attached */
	__u64 pad[3];
	__u64 in; /* frames sent to the service port, a large one for LARGE_WEIGHT */
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

/* Why frames of an endpoint were not sent to the service port. */
enum missing {
	MISSED_OPEN,   /* no worker was running: passed, fail open */
	MISSED_CLOSED, /* the same: dropped, fail closed */
	MISSED_FLOOD,  /* first packets beyond the bound: dropped */
	MISSED_CROWD,  /* no room in the ring: dropped */
	MISSING,
};

/* User space adds and removes the entries. */
struct missed {
	__u64 frames[MISSING];
	__u64 bytes[MISSING];
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

/* count_unjudged counts a frame by endpoint; only frames that are not steered pay for it. */
static __always_inline void count_unjudged(struct __sk_buff *skb, __u32 id, enum missing why)
{
	struct missed *m = bpf_map_lookup_elem(&unjudged, &id);
	if (!m || why >= MISSING)
		return;
	__sync_fetch_and_add(&m->frames[why], 1);
	__sync_fetch_and_add(&m->bytes[why], skb->len);
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

/* maintains reports whether a frame keeps a link going: ARP, or neighbour discovery as RFC 4861
 * 6.1 and 7.1 have it, with hop limit 255 and without extension headers. It passes uncounted while
 * no worker runs, whatever the fail mode; the worker judges these frames like any other. */
static __always_inline int maintains(struct __sk_buff *skb, const __u8 *eth)
{
	__be16 proto = *(const __be16 *)(eth + 12);
	__u8 next[2], type;

	if (proto == bpf_htons(PROTO_ARP))
		return 1;
	if (proto != bpf_htons(PROTO_IP6) || bpf_skb_load_bytes(skb, ETH_LEN + 6, next, 2))
		return 0;
	if (next[0] != ICMP6 || next[1] != 255 || bpf_skb_load_bytes(skb, ETH_LEN + 40, &type, 1))
		return 0;
	return type >= 133 && type <= 136;
}

static __always_inline int alive(const struct pulse *c)
{
	__u64 now = bpf_ktime_get_ns();

	/* The beat may have been written after now was read. */
	return c && (__s64)(now - c->beat) <= (__s64)c->limit;
}

#include "share.h"

/* admit reports whether a frame is within its endpoint's shares; one that is not is counted. */
static __always_inline int admit(struct __sk_buff *skb, struct hook *h, struct pulse *c, const __u8 *eth, int egress)
{
	struct headers f = {};

	read_headers(skb, &f, eth, h->id, egress);
	if (!within(h, &f, egress)) {
		count(FLOODED);
		count_unjudged(skb, h->id, MISSED_FLOOD);
		return 0;
	}
	if (!fits(skb, h, c)) {
		count(CROWDED);
		count_unjudged(skb, h->id, MISSED_CROWD);
		return 0;
	}
	return 1;
}

/* steer_apart sends on a frame in which the workload's own address is not in its place. */
static __always_inline int steer_apart(struct __sk_buff *skb, __u32 id, const __u8 *eth, int egress)
{
	__be16 proto = bpf_htons(PROTO_VLAN);

	if (tagged(egress ? eth + 6 : eth)) {
		count(SPOOFED);
		return TC_ACT_SHOT;
	}
	if (bpf_skb_vlan_push(skb, proto, id >> 12 & 0xfff) ||
	    bpf_skb_vlan_push(skb, proto, (id & 0xfff) | (egress ? APART_EGRESS : 0)))
		return TC_ACT_SHOT;
	count(STEERED);
	return bpf_redirect(service_port, 0);
}

static __always_inline int steer(struct __sk_buff *skb, int received)
{
	__u32 ifindex = skb->ifindex;
	struct hook *h = bpf_map_lookup_elem(&hooks, &ifindex);
	struct pulse *c;
	__u8 eth[ETH_LEN];
	__u8 tag[6];
	__u32 zero = 0;
	int egress;

	if (!h)
		return NEXT;
	if (skb->mark == h->mark) {
		skb->mark = 0;
		return NEXT;
	}
	if (h->off || bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)))
		return NEXT;
	c = bpf_map_lookup_elem(&control, &zero);
	if (!c || !alive(c)) {
		if (maintains(skb, eth))
			return NEXT;
		count(h->fail == FAIL_CLOSED ? STOPPED : BYPASSED);
		count_unjudged(skb, h->id, h->fail == FAIL_CLOSED ? MISSED_CLOSED : MISSED_OPEN);
		return h->fail == FAIL_CLOSED ? TC_ACT_SHOT : NEXT;
	}
	egress = received == (h->side == HOST_SIDE);
	if (tagged(egress ? eth : eth + 6)) {
		count(FORGED);
		return TC_ACT_SHOT;
	}
	if (!admit(skb, h, c, eth, egress))
		return TC_ACT_SHOT;
	if (!same(egress ? eth + 6 : eth, h->mac))
		return steer_apart(skb, h->id, eth, egress);
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

/* give returns a frame to where it was taken: what a hook received is received again. */
static __always_inline int give(struct __sk_buff *skb, const struct endpoint *e, __u32 id, int egress)
{
	int received = egress == (e->side == HOST_SIDE);
	__u32 ifindex = e->ifindex;
	struct hook *h = bpf_map_lookup_elem(&hooks, &ifindex);
	struct headers f = {};
	__u8 eth[ETH_LEN];

	if (h && h->id == id && !bpf_skb_load_bytes(skb, 0, eth, sizeof(eth))) {
		read_headers(skb, &f, eth, id, egress);
		passed(h, &f, egress);
	}
	skb->mark = e->mark;
	count(RETURNED);
	return bpf_redirect(e->ifindex, received ? BPF_F_INGRESS : 0);
}

/* give_back_apart is give_back for a frame with two tags instead of one in its address. */
static __always_inline int give_back_apart(struct __sk_buff *skb)
{
	struct endpoint *e = 0;
	__u32 id = 0, outer = 0;

	if (skb->vlan_present) {
		outer = skb->vlan_tci;
		if (bpf_skb_vlan_pop(skb))
			return TC_ACT_SHOT;
		id = (outer & 0xfff) | (skb->vlan_tci & 0xfff) << 12;
		e = skb->vlan_present ? bpf_map_lookup_elem(&endpoints, &id) : 0;
	}
	if (!e || bpf_skb_vlan_pop(skb)) {
		count(UNKNOWN);
		return TC_ACT_SHOT;
	}
	return give(skb, e, id, !!(outer & APART_EGRESS));
}

/* On the ingress of our end of the service port: what the engine passed. */
SEC("tc")
int give_back(struct __sk_buff *skb)
{
	__u8 mac[12];
	struct endpoint *e;
	int egress;
	__u32 id, at;

	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)))
		return TC_ACT_SHOT;
	if (!tagged(mac) && !tagged(mac + 6))
		return give_back_apart(skb);
	egress = !tagged(mac);
	at = egress ? 6 : 0;
	id = egress ? (__u32)mac[9] << 16 | (__u32)mac[10] << 8 | mac[11] : (__u32)mac[3] << 16 | (__u32)mac[4] << 8 | mac[5];
	e = bpf_map_lookup_elem(&endpoints, &id);
	if (!e) {
		count(UNKNOWN);
		return TC_ACT_SHOT;
	}
	if (bpf_skb_store_bytes(skb, at, e->mac, 6, 0))
		return TC_ACT_SHOT;
	return give(skb, e, id, egress);
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
