package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// redisFactsLimit bounds how long facts are read; those that were read by then count.
const redisFactsLimit = 15 * time.Minute

// A redisStream is the dump of one backup and the facts of the same instant.
type redisStream struct {
	*feed
	source  *Redis
	version string
	taken   []Fact // valid when the feed is done
}

// facts waits for the stream to end. Of a dump that did not come whole nothing is known
// but the server's version.
func (s *redisStream) facts(ctx context.Context) ([]Fact, error) {
	s.nudge()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	if ctx.Err() != nil { // both may have happened
		return nil, context.Cause(ctx)
	}
	all := append([]Fact{{Kind: FactVersion, Of: ofServer, Value: s.version}}, s.taken...)
	return ofPart(partDatabase, all), nil
}

// serve waits for a reader and gives it the dump.
func (s *redisStream) serve(ctx context.Context) {
	s.feed.serve(func(w io.Writer) (func(bool), error) {
		if ctx.Err() != nil {
			return func(bool) {}, context.Cause(ctx)
		}
		return s.save(ctx, w)
	})
}

// save passes the dump on, and reads facts at the same time: the sooner after the
// instant of the dump, the less has changed since.
func (s *redisStream) save(ctx context.Context, w io.Writer) (then func(whole bool), err error) {
	dump, err := s.source.sync(ctx)
	if err != nil {
		return func(bool) {}, err
	}
	looking, stop := context.WithCancel(ctx)
	looked := make(chan []Fact, 1)
	go func() { looked <- s.look(looking, dump) }()
	then = func(whole bool) {
		if !whole {
			stop()
		}
		if facts := <-looked; whole {
			s.taken = facts
		}
		stop()
	}
	return then, errors.Join(dump.copy(w), dump.conn.Close())
}

// state is what the server tells of itself now.
func (r *Redis) state(ctx context.Context) (redisInfo, error) {
	conn, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	info, err := conn.info()
	if err != nil {
		return nil, r.fault("look at the server", err)
	}
	return info, nil
}

// look takes the facts of the dump's instant. What cannot be known is said in a fact of
// its own, and is no reason to call the dump bad.
func (s *redisStream) look(ctx context.Context, dump *redisSync) []Fact {
	changes, facts, err := s.count(ctx, dump)
	if err != nil {
		return []Fact{s.skipped("", err)}
	}
	defer changes.conn.Close()
	values, sweeps := s.read(ctx)
	if err := s.settle(ctx, changes); err != nil {
		return append(facts, s.skipped("", err))
	}
	for _, f := range values {
		if _, key, single := RedisFactKey(f); !single || !changes.has(key) {
			facts = append(facts, f)
		}
	}
	for _, sweep := range sweeps {
		for _, n := range changes.buckets() {
			sweep.out.add(n)
		}
		facts = append(facts, sweep.facts()...)
	}
	return facts
}

func (s *redisStream) skipped(of string, err error) Fact {
	return Fact{Kind: FactSkipped, Of: of, Value: blanked(strings.ReplaceAll(err.Error(), "\n", " "), s.source.Password)}
}

// count begins the account of changes and takes the number of keys that do not expire.
// A key that was touched since the dump's instant may make a difference of one.
func (s *redisStream) count(ctx context.Context, dump *redisSync) (*redisChanges, []Fact, error) {
	info, err := s.source.state(ctx)
	if err != nil {
		return nil, nil, err
	}
	changes, err := s.source.changes(ctx, dump)
	if err != nil {
		return nil, nil, err
	}
	if err := changes.reach(ctx, info.number("master_repl_offset")); err != nil {
		return nil, nil, errors.Join(err, changes.conn.Close())
	}
	touched, doubtful := changes.touched()
	if doubtful != "" {
		return nil, nil, errors.Join(errors.New(doubtful), changes.conn.Close())
	}
	var facts []Fact
	spaces := info.spaces()
	if len(spaces) == 0 {
		spaces = []redisSpace{{}}
	}
	for _, space := range spaces {
		unsure := int64(touched) + space.fieldTTL
		switch least := space.steady() - unsure; {
		case unsure == 0:
			facts = append(facts, Fact{Kind: FactRows, Of: space.of(), Value: strconv.FormatInt(least, 10)})
		case least > 0:
			facts = append(facts, Fact{Kind: FactLeast, Of: space.of(), Value: strconv.FormatInt(least, 10)})
		}
	}
	return changes, facts, nil
}

// read takes the digests of values that are the server's now, and what says how they
// were chosen.
func (s *redisStream) read(ctx context.Context) (facts []Fact, sweeps []*redisSweep) {
	ctx, cancel := context.WithTimeoutCause(ctx, redisFactsLimit, fmt.Errorf("it took longer than %s", redisFactsLimit))
	defer cancel()
	conn, err := s.source.Connect(ctx)
	if err != nil {
		return []Fact{s.skipped("", err)}, nil
	}
	defer conn.Close()
	digest, err := conn.functions()
	switch {
	case err != nil:
		facts = append(facts, s.skipped("functions", err))
	case digest != "":
		facts = append(facts, Fact{Kind: FactSchema, Value: digest})
	}
	info, err := conn.info()
	if err != nil || s.source.FactsMode == ModeCounts {
		return facts, nil // why is told by what is asked next
	}
	spaces, most := info.spaces(), cmp.Or(s.source.SweepMost, redisSweepMost)
	for _, space := range spaces {
		var sweep *redisSweep
		var sampled []Fact
		var err error
		switch {
		case space.steady() == 0:
		case s.source.FactsMode == ModeFull && space.keys <= most:
			if sweep, err = conn.sweep(ctx, space); err == nil {
				sweeps = append(sweeps, sweep)
			}
		default:
			sampled, err = conn.sample(ctx, space, max(redisSample/len(spaces), redisBatch))
			facts = append(facts, sampled...)
			if s.source.FactsMode == ModeFull && err == nil {
				facts = append(facts, Fact{Kind: FactUnread, Of: space.of(), Value: fmt.Sprintf("it holds %d keys, more than the %d of which all values are read: a sample of them has digests", space.keys, most)})
			}
		}
		if err != nil {
			return append(facts, s.skipped(space.of(), err)), sweeps
		}
	}
	return facts, sweeps
}

// settle waits until the account of changes covers all that was read.
func (s *redisStream) settle(ctx context.Context, changes *redisChanges) error {
	info, err := s.source.state(ctx)
	if err == nil {
		err = changes.reach(ctx, info.number("master_repl_offset"))
	}
	if err == nil {
		if _, doubtful := changes.touched(); doubtful != "" {
			err = errors.New(doubtful)
		}
	}
	return err
}
