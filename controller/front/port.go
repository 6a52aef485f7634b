package front

import (
	"errors"
	"net"
	"sync"
	"time"
)

// port lets servers that follow each other share one listener: stopping a server does not close it.
type port struct {
	net.Listener
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newPort(l net.Listener) *port {
	return &port{Listener: l, conns: make(chan net.Conn), ended: make(chan struct{})}
}

// accept hands connections to whichever server is there, until the port is closed.
func (p *port) accept() error {
	for {
		c, err := p.Accept()
		if err != nil {
			select {
			case <-p.ended:
				return nil
			default:
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() || !errors.Is(err, net.ErrClosed) {
				time.Sleep(50 * time.Millisecond) // out of descriptors, or a connection that ended at once
				continue
			}
			return err
		}
		select {
		case p.conns <- c:
		case <-p.ended:
			c.Close()
			return nil
		}
	}
}

func (p *port) close() {
	p.once.Do(func() {
		close(p.ended)
		p.Listener.Close()
	})
}

// open is a listener for one server.
func (p *port) open() net.Listener { return &opened{p: p, closed: make(chan struct{})} }

// opened is a port as one server has it.
type opened struct {
	p      *port
	once   sync.Once
	closed chan struct{}
}

var _ net.Listener = (*opened)(nil)

// Accept waits for a connection.
func (o *opened) Accept() (net.Conn, error) {
	select {
	case <-o.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-o.p.conns:
		return c, nil
	case <-o.closed:
	case <-o.p.ended:
	}
	return nil, net.ErrClosed
}

// Close lets the next server have the port.
func (o *opened) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

// Addr is the listener's.
func (o *opened) Addr() net.Addr { return o.p.Listener.Addr() }
