package parsertest

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Recorder records the data of a live client and server, to be replayed as a case.
type Recorder struct {
	mu       sync.Mutex
	messages []Message // guarded by mu
}

// Client wraps the client's end of a connection: what it writes goes to the server.
func (r *Recorder) Client(c net.Conn) net.Conn { return &recorded{c, r} }

// Messages returns the recorded messages, in order.
func (r *Recorder) Messages() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.messages...)
}

// Case returns the recorded messages as a case without expectations.
func (r *Recorder) Case(name string) Case {
	return Case{Name: name, Meta: defaultMeta(), Messages: r.Messages(), Want: Findings{Strength: parsers.Certain, Final: true}}
}

func (r *Recorder) add(dir parsers.Dir, b []byte) {
	if len(b) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, Message{Dir: dir, Data: bytes.Clone(b)})
}

type recorded struct {
	net.Conn
	r *Recorder
}

// Write records before it writes, so that a response is never recorded before its request.
func (c *recorded) Write(b []byte) (int, error) {
	c.r.add(parsers.ToServer, b)
	return c.Conn.Write(b)
}

// Read records what came.
func (c *recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.r.add(parsers.ToClient, b[:n])
	return n, err
}

// Bench measures opening a session and parsing each case of a folder whole.
func Bench(b *testing.B, p parsers.Parser, id app.ID, dir string) {
	b.Helper()
	cases, err := Load(dir)
	if err != nil {
		b.Fatal(err)
	}
	for i := range cases {
		c := &cases[i]
		if c.Negative() {
			continue
		}
		b.Run(c.Name, func(b *testing.B) { benchOne(b, p, c) })
	}
}

// benchOne calls the parser alone, without the driver's own work.
func benchOne(b *testing.B, p parsers.Parser, c *Case) {
	b.ReportAllocs()
	messages := coalesce(c.Messages)
	for b.Loop() {
		var s parsers.Stream
		for i := range messages {
			m := &messages[i]
			if len(m.Data) == 0 {
				continue
			}
			if i < 2 {
				p.Probe(&c.Meta, m.Dir, m.Data)
			}
			if s == nil {
				s = p.Open(&c.Meta, nothing{})
			}
			if r := s.Parse(m.Dir, m.Data); r.State >= parsers.Done {
				break
			}
		}
		if s != nil {
			s.Close()
		}
	}
}

// nothing is a sink that keeps nothing.
type nothing struct{}

// App implements parsers.Sink.
func (nothing) App(app.ID) {}

// Attr implements parsers.Sink.
func (nothing) Attr(parsers.Attr, []byte) {}

// Threat implements parsers.Sink.
func (nothing) Threat(uint16, string) {}

// Expect implements parsers.Sink.
func (nothing) Expect(parsers.Expectation) {}
