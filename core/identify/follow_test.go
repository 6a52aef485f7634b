package identify_test

import (
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/parsers"
)

// TestFollow: a session whose parser follows it is read beyond every limit, until bytes are missing for good or
// nothing of 16 KiB can be used; others are not.
func TestFollow(t *testing.T) {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	seq := [2]uint32{1, 1}
	say := func(f *identify.Flow, dir parsers.Dir, text string, age int64) {
		p.Feed(f, dir, identify.Bytes{Data: []byte(text), Wire: len(text), Seq: seq[dir], First: 1, Age: age})
		seq[dir] += uint32(len(text))
	}
	say(f, 1, "220 FTP\r\n", 0)
	say(f, 0, "USER a\r\n", 0)
	say(f, 1, "331 b\r\n", 0)
	for range 10 * detect.MaxPackets {
		say(f, 0, "TYPE I\r\n", 2*detect.MaxTime)
		say(f, 1, "200 "+strings.Repeat("x", 40)+"\r\n", 2*detect.MaxTime)
	}
	if f.App != app.FTP || !f.Wants() || f.Over() {
		t.Fatalf("%v, wants %v, over %v", f.App.Name(), f.Wants(), f.Over())
	}
	say(f, 0, "PASV\r\n", 2*detect.MaxTime)
	say(f, 1, "227 (10,0,0,2,156,65)\r\n", 2*detect.MaxTime)
	got := p.TakeExpected()
	if len(got) != 1 || got[0].Owner != 7 || got[0].Port != 40001 || got[0].At != parsers.ToServer || got[0].App != app.FTPData || p.TakeExpected() != nil {
		t.Errorf("got %+v", got)
	}
	// With client and server exchanged since, the side is that of the new ones.
	p.Exchange(f)
	seq[0], seq[1] = seq[1], seq[0]
	say(f, 1, "PASV\r\n", 0)
	say(f, 0, "227 (10,0,0,2,156,66)\r\n", 0)
	if got := p.TakeExpected(); len(got) != 1 || got[0].At != parsers.ToClient || got[0].Port != 40002 {
		t.Errorf("exchanged: %+v", got)
	}
	p.Drop(f)

	seq = [2]uint32{1, 1}
	other := p.Begin(meta(6), 8)
	say(other, 1, "220 ESMTP\r\n", 0)
	say(other, 0, "EHLO a\r\n", 2*detect.MaxTime)
	if other.Wants() {
		t.Error("a session that none follows is read beyond the time")
	}
}

// TestRemoteExpectations: what another process announces arrives by session, in the sides of the session as it is now.
func TestRemoteExpectations(t *testing.T) {
	r := &remote{}
	p := pool(t, r, false)
	f := p.Begin(meta(6), 7)
	feed(p, f, 0, 1, "ab")
	e := parsers.Expectation{At: parsers.ToClient, Proto: 6, Port: 40000, App: app.FTPData}
	r.answers = append(r.answers, func(to detect.Answers) { to.Expect(f.Number(), e); to.Expect(77, e) })
	p.Poll()
	if got := p.TakeExpected(); len(got) != 1 || got[0].Owner != 7 || got[0].Expectation != e {
		t.Errorf("got %+v", got)
	}
	p.Exchange(f)
	r.answers = append(r.answers, func(to detect.Answers) { to.Expect(f.Number(), e) })
	p.Poll()
	if got := p.TakeExpected(); len(got) != 1 || got[0].At != parsers.ToServer {
		t.Errorf("exchanged: %+v", got)
	}
}
