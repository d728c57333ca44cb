package verify

import (
	"context"
	"errors"

	"saoluu/internal/fault"
	"saoluu/sources"
)

// LoadRedis loads a Redis dump, a file that it takes away, into a throwaway server and
// has use read that. Only Test, Bin and Parts of the request matter. A dump that is not
// whole, or that the server refuses, is fault.Damaged.
func (t *Tester) LoadRedis(ctx context.Context, r Request, file string, use func(from *sources.Redis) error) (err error) {
	box, err := t.open(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.close()) }()
	x := &examination{tester: t, request: r, sandbox: box}
	dump, err := lookAtDump(file)
	var server *redisServer
	if err == nil {
		server, err = startRedis(ctx, x, file, dump)
	}
	var found *finding
	if errors.As(err, &found) {
		return fault.New(fault.Damaged, "load the dump", found, "restore an older run with --date, or another target with --target")
	}
	if err != nil {
		return err
	}
	return errors.Join(use(&sources.Redis{Host: server.socket()}), server.stop())
}
