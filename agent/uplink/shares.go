package uplink

import "github.com/sluicenet/sluice/core/report"

// hasRoom reports whether a workload may have one more kind of connection.
func (a *aggregate) hasRoom(workload string) bool {
	return report.WithinShare(a.shares[workload], a.max-len(a.kinds))
}

// removeKind deletes a kind that is there or not.
func (a *aggregate) removeKind(k key) {
	if _, ok := a.kinds[k]; !ok {
		return
	}
	delete(a.kinds, k)
	if a.shares[k.workload]--; a.shares[k.workload] <= 0 {
		delete(a.shares, k.workload)
	}
}
