package server

import "fmt"

// hostNote is the note beside each mode of a workload in the host's network.
const hostNote = "watched, never refused: host network"

// hostNote returns the members of a group for which its mode refuses nothing; "" if there are none.
// The server's lock is held.
func (d *directory) hostNote(group string) string {
	all, hosts := 0, 0
	for _, n := range d.nodes {
		for _, m := range n.members {
			if m.group != group {
				continue
			}
			all++
			if m.workload.HostNet {
				hosts++
			}
		}
	}
	switch {
	case hosts == 0:
		return ""
	case hosts == all:
		return hostNote
	}
	return fmt.Sprintf("%d of %d members %s", hosts, all, hostNote)
}
