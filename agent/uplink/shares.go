package uplink

// kindShare is how many kinds of connection, or of threat, a workload may have for each one that there is room for, as for
// sessions: none can use up the room of others.
const kindShare = 7

// hasRoom reports whether a workload may have one more kind.
func (a *aggregate) hasRoom(workload string) bool {
	return mayHave(a.shares[workload], a.max-len(a.kinds))
}

// mayHave reports whether a workload with n kinds may have one more of those that are free.
func mayHave(n, free int) bool { return free > 0 && (n == 0 || n < kindShare*free) }

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
