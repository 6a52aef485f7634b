/* Shares of the service port. All endpoints of a namespace have one ring and one worker, so
 * that a flood at or from one of them would be at the expense of all. Two bounds apply before
 * a frame is sent there:
 *
 * - First packets: a packet of a flow of which the engine has passed nothing yet, or any SYN,
 *   takes a token of its endpoint and direction, and, coming in, of its sender. An answer that
 *   the engine passes returns the token, so that only what stays unanswered is bounded; what
 *   belongs to a flow that was passed takes none. Link maintenance has tokens of its own. A
 *   SYN that is repeated after a while, as real clients do, has some in reserve.
 * - The ring: once seven eighths of it are in use, an endpoint with one and a half times its
 *   part of the frames that arrived within some milliseconds has no room, until it has. The
 *   rest is for endpoints that send less, however seldom they do; where there is no other
 *   endpoint, the whole ring is its own.
 */

#define FLOWS (1 << 18)
#define SENDERS (1 << 14)

#define PROTO_ICMP4 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_SCTP 132

#define TH_SYN 0x02
#define TH_RST 0x04
#define TH_ACK 0x10

#define SECOND 1000000000ULL
#define LINK_COST (SECOND / 2000) /* of a frame of link maintenance: 2,000 a second */
#define REPEAT_PART 4             /* a quarter of the rate, for repeated SYNs */
#define SENDER_PART 4             /* a quarter of the rate, for one sender */
#define REPEAT_FIRST 300          /* ms after the first SYN in which a copy is none by a client */
#define REPEAT_LAST 1600          /* ms after which the first SYN is forgotten */
#define FLOW_STALE 300            /* s after which a flow's entry may be taken by another one */

#define LARGE_WEIGHT 16 /* small slots for a large one: the large ring has that many fewer */
#define WINDOW_SHIFT 23 /* 8 ms */
#define WINDOW_LEAST 64 /* frames in two windows that are nobody's flood */

/* Bits of flow.state, below its time in seconds. */
#define FROM_IN 1  /* the engine passed a frame into the workload */
#define FROM_OUT 2 /* and one out of it */
#define ANSWERED 4 /* the token was returned */
#define STATE_BITS 3

/* What is known of a flow: of which the hash chooses the entry, and the tag the flow. */
struct flow {
	__u32 tag;
	__u32 state;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* Flows whose SYN was dropped; state is the time in ms. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} dropped SEC(".maps");

/* When the tokens of a sender are all there again, as in struct hook. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SENDERS);
	__type(key, __u32);
	__type(value, __u64);
} senders SEC(".maps");

/* Frames of all endpoints in the present window, and half of those before. */
struct arrivals {
	__u32 window;
	__u32 frames;
	__u32 endpoints[2]; /* with frames, in the present window and the one before */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arrivals);
} arrived SEC(".maps");

volatile const __u64 seed;       /* of the hashes: random */
volatile const __u64 first_cost; /* ns between two first packets of an endpoint; 0: no bound */
volatile const __u32 small_frame; /* the longest frame in a small slot */

/* What a frame's headers say about its flow. */
struct headers {
	__u64 flow;   /* hash of both ends, the same in both directions */
	__u64 remote; /* hash of the end that is not the workload's */
	__u8 link;    /* ARP or neighbour discovery */
	__u8 tcp;     /* flags are valid */
	__u8 flags;
};

static __always_inline __u64 mix(__u64 h, __u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 29;
}

/* transport adds ports to the hashes of the ends. */
static __always_inline void transport(struct __sk_buff *skb, struct headers *h, __u32 off, __u8 proto, __u64 src, __u64 dst)
{
	__be16 port[2] = {};

	if (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP) {
		bpf_skb_load_bytes(skb, off, port, sizeof(port));
		h->tcp = proto == PROTO_TCP && !bpf_skb_load_bytes(skb, off + 13, &h->flags, 1);
	}
	h->flow = mix(mix(src, port[0]) + mix(dst, port[1]), proto);
}

static __always_inline void read_ip4(struct __sk_buff *skb, struct headers *h, __u32 off, __u32 id, int egress)
{
	__u8 ip[20];
	__u64 src, dst;

	if (bpf_skb_load_bytes(skb, off, ip, sizeof(ip)))
		return;
	src = mix(seed + id, *(__u32 *)(ip + 12));
	dst = mix(seed + id, *(__u32 *)(ip + 16));
	h->remote = egress ? dst : src;
	if (ip[6] & 0x3f || ip[7]) /* a fragment: ports are not in all of a datagram */
		h->flow = mix(src + dst, ip[9]);
	else
		transport(skb, h, off + (ip[0] & 15) * 4, ip[9], src, dst);
}

static __always_inline void read_ip6(struct __sk_buff *skb, struct headers *h, __u32 off, __u32 id, int egress)
{
	__u64 ip[5], src, dst;
	__u8 next, more[2], type;

	if (bpf_skb_load_bytes(skb, off, ip, sizeof(ip)))
		return;
	src = mix(mix(seed + id, ip[1]), ip[2]);
	dst = mix(mix(seed + id, ip[3]), ip[4]);
	h->remote = egress ? dst : src;
	next = ((__u8 *)ip)[6];
	off += sizeof(ip);
	if (next == ICMP6 && ((__u8 *)ip)[7] == 255 && !bpf_skb_load_bytes(skb, off, &type, 1))
		h->link = type >= 133 && type <= 136;
	for (int i = 0; i < 4; i++) {
		if (next != 0 && next != 43 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, off, more, sizeof(more)))
			return;
		next = more[0];
		off += (more[1] + 1) * 8;
	}
	if (next == 44)
		h->flow = mix(src + dst, 44);
	else
		transport(skb, h, off, next, src, dst);
}

/* read_headers reads a frame's flow; what it cannot read is a flow of its own. */
static __always_inline void read_headers(struct __sk_buff *skb, struct headers *h, const __u8 *eth, __u32 id, int egress)
{
	__be16 proto = *(const __be16 *)(eth + 12);
	__u32 off = ETH_LEN;

	for (int i = 0; i < 2; i++) {
		if (proto != bpf_htons(PROTO_VLAN) && proto != bpf_htons(PROTO_QINQ))
			break;
		if (bpf_skb_load_bytes(skb, off + 2, &proto, sizeof(proto)))
			return;
		off += 4;
	}
	if (proto == bpf_htons(PROTO_IP))
		read_ip4(skb, h, off, id, egress);
	else if (proto == bpf_htons(PROTO_IP6))
		read_ip6(skb, h, off, id, egress);
	else if (proto == bpf_htons(PROTO_ARP))
		h->link = 1;
}

/* opens reports whether a frame is a SYN that is no answer. */
static __always_inline int opens(const struct headers *f)
{
	return f->tcp && (f->flags & (TH_SYN | TH_ACK)) == TH_SYN;
}

/* take takes a token of cost ns from those of one second. full is when all are there again. */
static __always_inline int take(__u64 *full, __u64 cost)
{
	__u64 now = bpf_ktime_get_ns(), at = *(volatile __u64 *)full;

	if ((__s64)(at - now) < 0) {
		*(volatile __u64 *)full = now;
		at = now;
	}
	if (at - now > SECOND)
		return 0;
	__sync_fetch_and_add(full, cost);
	return 1;
}

/* Of IPv6 addresses that differ in their last octet alone, only few bits of the hash do: it is mixed again. */
static __always_inline __u64 *sender(const struct headers *f)
{
	__u32 at = mix(f->remote, 0) >> 32 & (SENDERS - 1);

	return bpf_map_lookup_elem(&senders, &at);
}

static __always_inline struct flow *entry(void *map, const struct headers *f)
{
	__u32 at = f->flow >> 32 & (FLOWS - 1);

	return bpf_map_lookup_elem(map, &at);
}

/* repeated reports whether a SYN was dropped a while ago, and records that this one is. */
static __always_inline int repeated(const struct headers *f)
{
	__u32 now = bpf_ktime_get_ns() / 1000000, age;
	struct flow *e = entry(&dropped, f);

	if (!e)
		return 0;
	age = now - e->state;
	if (e->tag == (__u32)f->flow && age >= REPEAT_FIRST && age < REPEAT_LAST) {
		e->state = now;
		return 1;
	}
	if (age >= REPEAT_LAST) {
		e->tag = f->flow;
		e->state = now;
	}
	return 0;
}

/* within reports whether a frame is within its endpoint's bound for first packets. */
static __always_inline int within(struct hook *h, const struct headers *f, int egress)
{
	struct flow *e;
	__u64 *s;

	if (!first_cost)
		return 1;
	egress = !!egress;
	if (f->link)
		return take(&h->link[egress], LINK_COST);
	if (!opens(f)) {
		e = f->flow ? entry(&flows, f) : 0;
		if (e && e->tag == (__u32)f->flow && e->state & (FROM_IN | FROM_OUT))
			return 1;
	}
	s = egress ? 0 : sender(f);
	if ((!s || take(s, first_cost * SENDER_PART)) && take(&h->first[egress], first_cost))
		return 1;
	return opens(f) && repeated(f) && take(&h->repeat[egress], first_cost * REPEAT_PART);
}

/* passed records that the engine passed a frame, and returns the token of a flow that is
 * answered: a TCP connection whose client continues it. For other protocols, whose answers
 * may go to a forged address, a quarter of it is kept. */
static __always_inline void passed(struct hook *h, const struct headers *f, int egress)
{
	__u32 now = bpf_ktime_get_ns() / SECOND, from = egress ? FROM_OUT : FROM_IN, state = 0, opener;
	__u64 back = first_cost, *s;
	struct flow *e;

	/* A reset may be the engine's own, and is no answer that a flood could not provoke. */
	if (!first_cost || !f->flow || (f->tcp && f->flags & TH_RST))
		return;
	e = entry(&flows, f);
	if (!e)
		return;
	if (e->tag == (__u32)f->flow)
		state = e->state & ((1 << STATE_BITS) - 1);
	else if (e->state & ANSWERED && now - (e->state >> STATE_BITS) < FLOW_STALE)
		return; /* an answered flow keeps its entry */
	opener = egress;
	if (f->tcp && f->flags & TH_SYN) {
		if (!(f->flags & TH_ACK))
			state = 0;
	} else if ((state | from) == (FROM_IN | FROM_OUT)) {
		if (!f->tcp) {
			opener = !egress;
			back -= back / 4;
		}
		if (!(state & ANSWERED)) {
			__sync_fetch_and_add(&h->first[!!opener], -back);
			s = opener ? 0 : sender(f);
			if (s)
				__sync_fetch_and_add(s, -back * SENDER_PART);
		}
		state |= ANSWERED;
	}
	e->tag = f->flow;
	e->state = now << STATE_BITS | state | from;
}

/* fits counts a frame and reports whether its endpoint may put it into the ring. */
static __always_inline int fits(struct __sk_buff *skb, struct hook *h, struct pulse *c)
{
	__u32 zero = 0, window = bpf_ktime_get_ns() >> WINDOW_SHIFT, past, weight = skb->len > small_frame ? LARGE_WEIGHT : 1, endpoints;
	struct arrivals *a = bpf_map_lookup_elem(&arrived, &zero);

	if (!a)
		return 1;
	past = window - a->window;
	if (past) {
		a->window = window;
		a->frames = past < 8 ? a->frames >> past : 0;
		a->endpoints[1] = past == 1 ? a->endpoints[0] : 0;
		a->endpoints[0] = 0;
	}
	past = window - h->window;
	if (past) {
		h->window = window;
		h->frames = past < 8 ? h->frames >> past : 0;
		a->endpoints[0]++;
	}
	h->frames += weight;
	a->frames += weight;
	endpoints = a->endpoints[0] > a->endpoints[1] ? a->endpoints[0] : a->endpoints[1];
	if (endpoints < 2 && c->endpoints > 1)
		endpoints = 2; /* others may send any moment */
	if ((__s64)(c->in - c->out) * 8 > (__s64)c->room * 7 && h->frames > WINDOW_LEAST &&
	    (__u64)h->frames * endpoints * 2 > (__u64)a->frames * 3)
		return 0;
	__sync_fetch_and_add(&c->in, weight);
	return 1;
}
