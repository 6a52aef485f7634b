package host

import (
	"context"
	"fmt"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// setProtocols sets the protocols of a plugin.
func (l *live) setProtocols(ctx context.Context, d *parserv1.DescribeResponse, numbers Numbers) error {
	if d.Format != wire.Format {
		return fmt.Errorf("it uses format %d, this sluice uses %d", d.Format, wire.Format)
	}
	if len(d.Protocols) == 0 || len(d.Protocols) > parsers.MaxParsers {
		return fmt.Errorf("it recognises %d protocols, want 1 to %d", len(d.Protocols), parsers.MaxParsers)
	}
	apps, called := map[app.ID]app.ID{}, map[app.ID]string{}
	l.apps.Store(&apps)
	for _, p := range d.Protocols {
		if err := app.CheckName(p.Name); err != nil {
			return err
		}
		own := app.ID(p.Number)
		if was, ok := called[own]; p.Number > 0xffff || own == app.Unknown || own >= app.None || ok && was != p.Name {
			return fmt.Errorf("protocol %s has number %d", p.Name, p.Number)
		}
		id, err := numbers.ID(ctx, p.Name)
		if err != nil {
			l.p.log.Warn("application without a number, its sessions are unknown until it has one", "application", p.Name, "error", err)
			l.nameless = append(l.nameless, protocol{p.Name, own})
			id = app.Unknown
		}
		apps[own], called[own] = id, p.Name
		l.tcp, l.udp = l.tcp || p.Tcp, l.udp || p.Udp
		l.names = append(l.names, p.Name)
		if p.Udp && !p.Standalone {
			l.hidden = append(l.hidden, own)
		}
	}
	return nil
}

// shows reports whether any datagram of an application shows it to the plugin's parsers.
func (l *live) shows(a app.ID) bool {
	apps := *l.apps.Load()
	for _, own := range l.hidden {
		if id := apps[own]; id == a || id == a.Base() || id == app.Unknown {
			return false
		}
	}
	return true
}

// translate replaces a plugin's numbers in an answer by this process's. It returns false for a protocol
// violation.
func (l *live) translate(n *detect.News) bool {
	if n.Outcome != detect.Decided {
		l.translateSoFar(n)
		n.Lost, n.Left = false, l.left(&n.Left)
		return !n.Ended
	}
	n.Left = detect.Left{}
	if n.App == app.Unknown {
		n.Base, n.Strength = app.Unknown, parsers.No
		return true
	}
	n.Lost = false
	apps := *l.apps.Load()
	base, ok := apps[n.Base]
	if !ok || n.Strength < parsers.Likely {
		return false
	}
	if base == app.Unknown {
		*n = detect.News{Outcome: detect.Decided, Ended: n.Ended, Lost: true, Seen: n.Seen}
		return true
	}
	if id, ok := apps[n.App]; ok {
		n.App, n.Base = id, base
		return true
	}
	// An application on top of the plugin's own: a listed one.
	_, listed := app.Listed(n.App)
	n.Base = base
	return listed
}

// translateSoFar replaces the application that a session would have if its identification ended now;
// without one that is known here it is unknown.
func (l *live) translateSoFar(n *detect.News) {
	apps := *l.apps.Load()
	base, ok := apps[n.Base]
	if !ok || base == app.Unknown {
		n.App, n.Base = app.Unknown, app.Unknown
		return
	}
	n.Base = base
	if id, ok := apps[n.App]; ok && id != app.Unknown {
		n.App = id
	} else if _, listed := app.Listed(n.App); !listed {
		n.App = base
	}
}

// left returns a list in this process's numbers, empty if it has a parser that the plugin lacks.
func (l *live) left(of *detect.Left) detect.Left {
	out := detect.Left{Known: of.Known}
	for _, a := range of.Apps[:of.N] {
		id, ok := (*l.apps.Load())[a]
		if !ok || id == app.Unknown {
			return detect.Left{}
		}
		out.Add(id)
	}
	return out
}

// speaks reports whether the plugin has parsers for an IP protocol.
func (p *process) speaks(proto uint8) bool {
	return proto == 6 && p.tcp.Load() || proto == 17 && p.udp.Load()
}
