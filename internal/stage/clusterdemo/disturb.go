package clusterdemo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"
)

// back is how long something may take to be there again.
const back = 40 * time.Second

// disturbConsul kills or stops one of the servers, more often than not the leader.
func (t *trial) disturbConsul(ctx context.Context, r *rand.Rand) error {
	i := r.IntN(3)
	role := "follower"
	if leader, err := t.consul.Leader(); err == nil {
		if r.IntN(3) > 0 {
			i = leader
		}
		if i == leader {
			role = "leader"
		}
	}
	d := between(r, 500*time.Millisecond, 6*time.Second)
	if r.IntN(2) == 0 {
		t.note("consul "+role+" killed", fmt.Sprintf("server %d", i), d)
		if err := t.consul.Kill(i); err != nil {
			return err
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
		if err := t.consul.Restart(i); err != nil {
			return err
		}
	} else {
		t.note("consul "+role+" stopped", fmt.Sprintf("server %d", i), d)
		if err := t.consul.Pause(i); err != nil {
			return err
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
		if err := t.consul.Continue(i); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, back)
	defer cancel()
	return t.consul.Ready(ctx)
}

// disturbController kills or stops a controller, more often than not the leader.
func (t *trial) disturbController(ctx context.Context, r *rand.Rand) error {
	t.mu.Lock()
	i := r.IntN(len(t.controllers))
	if other := 1 - i; r.IntN(3) > 0 && t.controllers[other].leads() {
		i = other
	}
	p := t.controllers[i]
	t.mu.Unlock()
	role := "standby"
	if p.leads() {
		role = "leading"
	}
	d := between(r, 200*time.Millisecond, 8*time.Second)
	if r.IntN(2) == 0 {
		t.note(role+" controller killed", p.name, d)
		if err := p.kill(); err != nil {
			return err
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
		n, err := t.restart(p)
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.controllers[i], p = n, n
		t.mu.Unlock()
	} else {
		t.note(role+" controller stopped", p.name, d)
		if err := t.pause(ctx, p, d); err != nil {
			return err
		}
	}
	return t.answers(ctx, p, back)
}

// pause stops a process for a time.
func (t *trial) pause(ctx context.Context, p *process, d time.Duration) error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := sleep(ctx, d)
	if serr := p.signal(syscall.SIGCONT); serr != nil {
		return serr
	}
	return err
}

// disturbAgent kills or stops the agent of a node. The other node's is there meanwhile.
func (t *trial) disturbAgent(ctx context.Context, r *rand.Rand) error {
	i := r.IntN(len(t.nodes))
	node, p := t.nodes[i], t.agents[i]
	if r.IntN(2) == 0 {
		d := between(r, 100*time.Millisecond, 2*time.Second)
		t.note("agent killed", p.name, d)
		node.away.open(time.Now().Add(-lostByKill))
		if err := p.kill(); err != nil {
			return err
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
		n, err := t.restart(p)
		if err != nil {
			return err
		}
		t.agents[i] = n
		if err := t.until(ctx, back, "the agent is back", func(context.Context) error { return n.back() }); err != nil {
			return err
		}
		node.away.close()
	} else {
		d := between(r, 100*time.Millisecond, 4*time.Second)
		t.note("agent stopped", p.name, d)
		node.away.open(time.Now().Add(-lostByStop))
		if err := t.pause(ctx, p, d); err != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil { // until frames are steered to it again
			return err
		}
		node.away.close()
	}
	return sleep(ctx, lostByKill+500*time.Millisecond) // so that some attempts are certain in between
}

// long keeps one connection and uses it all the time, to the end of the traffic.
func (t *traffic) long(c *host, family string) {
	a := attempt{key: key{c.name, portLong, family}, begin: time.Now()}
	a.err = t.longer(c, t.api.addr(family, portLong))
	a.end = a.begin // the beginning is what is counted
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = append(t.done, a)
}

func (t *traffic) longer(c *host, address string) error {
	conn, err := c.dial(net.Dialer{Timeout: patience}, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	b := make([]byte, 64)
	for t.ctx.Err() == nil {
		_ = conn.SetDeadline(time.Now().Add(2 * patience))
		if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
			return err
		}
		if _, err := conn.Read(b); err != nil {
			return err
		}
		_ = sleep(t.ctx, 250*time.Millisecond) // the loop ends then
	}
	return nil
}
