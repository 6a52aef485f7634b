package stream

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// extent returns how far behind pos buf holds bytes of runs; 0 if there are none.
func (a *Assembler) extent() int {
	for i := len(a.runs) - 1; i >= 0; i-- {
		if !a.runs[i].lost {
			return a.rel(a.runs[i].to)
		}
	}
	return 0
}

func (a *Assembler) rel(seq uint32) int { return int(int32(seq - a.pos)) }

// store copies bytes to their distance from pos. Bytes that are already there stay. It
// returns the number of new ones.
func (a *Assembler) store(rel int, data []byte, out *Outcome) int {
	if len(data) == 0 {
		return 0
	}
	if a.head == 0 && rel == 0 && len(a.runs) == 0 {
		a.direct, a.head = data, len(data)
		return len(data)
	}
	end := rel + len(data)
	if !a.reserve(end) {
		a.giveUp()
		return 0
	}
	b := a.buf[a.at:]
	at, fresh := rel, 0
	if at < a.head {
		n := min(a.head, end)
		out.Overlap = out.Overlap || !bytes.Equal(b[at:n], data[:n-rel])
		at = n
	}
	for i := 0; at < end && !a.dead; i++ {
		from, to, lost := end, end, true
		if i < len(a.runs) {
			from, to, lost = a.rel(a.runs[i].from), a.rel(a.runs[i].to), a.runs[i].lost
		}
		if at < from {
			n := min(from, end)
			copy(b[at:n], data[at-rel:])
			fresh += n - at
			i = a.addRun(i, run{from: a.pos + uint32(at), to: a.pos + uint32(n)})
			at = n
		}
		if n := min(to, end); at < n {
			out.Overlap = out.Overlap || !lost && !bytes.Equal(b[at:n], data[at-rel:n-rel])
			at = n
		}
	}
	a.absorb()
	return fresh
}

// lose marks the bytes missing between two sequence numbers as lost, and returns their
// number.
func (a *Assembler) lose(first, last uint32) int {
	at, end, fresh := max(a.rel(first), a.head), a.rel(last), 0
	for i := 0; at < end && !a.dead; i++ {
		from, to := end, end
		if i < len(a.runs) {
			from, to = a.rel(a.runs[i].from), a.rel(a.runs[i].to)
		}
		if at < from {
			n := min(from, end)
			fresh += n - at
			i = a.addRun(i, run{from: a.pos + uint32(at), to: a.pos + uint32(n), lost: true})
		}
		at = max(at, to)
	}
	return fresh
}

// addRun inserts a run before the i-th, merged with adjacent ones, and returns the index of
// the last earlier run that is now at or below it.
func (a *Assembler) addRun(i int, r run) int {
	before := i > 0 && a.runs[i-1].lost == r.lost && a.runs[i-1].to == r.from
	after := i < len(a.runs) && a.runs[i].lost == r.lost && a.runs[i].from == r.to
	switch {
	case before && after:
		a.runs[i-1].to = a.runs[i].to
		a.runs = slices.Delete(a.runs, i, i+1)
		return i - 1
	case before:
		a.runs[i-1].to = r.to
		return i - 1
	case after:
		a.runs[i].from = r.from
		return i
	case len(a.runs) >= a.pool.cfg.Segments:
		a.giveUp()
		return i
	}
	a.runs = slices.Insert(a.runs, i, r)
	return i
}

// absorb adds the run that now touches the head to it.
func (a *Assembler) absorb() {
	if len(a.runs) > 0 && !a.runs[0].lost && a.runs[0].from == a.Next() {
		a.head += int(a.runs[0].to - a.runs[0].from)
		a.runs = append(a.runs[:0], a.runs[1:]...)
	}
}

// reserve allocates room in buf for n bytes from pos on.
func (a *Assembler) reserve(n int) bool {
	if n > a.pool.cfg.Window {
		return false
	}
	if a.at+n <= len(a.buf) {
		return true
	}
	held := min(max(a.head, a.extent()), len(a.buf)-a.at)
	if n <= len(a.buf) {
		copy(a.buf, a.buf[a.at:a.at+held])
		a.at = 0
		return true
	}
	bigger := a.pool.buffer(a.owner, n)
	if bigger == nil {
		return false
	}
	if a.buf != nil {
		copy(bigger, a.buf[a.at:a.at+held])
		a.pool.recycle(a.owner, a.buf)
	}
	a.buf, a.at = bigger, 0
	return true
}

// release returns the buffer to the pool.
func (a *Assembler) release() {
	a.direct, a.at = nil, 0
	if a.buf != nil {
		a.pool.recycle(a.owner, a.buf)
		a.buf = nil
	}
}

func (a *Assembler) giveUp() {
	a.release()
	a.dead, a.head, a.runs = true, 0, a.runs[:0]
}

func (a *Assembler) remember(seq uint32, data []byte) {
	a.seen[a.last] = seen{seq: seq, n: uint32(len(data)), sum: a.sum(data)}
	a.last = (a.last + 1) % len(a.seen)
}

// differs reports whether the segment repeats an earlier one, cut in the same way, with other
// bytes. Bytes that are still buffered are compared one by one; this is for bytes consumed
// since.
func (a *Assembler) differs(seq uint32, data []byte) bool {
	for i := range a.seen {
		if s := &a.seen[i]; s.n != 0 && s.seq == seq && s.n == uint32(len(data)) {
			return s.sum != a.sum(data)
		}
	}
	return false
}

func (a *Assembler) sum(data []byte) uint64 {
	return maphash.Bytes(a.pool.seed, data[:min(len(data), seenBytes)])
}
