package server

import "fmt"

// hostNote is what is said wherever the mode of a workload in the host's network is shown.
const hostNote = "watched, never refused: host network"

// hostNote says which members of a group its mode does not refuse anything for; "" if there are none.
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
