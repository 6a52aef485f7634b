package parsertest_test

import (
	"bytes"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// toy is a line protocol: the client says "TOY name\n", the server "OK\n".
type toy struct{}

func (toy) Name() string { return "finger" }

func (toy) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	magic := [2]string{"TOY ", "OK\n"}[dir]
	n := min(len(head), len(magic))
	switch {
	case string(head[:n]) != magic[:n]:
		return parsers.No
	case n < len(magic):
		return parsers.More
	}
	return parsers.Likely
}

func (toy) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream { return &stream{sink: sink} }

type stream struct {
	sink parsers.Sink
	used int // what Parse says it used, beyond the truth
}

func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return parsers.Result{}
	}
	if dir == parsers.ToServer {
		s.sink.Attr(parsers.User, bytes.TrimPrefix(data[:i], []byte("TOY ")))
		return parsers.Result{Used: i + 1 + s.used, State: parsers.Named}
	}
	return parsers.Result{Used: i + 1, State: parsers.Done}
}

func (s *stream) Gap(parsers.Dir, int) bool { return false }
func (s *stream) Close()                    {}

// greedy claims to use more than there is.
type greedy struct{ toy }

func (greedy) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, used: 9}
}

const text = `app: finger
strength: certain
client-only: finger
attr user: al\x00ice
---
> TOY al
+x 00 69
+*1 ce
+ \n
< OK\n
`

func TestCheck(t *testing.T) {
	c, err := parsertest.Parse("toy", text)
	if err != nil {
		t.Fatal(err)
	}
	parsertest.Check(t, toy{}, app.Finger, &c)
	again, err := parsertest.Parse("toy", c.Text())
	if err != nil {
		t.Fatal(err)
	}
	parsertest.Check(t, toy{}, app.Finger, &again)
	if got, want := again.Text(), c.Text(); got != want {
		t.Errorf("text: got\n%swant\n%s", got, want)
	}
}

func TestBreach(t *testing.T) {
	c, err := parsertest.Parse("toy", text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsertest.Replay(greedy{}, app.Finger, c.Meta, c.Messages); err == nil {
		t.Error("using more than there is was not noticed")
	}
}

func TestNegative(t *testing.T) {
	c, err := parsertest.Parse("no", "app: none\n---\n> GET / HTTP/1.1\\r\\n")
	if err != nil {
		t.Fatal(err)
	}
	parsertest.Check(t, toy{}, app.Finger, &c)
}

func TestParseErrors(t *testing.T) {
	tests := map[string]string{
		"no app":       "---\n> a\n",
		"no messages":  "app: x\n---\n",
		"bad hex":      "app: x\n---\n>x 0\n",
		"bad escape":   "app: x\n---\n> \\q\n",
		"bad mark":     "app: x\n---\n= a\n",
		"bad attr":     "app: x\nattr colour: red\n---\n> a\n",
		"bad gap":      "app: x\n---\ngap > 0\n",
		"bad count":    "app: x\n---\n>*-1 a\n",
		"bad key":      "app: x\nfoo: bar\n---\n> a\n",
		"bad strength": "app: x\nstrength: more\n---\n> a\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parsertest.Parse("x", text); err == nil {
				t.Errorf("no error for %q", text)
			}
		})
	}
}
