package parsertest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// parseExpect reads what expectText writes.
func parseExpect(s string) (e parsers.Expectation, err error) {
	f := strings.Fields(s)
	if len(f) < 3 {
		return e, fmt.Errorf("expect %q: want a side, a port and an application", s)
	}
	if f[0] == parsers.ToClient.String() {
		e.At = parsers.ToClient
	}
	proto, port, _ := strings.Cut(f[1], "/")
	e.Proto = map[string]uint8{"tcp": 6, "udp": 17}[proto]
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || e.Proto == 0 {
		return e, fmt.Errorf("expect %q: %q is not a port", s, f[1])
	}
	e.Port, e.App = uint16(n), app.Undecided
	if f[2] != app.Undecided.Name() {
		if e.App, err = app.Parse(f[2]); err != nil {
			return e, fmt.Errorf("expect %q: %w", s, err)
		}
	}
	for _, rest := range f[3:] {
		if rest == "long" {
			e.Long = true
		} else if e.Addr, err = netip.ParseAddr(rest); err != nil {
			return e, fmt.Errorf("expect %q: %w", s, err)
		}
	}
	return e, nil
}
