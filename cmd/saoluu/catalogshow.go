package main

import (
	"bytes"
	"encoding/json"
	"time"

	"saoluu/catalog"
)

// shownRun is the JSON of "catalog show": what the ledger tells of a run, what
// became of it since, and the newest word about its deletion.
type shownRun struct {
	catalog.RunFinished
	Entry       int64                `json:"entry"` // of the ledger, that finished it; that started it while it runs
	Invalidated time.Time            `json:"invalidated"`
	Pruned      time.Time            `json:"pruned"`
	Held        bool                 `json:"held"`
	Gone        map[string]time.Time `json:"gone"` // target to when its copy was found to be no more
	Hold        *shownHold           `json:"hold"`
	Archives    []shownArchive       `json:"archives"` // sets of offline media that hold it
}

type shownHold struct {
	catalog.HoldSet
	At time.Time `json:"at"`
}

type shownArchive struct {
	catalog.ArchiveWritten
	At time.Time `json:"at"`
}

// withoutZero returns v as it is in JSON without members that say nothing: empty,
// zero, false or a time that never was.
func withoutZero(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // sizes stay whole
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return thinned(tree), nil
}

// thinned drops the members of objects that say nothing; nil when v says nothing.
func thinned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if v[key] = thinned(member); v[key] == nil {
				delete(v, key)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = thinned(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" || v == "0001-01-01T00:00:00Z" {
			return nil
		}
	case json.Number:
		if v == "0" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}
