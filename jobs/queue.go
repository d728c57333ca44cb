package jobs

import (
	"strings"
	"sync"
	"time"

	"saoluu/catalog"
)

// A queue holds the work found due at the last look into the catalog, and hands
// it out as places become free. It decides nothing that must last: what is lost
// with it is found again at the next look.
type queue struct {
	mu      sync.Mutex
	limit   int                     // how many pieces of work may be under way
	pending []work                  // oldest first
	busy    map[[2]string]bool      // job and action under way
	resting map[[2]string]bool      // of busy, what takes no place: it waits for others
	waiting map[[2]string]time.Time // no attempt before then
	look    time.Time               // no look into the catalog before then
}

// lookCost is how long to leave the catalog alone for each slot found in it.
// Reading one takes about 10 microseconds, so that a thousand jobs which all wait
// for a target to come back do not keep the daemon busy reading them.
const lookCost = 200 * time.Microsecond

func newQueue(limit int) *queue {
	return &queue{limit: limit, busy: map[[2]string]bool{}, resting: map[[2]string]bool{}, waiting: map[[2]string]time.Time{}}
}

func (w work) key() [2]string { return [2]string{w.slot.Job, w.slot.Action} }

// hungry reports whether it is of use to look for due work.
func (q *queue) hungry(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending) == 0 && q.free() && !now.Before(q.look)
}

// offer takes all that is due now, of found slots, in place of what was pending.
func (q *queue) offer(now time.Time, all []work, found int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending, q.look = all, now.Add(time.Duration(found)*lookCost)
}

// take returns the next piece of work when there is one and a place is free. It
// counts as under way until done is called.
func (q *queue) take(now time.Time) (work, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pending) > 0 && q.free() {
		w := q.pending[0]
		q.pending = q.pending[1:]
		if q.busy[w.key()] || now.Before(q.waiting[w.key()]) || w.slot.Due.After(now) || q.premature(w) {
			continue // the next look finds it
		}
		q.busy[w.key()] = true
		return w, true
	}
	if len(q.pending) == 0 {
		q.pending = nil
	}
	return work{}, false
}

// free reports whether there is a place. q.mu is held.
func (q *queue) free() bool { return len(q.busy)-len(q.resting) < q.limit }

// rest gives the place of w to other work, although w is still under way, and
// reports whether it did: so many may rest and no more.
func (q *queue) rest(w work) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.resting) >= Resting {
		return false
	}
	q.resting[w.key()] = true
	return true
}

// premature reports whether w is a restore test of a job that is being backed up:
// after a time when nobody was there, the test would try the backup of before.
func (q *queue) premature(w work) bool {
	return w.slot.Action == catalog.ActionTest && q.busy[[2]string{w.slot.Job, catalog.ActionBackup}]
}

// done frees the place of w, which is not taken up again before until; the zero
// time means that its slot is closed.
func (q *queue) done(w work, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, w.key())
	delete(q.resting, w.key())
	delete(q.waiting, w.key())
	if !until.IsZero() {
		q.waiting[w.key()] = until
	}
}

// reset forgets what is pending, what waits and how many places there were: the
// clock or the configuration has changed. What is under way stays so.
func (q *queue) reset(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit, q.pending, q.look = limit, nil, time.Time{}
	clear(q.waiting)
}

// status says in one line what is under way.
func (q *queue) status() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var names []string
	for key := range q.busy {
		names = append(names, key[1]+" "+key[0])
	}
	if len(names) == 0 {
		return "waiting for the next slot"
	}
	return "running: " + strings.Join(names, ", ")
}
