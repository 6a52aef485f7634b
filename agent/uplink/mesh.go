package uplink

import "github.com/sluicenet/sluice/core/sidecar"

// onLo returns a session between an application and its sidecar in the form of core/sidecar.
func (a *aggregate) onLo(workload string, s *session) sidecar.Record {
	return sidecar.Record{Record: &s.Record, Workload: workload, Rounds: s.folds, Ended: s.ended > 0}
}

// waits reports whether a session is delayed for another fold, because its counterpart outside the
// workload may still follow.
func (a *aggregate) waits(s *session) bool {
	if !s.Loopback {
		return false
	}
	r := a.onLo(a.workload(s.Endpoint), s)
	return a.outside.Waits(&r)
}

// onlyHere prepares a session on lo for its report; it returns false if there is none. If the session is
// counted outside by another name, only the name is reported.
func (a *aggregate) onlyHere(workload string, s *session) bool {
	r := a.onLo(workload, s)
	switch a.outside.Report(&r) {
	case sidecar.Whole:
		return true
	case sidecar.NameOnly:
		s.began, s.ended, s.Session = 0, 0, 0
		s.Packets, s.Bytes = [2]uint64{}, [2]uint64{}
		return true
	}
	return false
}
