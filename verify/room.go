package verify

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"saoluu/internal/fault"
)

// roomEvery is the pause between two looks at the room there is. A disk that takes 1 GiB
// a second fills by a quarter of the usual reserve meanwhile.
const roomEvery = 250 * time.Millisecond

// watchRoom ends a test by cancel before the file system of Scratch has less room than it
// is to keep: others write there too, and a test must not be what stops them. unwatch
// ends the watch and says whether it was so.
func (t *Tester) watchRoom(cancel context.CancelCauseFunc) (unwatch func() error) {
	var full error
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(roomEvery)
		defer tick.Stop()
		for {
			if full = t.room(); full != nil {
				cancel(full)
				return
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() error {
		close(stop)
		<-done
		return full
	}
}

// room fails when there is less than what is to stay free. Where nobody can tell, the
// system tells when there is none.
func (t *Tester) room() error {
	var st unix.Statfs_t
	if t.Reserve == 0 || unix.Statfs(t.Scratch, &st) != nil {
		return nil
	}
	if free := int64(st.Bavail) * st.Bsize; free < t.Reserve {
		return fault.New(fault.NoSpace, fmt.Sprintf("scratch folder %q", t.Scratch),
			fmt.Errorf("%d MiB free, and %d MiB are to stay so: the restore test was ended", free>>20, t.Reserve>>20),
			"free some space, move paths.scratch, or lower limits.test_reserve")
	}
	return nil
}
