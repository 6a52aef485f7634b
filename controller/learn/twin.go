package learn

import (
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
)

// Comments of rules that allow a transport which was not seen.
const (
	// TransportsComment follows the application's name: what is too long for UDP comes over TCP, to the
	// same port (RFC 7766 5, RFC 4120 7.2, RFC 3261 18.1.1).
	TransportsComment = " uses both transports of its port"
	// TLSComment: clients of QUIC fall back to TLS over TCP, to the same name and port (RFC 9114 3.1).
	TLSComment = "what clients of quic fall back to"
)

// twin returns the other transport of what was seen, where the protocol changes it by itself: the
// server is the same, and what is said to it.
func (x *lesson) twin() (lesson, bool) {
	y := *x
	if x.key.to == model.Multicast {
		return y, false
	}
	switch id := app.ID(x.key.app); id {
	case app.DNS, app.LLMNR, app.SIP, app.Kerberos:
		y.why = id.Name() + TransportsComment
		switch x.port.Proto {
		case packet.ProtoUDP:
			y.port.Proto = packet.ProtoTCP
		case packet.ProtoTCP:
			y.port.Proto = packet.ProtoUDP
		default:
			return y, false
		}
		return y, true
	case app.QUIC, app.HTTP3:
		if x.port.Proto != packet.ProtoUDP {
			return y, false
		}
		y.why, y.key.app, y.port.Proto = TLSComment, int32(app.TLS), packet.ProtoTCP
		return y, true
	}
	return y, false
}
