package agent

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socketUse is which sockets a namespace may have. Listing those of TCP walks the kernel's table of all
// namespaces, which takes milliseconds, and listing those of SCTP loads its module.
type socketUse struct {
	tcp, udp map[uint8]bool // by family
	sctp     bool
}

// readUse reads a namespace's counts of sockets from its folder in /proc. What is unknown may be in use.
func readUse(dir string) socketUse {
	u := socketUse{tcp: map[uint8]bool{}, udp: map[uint8]bool{}}
	n4, ok4 := sockstat(filepath.Join(dir, "sockstat"))
	n6, ok6 := sockstat(filepath.Join(dir, "sockstat6"))
	closing := n4["TCP tw"] > 0 // of both families; some wait for the other end's FIN
	u.tcp[unix.AF_INET], u.udp[unix.AF_INET] = !ok4 || n4["TCP inuse"] > 0 || closing, !ok4 || n4["UDP inuse"] > 0
	u.tcp[unix.AF_INET6], u.udp[unix.AF_INET6] = !ok4 || !ok6 || n6["TCP6 inuse"] > 0 || closing, !ok6 || n6["UDP6 inuse"] > 0
	_, err := os.Stat(filepath.Join(dir, "sctp"))
	u.sctp = err == nil
	return u
}

// sockstat reads the counts of a file such as /proc/net/sockstat, by "PROTOCOL NAME"; false if it is not one.
func sockstat(path string) (map[string]uint64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	n := map[string]uint64{}
	for s := bufio.NewScanner(f); s.Scan(); { // TCP: inuse 3 orphan 0 tw 0 alloc 7 mem 2
		proto, rest, _ := strings.Cut(s.Text(), ":")
		words := strings.Fields(rest)
		for i := 0; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseUint(words[i+1], 10, 64); err == nil {
				n[proto+" "+words[i]] = v
			}
		}
	}
	_, four := n["TCP inuse"]
	_, six := n["TCP6 inuse"]
	return n, four || six
}
