package hostmode

import "github.com/sluicenet/sluice/core/flow"

// maxRecords bounds the records queued for Drain.
const maxRecords = 65_536

// recordQueue has the records that are not drained yet, bounded. The watcher's lock guards it.
type recordQueue struct {
	list    []flow.Record
	spare   []flow.Record // the other half of Drain's exchange
	lossy   bool          // a record was dropped since the last exchange
	dropped uint64
}

// full reports whether there is no room for another record, which counts as dropped then.
func (q *recordQueue) full() bool {
	if len(q.list) < maxRecords {
		return false
	}
	q.dropped++
	q.lossy = true
	return true
}

func (q *recordQueue) add(f *flow.Record) { q.list = append(q.list, *f) }

// exchange returns the records, and whether some were dropped; giveBack returns their memory.
func (q *recordQueue) exchange() (list []flow.Record, lossy bool) {
	list, lossy = q.list, q.lossy
	q.list, q.lossy = q.spare[:0], false
	return list, lossy
}

func (q *recordQueue) giveBack(list []flow.Record) {
	clear(list)
	q.spare = list
}
