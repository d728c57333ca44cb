package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
)

// A runRow is a row of the table runs.
type runRow struct {
	run                  string
	job                  int64
	state                int64
	good                 bool // ended as a good backup; may have been spoiled since
	t, finished, at, at0 int64
	seq, seq0            int64
	invalidated, pruned  int64
	held                 bool
	copies               map[string]copyState // by target
	stored               bool                 // there is a row to update
}

// A copyState is what lies of a run on a target.
type copyState struct {
	State     int64             `json:"s"`
	Snapshots map[string]string `json:"i,omitempty"` // by part, those that are still there
	Gone      int64             `json:"p,omitempty"` // when the last of them left
	Seq       int64             `json:"q,omitempty"` // entry and time of a copy made after the run
	At        int64             `json:"a,omitempty"`
}

// setCopy puts what an event says of a copy into the row.
func (r *runRow) setCopy(c Copy, seq, at int64) error {
	state, err := number(runStates(), "copy state", c.State)
	if err != nil {
		return err
	}
	if r.copies == nil {
		r.copies = map[string]copyState{}
	}
	r.copies[c.Target] = copyState{State: state, Snapshots: c.Snapshots, Seq: seq, At: at}
	return nil
}

// removeCopy takes snapshots off a copy, all of them when none is named.
func (r *runRow) removeCopy(at int64, target string, ids []string) {
	c, ok := r.copies[target]
	if !ok || c.Gone != 0 {
		return
	}
	left := map[string]string{}
	for part, id := range c.Snapshots {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			left[part] = id
		}
	}
	switch {
	case len(left) == 0:
		c.Snapshots, c.Gone = nil, at
	case len(left) < len(c.Snapshots):
		// A copy without one of its parts restores nothing whole, but what is
		// left of it still has to be known to be deleted one day.
		c.Snapshots, c.State = left, stateIncomplete
	}
	r.copies[target] = c
}

// left reports whether a run can still be restored from somewhere; for a run
// that never was good, whether anything of it is still stored.
func (r *runRow) left() bool {
	for _, c := range r.copies {
		if len(c.Snapshots) > 0 && (c.State == stateComplete || !r.good) {
			return true
		}
	}
	return false
}

// run returns a run's row, nil when there is none.
func (p *projection) run(ctx context.Context, id string) (*runRow, error) {
	if r, ok := p.runs[id]; ok {
		return r, nil
	}
	if err := p.writeBatches(ctx); err != nil {
		return nil, err
	}
	row, err := p.w.row(ctx, `SELECT run, job, state, good, t, finished, at, at0, seq, seq0, invalidated, pruned, held, copies FROM runs WHERE run=?`, id)
	if err != nil {
		return nil, err
	}
	r := &runRow{stored: true}
	var copies string
	err = row.Scan(&r.run, &r.job, &r.state, &r.good, &r.t, &r.finished, &r.at, &r.at0, &r.seq, &r.seq0, &r.invalidated, &r.pruned, &r.held, &copies)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		r.copies, err = unpackCopies(copies)
	}
	return r, err
}

// runOr returns the stored row of the run, or fresh when there is none.
func (p *projection) runOr(ctx context.Context, fresh *runRow) (*runRow, error) {
	stored, err := p.run(ctx, fresh.run)
	if err != nil || stored != nil {
		return stored, err
	}
	return fresh, nil
}

func (p *projection) putRun(ctx context.Context, r *runRow) error {
	copies, err := packCopies(r.copies)
	if err != nil {
		return err
	}
	if r.stored {
		if err := p.writeBatches(ctx); err != nil {
			return err
		}
		return p.w.exec(ctx, `UPDATE runs SET state=?, good=?, t=?, finished=?, at=?, seq=?, invalidated=?, pruned=?, held=?, copies=? WHERE run=?`,
			r.state, r.good, r.t, r.finished, r.at, r.seq, r.invalidated, r.pruned, r.held, copies, r.run)
	}
	err = p.insert(ctx, `INSERT INTO runs(run, job, state, good, t, finished, at, at0, seq, seq0, invalidated, pruned, held, copies) VALUES`, `(?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, ``,
		r.run, r.job, r.state, r.good, r.t, r.finished, r.at, r.at0, r.seq, r.seq0, r.invalidated, r.pruned, r.held, copies)
	r.stored = err == nil
	return err
}

// packCopies is JSON with the targets and parts in order; "" for none. It is in
// the way of every run of a rebuild, so that plain names are not taken through
// the general encoder.
func packCopies(copies map[string]copyState) (string, error) {
	if len(copies) == 0 {
		return "", nil
	}
	if !plainCopies(copies) {
		text, err := json.Marshal(copies)
		return string(text), err
	}
	b := make([]byte, 0, 128)
	for i, target := range sortedKeys(copies) {
		c := copies[target]
		b = appendName(b, i, target)
		b = strconv.AppendInt(append(b, `{"s":`...), c.State, 10)
		if len(c.Snapshots) > 0 {
			b = append(b, `,"i":`...)
			for j, part := range sortedKeys(c.Snapshots) {
				b = appendName(b, j, part)
				b = append(append(append(b, '"'), c.Snapshots[part]...), '"')
			}
			b = append(b, '}')
		}
		for _, n := range []struct {
			name  string
			value int64
		}{{`,"p":`, c.Gone}, {`,"q":`, c.Seq}, {`,"a":`, c.At}} {
			if n.value != 0 {
				b = strconv.AppendInt(append(b, n.name...), n.value, 10)
			}
		}
		b = append(b, '}')
	}
	return string(append(b, '}')), nil
}

// appendName appends the i-th name of an object.
func appendName(b []byte, i int, name string) []byte {
	if i == 0 {
		b = append(b, '{')
	} else {
		b = append(b, ',')
	}
	return append(append(append(b, '"'), name...), '"', ':')
}

// plainCopies reports whether nothing in copies needs an escape in JSON.
func plainCopies(copies map[string]copyState) bool {
	for target, c := range copies {
		if !plain(target) {
			return false
		}
		for part, id := range c.Snapshots {
			if !plain(part) || !plain(id) {
				return false
			}
		}
	}
	return true
}

func plain(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < 0x20 || b >= 0x7f || b == '"' || b == '\\' || b == '<' || b == '>' || b == '&' {
			return false
		}
	}
	return true
}

// unpackCopies is the inverse of packCopies; status does it for every job.
func unpackCopies(text string) (map[string]copyState, error) {
	if text == "" {
		return nil, nil
	}
	copies := map[string]copyState{}
	s := &quick{b: []byte(text)}
	s.object(func(target []byte) { copies[string(target)] = s.copyState() })
	if !s.failed && s.i == len(s.b) {
		return copies, nil
	}
	clear(copies) // a name with an escape
	err := json.Unmarshal([]byte(text), &copies)
	return copies, err
}

func (s *quick) copyState() copyState {
	var c copyState
	s.object(func(key []byte) {
		switch string(key) {
		case "s":
			c.State = s.whole()
		case "i":
			c.Snapshots = map[string]string{}
			s.object(func(part []byte) { c.Snapshots[string(part)] = s.text() })
		case "p":
			c.Gone = s.whole()
		case "q":
			c.Seq = s.whole()
		case "a":
			c.At = s.whole()
		default:
			s.skip()
		}
	})
	return c
}
