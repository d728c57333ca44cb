package jobs

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"saoluu/catalog"
)

func workFor(due time.Time, jobs ...string) (all []work) {
	for _, j := range jobs {
		all = append(all, work{slot: catalog.Slot{Job: j, Action: catalog.ActionBackup, Due: due}})
	}
	return all
}

// takeAll takes what the queue gives at an instant.
func takeAll(q *queue, now time.Time) (all []work) {
	for {
		w, ok := q.take(now)
		if !ok {
			return all
		}
		all = append(all, w)
	}
}

func names(all []work) (list []string) {
	for _, w := range all {
		list = append(list, w.slot.Job)
	}
	return list
}

func TestQueueHandsOutWhatIsDueOnceAndWithinItsLimit(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	q := newQueue(2)
	if !q.hungry(now) {
		t.Fatal("an empty queue does not look")
	}
	q.offer(now, workFor(now, "a", "b", "c"), 3)
	first := takeAll(q, now)
	if diff := cmp.Diff([]string{"a", "b"}, names(first)); diff != "" {
		t.Errorf("first places (-want +got):\n%s", diff)
	}
	if q.hungry(now.Add(time.Minute)) {
		t.Error("it looks while something is pending")
	}
	q.done(first[0], time.Time{})
	if diff := cmp.Diff([]string{"c"}, names(takeAll(q, now))); diff != "" {
		t.Errorf("after one has ended (-want +got):\n%s", diff)
	}
	// The next look finds again what is under way: it must not start twice.
	q.offer(now, workFor(now, "b", "c"), 2)
	if got := takeAll(q, now); got != nil {
		t.Errorf("taken twice: %v", names(got))
	}
}

func TestQueueWaits(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	again := now.Add(time.Minute)
	failed := func() *queue {
		q := newQueue(1)
		q.offer(now, workFor(now, "a"), 1)
		w, _ := q.take(now)
		q.done(w, again)
		return q
	}
	for _, tc := range []struct {
		name string
		now  time.Time
		due  time.Time
		do   func(*queue)
		want []string
	}{
		{name: "before its time", now: again.Add(-time.Second), due: now},
		{name: "at its time", now: again, due: now, want: []string{"a"}},
		{name: "a changed configuration is tried at once", now: now, due: now, do: func(q *queue) { q.reset(1) }, want: []string{"a"}},
		{name: "not due yet by a clock that was set back", now: now.Add(-time.Hour), due: now, do: func(q *queue) { q.reset(1) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := failed()
			if tc.do != nil {
				tc.do(q)
			}
			q.offer(tc.now, workFor(tc.due, "a"), 1)
			if diff := cmp.Diff(tc.want, names(takeAll(q, tc.now))); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQueueLooksLessOftenTheMoreItFinds(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	q := newQueue(1)
	q.offer(now, nil, 10_000) // all of them under way or waiting
	if q.hungry(now.Add(time.Second)) {
		t.Error("10,000 slots are read every second")
	}
	if !q.hungry(now.Add(10 * time.Second)) {
		t.Error("it does not look for 10 seconds")
	}
}

// What waits for others takes no place, is not started twice, and holds its job's
// test back all the same.
func TestQueueGivesThePlaceOfWhatRests(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	q := newQueue(1)
	q.offer(now, workFor(now, "a", "b"), 2)
	a := takeAll(q, now)
	if !q.rest(a[0]) {
		t.Fatal("it may not rest")
	}
	b := takeAll(q, now)
	if diff := cmp.Diff([]string{"b"}, names(b)); diff != "" {
		t.Errorf("in its place (-want +got):\n%s", diff)
	}
	q.done(b[0], time.Time{})
	if !q.hungry(now.Add(time.Minute)) {
		t.Error("it does not look although a place is free")
	}
	again := workFor(now, "a", "a")
	again[1].slot.Action = catalog.ActionTest
	q.offer(now, again, 2)
	if got := takeAll(q, now); got != nil {
		t.Errorf("taken while it rests: %v", names(got))
	}
	q.done(a[0], time.Time{})
	q.offer(now, again[1:], 1)
	if got := takeAll(q, now); len(got) != 1 {
		t.Errorf("afterwards: %v", names(got))
	}
}

func TestQueueLetsOnlySoManyRest(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	q := newQueue(1)
	for i := range Resting {
		q.offer(now, workFor(now, fmt.Sprint(i)), 1)
		if w := takeAll(q, now); len(w) != 1 || !q.rest(w[0]) {
			t.Fatalf("%d may not rest", i)
		}
	}
	q.offer(now, workFor(now, "last", "kept out"), 2)
	w := takeAll(q, now)
	if len(w) != 1 || q.rest(w[0]) || q.hungry(now.Add(time.Minute)) {
		t.Errorf("%v are under way, and there is still a place", names(w))
	}
}
