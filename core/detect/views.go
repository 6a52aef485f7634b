package detect

import "github.com/sluicenet/sluice/parsers"

// views are the descriptions of a session that parsers get: with its ends as they are, and exchanged.
type views struct {
	meta   *parsers.Meta // the Ident's
	turned parsers.Meta  // valid once of(1) was called
}

// of returns the description with the ends as they are (flip 0), or exchanged.
func (v *views) of(flip parsers.Dir) *parsers.Meta {
	if flip == 0 {
		return v.meta
	}
	v.turned = exchanged(v.meta)
	return &v.turned
}

// midstream reports whether a side's bytes may begin at any point of the protocol.
func (v *views) midstream() bool { return v.meta.Midstream && !v.meta.Datagram() }

func exchanged(m *parsers.Meta) parsers.Meta {
	t := *m
	t.Client, t.Server, t.ClientPort, t.ServerPort = m.Server, m.Client, m.ServerPort, m.ClientPort
	return t
}
